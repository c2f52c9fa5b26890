"""Measure both probes on clean bodies and the whole policy on dirty events, against reading the body once."""

import random
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import events  # noqa: E402
from record import record  # noqa: E402
from texts import Texts  # noqa: E402

from llmtrail.core import redact  # noqa: E402
from llmtrail.core.redact_find import FINDER, PLAIN_FINDER  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
SECRETS = " mail bob@example.com, key sk-abcDEF1234567890abcdEFGH12, card 4111 1111 1111 1111. "


def best_us_per_kb(work: Callable[[], object], size: int) -> float:
    times = []
    for _ in range(CASE["load"]["repetitions"]):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return round(min(times) * 1e9 / size, 3)


def main() -> None:
    load = CASE["load"]
    texts, rng = Texts(3), random.Random(2)
    made = [texts.conversation(load["text_bytes"]) for _ in range(load["events"])]
    body, _ = events.template(made, rng).body(0)
    clean = body.splitlines()
    dirty = [line.replace(b'"content":"', b'"content":"' + SECRETS.encode()) for line in clean]
    assert not FINDER.suspicious(body)
    assert all(FINDER.suspicious(line) for line in dirty)
    contents = [line[line.index(b'"messages"') : line.index(b'"versions"')] for line in clean]
    policy = redact.ContentPolicy.REDACTED

    def treat(lines: list[bytes]) -> None:
        for line in lines:
            redact.apply_policy(line, policy)

    record(
        "redact",
        {
            "gateway_clean_us_per_kb": best_us_per_kb(lambda: FINDER.suspicious(body), len(body)),
            "gateway_event_by_event_us_per_kb": best_us_per_kb(lambda: treat(clean), len(body)),
            "sdk_clean_us_per_kb": best_us_per_kb(
                lambda: [PLAIN_FINDER.suspicious(content) for content in contents], sum(map(len, contents))
            ),
            "dirty_us_per_kb": best_us_per_kb(lambda: treat(dirty), sum(map(len, dirty))),
            "decode_text_us_per_kb": best_us_per_kb(body.decode, len(body)),
            "limit_us_per_kb": CASE["goal"]["gateway_clean_us_per_kb"],
        },
    )


if __name__ == "__main__":
    main()
