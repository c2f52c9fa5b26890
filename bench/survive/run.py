"""Count what survives an application: each process shape, so many calls and runs; then kill -9 at random points."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE.parent), str(ROOT / "tests")]

from record import record  # noqa: E402  # bench/ is no package.

from integration.emit_gateway import Gateway, running_gateway  # noqa: E402  # The tests' own.
from process_shapes import SHAPES, environment, next_process, prepared  # noqa: E402

# Hands over a call a millisecond and says after each which it was and when, so that what was due is known.
_PACED = """
import os, sys, time
import llmtrail
n = 0
while True:
    llmtrail.record(request_model="m", messages=[{"role": "user", "content": "hello " * 50}], attributes={"n": n})
    os.write(1, b"%d %d\\n" % (n, time.monotonic_ns()))
    n += 1
    time.sleep(0.001)
"""


def arrived(gateway: Gateway) -> tuple[Counter[int], int]:
    """Return how often each number is stored, by call id as the server does, and how many events came twice."""
    events = list(gateway.accepted)
    stored = {event["call_id"]: event["attributes"]["n"] for event in events}
    return Counter(stored.values()), len(events) - len(stored)


def run_shape(shape: str, calls: int, moment_s: float) -> dict[str, int]:
    with running_gateway() as gateway, tempfile.TemporaryDirectory() as folder:
        spool = Path(folder, "spool")
        command = prepared(Path(folder), shape, moment_s)
        ended = subprocess.run(command, env=environment(gateway.url, spool, calls), capture_output=True, check=False)
        next_process(gateway.url, spool)
        stored, repeated = arrived(gateway)
        return {
            "missing": sum(1 for n in range(calls) if n not in stored),
            "twice": sum(count - 1 for count in stored.values()),
            "sent_again": repeated,
            "odd_exits": int(ended.returncode != SHAPES[shape][1]),
        }


def run_killed(chance: random.Random, moment_s: float) -> dict[str, int]:
    with running_gateway() as gateway, tempfile.TemporaryDirectory() as folder:
        spool = Path(folder, "spool")
        command = [sys.executable, "-c", _PACED]
        with subprocess.Popen(command, env=environment(gateway.url, spool, 0), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.05, 1.5))
            process.kill()
            killed_ns = time.monotonic_ns()
            rows = [line.split() for line in process.stdout.read().splitlines()]
        due = [int(n) for n, at_ns in rows if killed_ns - int(at_ns) > moment_s * 1e9]
        next_process(gateway.url, spool)
        stored, repeated = arrived(gateway)
        return {
            "due": len(due),
            "missing": sum(1 for n in due if n not in stored),
            "twice": sum(count - 1 for count in stored.values()),
            "sent_again": repeated,
        }


def summed(runs: list[dict[str, int]]) -> dict[str, int]:
    return dict(sum((Counter(run) for run in runs), Counter()))


def main() -> None:
    case = tomllib.loads((HERE / "case.toml").read_text())
    load: dict[str, Any] = case["load"]
    chance = random.Random(int(os.environ.get("SEED", "1")))
    results: dict[str, dict[str, int]] = {}
    for shape in SHAPES:
        moment_s = load["moment_s"] + load["first_delay_ms"] / 1e3
        results[shape] = summed([run_shape(shape, load["calls"], moment_s) for _ in range(load["runs"])])
        print(json.dumps({shape: results[shape]}), flush=True)
    results["kill -9 at random points"] = summed([run_killed(chance, load["moment_s"]) for _ in range(load["runs"])])
    print(json.dumps(results["kill -9 at random points"]), flush=True)
    bad = {name: found for name, found in results.items() if any(found.get(key, 0) for key in ("missing", "twice"))}
    record("survive", {"shapes": results, "calls": load["calls"], "runs": load["runs"], "goal_holds": not bad})
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
