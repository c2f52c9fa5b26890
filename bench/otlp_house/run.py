"""From POST /v1/traces to queryable, everything on."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_house import House
from record import record
from texts import MADE_UP, add_arguments, name_of

HERE = Path(__file__).parent


def measured(arguments: list[str]) -> dict[str, float]:
    """Send for a while, wait until every span's call is queryable; return the rate."""
    folder = Path(tempfile.mkdtemp(prefix="llmtrail-bench-"))
    house = House(folder)
    try:
        before_s = house.cpu_s()
        load = [sys.executable, str(HERE / "load.py"), "--port", str(house.port), *arguments]
        paths = os.environ | {"PYTHONPATH": str(HERE.parent)}
        done = subprocess.run(load, capture_output=True, text=True, check=True, env=paths)
        told = json.loads(done.stdout)
        while int(house.sql("SELECT count() FROM llmtrail.calls")) < told["acknowledged"]:
            time.sleep(0.1)
        queryable_s = time.time() - told["started"]
        cpu_s = house.cpu_s() - before_s
        distinct = int(house.sql("SELECT uniqExact(trace_id) FROM llmtrail.calls"))
    finally:
        house.stop()
        shutil.rmtree(folder)
    return {
        "span_bytes": told["span_bytes"],
        "acknowledged": told["acknowledged"],
        "stored_distinct": distinct,
        "spans_per_s": round(told["acknowledged"] / queryable_s),
        "mb_per_s": round(told["acknowledged"] * told["span_bytes"] / queryable_s / 1e6, 1),
        "cpu_us_per_span": round(cpu_s / told["acknowledged"] * 1e6, 1),
    }


def main() -> None:
    """Measure and record, made-up texts beside others of the same sizes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    add_arguments(parser)
    args = parser.parse_args()
    arguments = ["--seconds", str(args.seconds), "--texts", args.texts, "--form", args.form]
    made_up, others = measured([*arguments, "--alike"]), measured(arguments)
    ratio = round(others["spans_per_s"] / made_up["spans_per_s"], 2)
    record("otlp_house", {"form": args.form, MADE_UP: made_up, name_of(args.texts): others, "rate_ratio": ratio})


if __name__ == "__main__":
    main()
