"""Cost of `llmtrail.wrap` on the caller's thread, around real calls of the OpenAI client, beside plain calls."""

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


def main() -> None:
    """Repeat in fresh processes; medians over them, since the machine is seldom alone with us."""
    case = tomllib.loads((HERE / "case.toml").read_text())
    load, goal = case["load"], case["goal"]
    load_before = os.getloadavg()[0]
    sink = subprocess.Popen([sys.executable, str(HERE.parent / "emit" / "sink.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        runs = [run_once(port, load) for _ in range(load["repetitions"])]
    finally:
        sink.terminate()
        sink.wait()
    middle = {name: round(median(run[name] for run in runs), 2) for name in runs[0]}
    holds = middle["median_us"] <= goal["own_us_median"] and middle["p99_us"] <= goal["own_us_p99"]
    record(
        "wrap",
        {
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
            "goal_holds": holds,
        },
    )
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
