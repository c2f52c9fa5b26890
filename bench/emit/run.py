"""Cost of recording on the caller's thread: llmtrail beside the OpenTelemetry SDK, same load, same sink, same run."""

import argparse
import json
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


def peer_python(packages: list[str]) -> Path:
    """Return the interpreter of the peer's own environment, made at first use."""
    folder = ROOT / ".cache" / "bench-emit-peer"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def run_once(python: Path | str, sdk: str, port: int, load: dict[str, Any]) -> dict[str, float]:
    """Run one emitter to its end and check that everything arrived."""
    command = [str(python), str(HERE / "emitter.py"), sdk, str(port), json.dumps(load)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    result: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        counts = json.load(answer)
    arrived = counts["calls"] + counts["spans"]
    if arrived != result["count"]:
        raise SystemExit(f"{sdk}: {arrived} of {result['count']} arrived")
    return result


def compared(
    load: dict[str, Any], goal: dict[str, Any], pythons: dict[str, Path | str], port: int
) -> dict[str, object]:
    """Run both SDKs in turn; return what they cost the caller, and whether ours stays within its goal."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in pythons}
    for _ in range(load["repetitions"]):
        for name, python in pythons.items():
            results[name].append(run_once(python, name, port, load))
    ours, theirs = (
        {key: median(run[key] for run in results[name]) for key in ("median_us", "p99_us")} for name in pythons
    )
    # Each repetition's two runs are neighbours in time: their ratio says more than that of medians on a busy machine.
    pairs = zip(results["opentelemetry"], results["llmtrail"], strict=True)
    ratios = [peer["median_us"] / own["median_us"] for peer, own in pairs]
    ratio = median(ratios)
    return {
        "caller_us_median": round(ours["median_us"], 2),
        "caller_us_p99": round(ours["p99_us"], 2),
        "opentelemetry_us_median": round(theirs["median_us"], 2),
        "opentelemetry_us_p99": round(theirs["p99_us"], 2),
        "ratio": round(ratio, 1),
        "all_ratios": [round(value, 1) for value in ratios],
        "floor_us": [round(run["floor_us"], 2) for run in results["llmtrail"]],
        "all_medians_us": [round(run["median_us"], 2) for run in results["llmtrail"]],
        "all_p99_us": [round(run["p99_us"], 2) for run in results["llmtrail"]],
        "delivered": "all",
        "goal_holds": ours["median_us"] <= goal["caller_us_median"]
        and ours["p99_us"] <= goal["caller_us_p99"]
        and ratio >= goal["ratio_to_opentelemetry"],
    }


def main() -> None:
    """Measure and record, made-up texts beside others of the same sizes."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    args = parser.parse_args()
    case = tomllib.loads((HERE / "case.toml").read_text())
    pythons: dict[str, Path | str] = {
        "llmtrail": sys.executable,
        "opentelemetry": peer_python(case["peer"]["packages"]),
    }
    values: dict[str, dict[str, object]] = {}
    with sink_running() as port:
        for name, load in loads(case["load"], args.texts, args.form):
            values[name] = compared(load, case["goal"], pythons, port)
    record("emit", {"form": args.form, **values})
    raise SystemExit(0 if all(found["goal_holds"] for found in values.values()) else 1)


if __name__ == "__main__":
    main()
