"""Measure events decoded and checked a second on one core, beside orjson.loads of the same bytes."""

import json
import random
import statistics
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import orjson

sys.path.insert(0, str(Path(__file__).parents[1]))

from events import event
from record import record
from texts import Texts

from llmtrail.core import codec
from llmtrail.core.times import to_rfc_3339

LOAD = tomllib.loads((Path(__file__).parent / "case.toml").read_text())["load"]
FRAME_BYTES = 850  # An event of the bench without its text.
START_NS = 1_777_636_800_123_456_000


def rates(step: Callable[[bytes], object], events: list[bytes]) -> list[float]:
    """Return events a second of each repetition, slowest first."""
    found = []
    for _ in range(LOAD["repetitions"]):
        start = time.process_time()
        for value in events:
            step(value)
        found.append(len(events) / (time.process_time() - start))
    return sorted(found)


def main() -> None:
    """Run and record."""
    rng, texts = random.Random(3), Texts(3)
    made = [event(texts.conversation(LOAD["event_bytes"] - FRAME_BYTES), rng) for _ in range(LOAD["events"])]
    as_ints = [json.dumps(one, separators=(",", ":")).encode() for one in made]
    as_text = [
        json.dumps({**one, "started_at": to_rfc_3339(START_NS + index)}, separators=(",", ":")).encode()
        for index, one in enumerate(made)
    ]
    body = b"\n".join(as_ints[:500])
    measured = {
        "decode_call": rates(codec.decode_call, as_ints),
        "decode_call_rfc_3339": rates(codec.decode_call, as_text),
        "orjson_loads": rates(orjson.loads, as_ints),
    }
    split = rates(codec.split_events, [body] * 20)
    values: dict[str, object] = {"event_bytes_mean": round(statistics.mean(map(len, as_ints)))}
    for name, found in measured.items():
        values[f"{name}_per_s"] = round(found[-1])
        values[f"{name}_median_per_s"] = round(statistics.median(found))
    values["split_events_per_s"] = round(500 * split[-1])
    values["share_of_orjson"] = round(measured["decode_call"][-1] / measured["orjson_loads"][-1], 3)
    record("codec", values)


if __name__ == "__main__":
    main()
