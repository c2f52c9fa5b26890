"""Cost of `llmtrail.wrap` on the caller's thread, around real calls of the OpenAI client, beside plain calls."""

import argparse
import json
import os
import subprocess
import sys
import tomllib
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402  # bench/ is no package.
from sdk_load import loads, sink_running  # noqa: E402
from texts import add_arguments  # noqa: E402


def run_once(port: int, load: dict[str, Any]) -> dict[str, float]:
    """Run one caller to its end and check that every wrapped call arrived."""
    command = [sys.executable, str(HERE / "caller.py"), str(port), json.dumps(load)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        arrived = json.load(answer)["calls"]
    if arrived != result["count"]:
        raise SystemExit(f"{arrived} of {result['count']} arrived")
    return result


def measured(load: dict[str, Any], goal: dict[str, Any], port: int) -> dict[str, object]:
    """Repeat in fresh processes; medians over them, since the machine is seldom alone with us."""
    load_before = os.getloadavg()[0]
    runs = [run_once(port, load) for _ in range(load["repetitions"])]
    middle = {name: round(median(run[name] for run in runs), 2) for name in runs[0]}
    return {
        "own_us_median": middle["median_us"],
        "own_us_p99": middle["p99_us"],
        "floor_us": middle["floor_us"],
        "floor_us_p99": middle["floor_p99_us"],
        "plain_call_us": middle["plain_call_us"],
        "wrapped_call_us": middle["wrapped_call_us"],
        "all_medians_us": [round(run["median_us"], 2) for run in runs],
        "all_p99_us": [round(run["p99_us"], 2) for run in runs],
        "delivered": "all",
        "load_before": round(load_before, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "goal_holds": middle["median_us"] <= goal["own_us_median"] and middle["p99_us"] <= goal["own_us_p99"],
    }


def main() -> None:
    """Measure and record, made-up texts beside others of the same sizes."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args()
    case = tomllib.loads((HERE / "case.toml").read_text())
    values: dict[str, dict[str, object]] = {}
    with sink_running() as port:
        for name, load in loads(case["load"], args.texts, args.form):
            values[name] = measured(load, case["goal"], port)
    record("wrap", {"form": args.form, **values})
    raise SystemExit(0 if all(found["goal_holds"] for found in values.values()) else 1)


if __name__ == "__main__":
    main()
