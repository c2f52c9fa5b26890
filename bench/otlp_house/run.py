"""From POST /v1/traces to queryable, everything on."""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_house import House
from record import record


def main() -> None:
    """Send for a while, wait until every span's call is queryable, record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="llmtrail-bench-"))
    house = House(folder)
    try:
        before_s = house.cpu_s()
        load = [sys.executable, str(Path(__file__).with_name("load.py")), "--port", str(house.port)]
        done = subprocess.run([*load, "--seconds", str(args.seconds)], capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        while int(house.sql("SELECT count() FROM llmtrail.calls")) < told["acknowledged"]:
            time.sleep(0.1)
        queryable_s = time.time() - told["started"]
        cpu_s = house.cpu_s() - before_s
        distinct = int(house.sql("SELECT uniqExact(trace_id) FROM llmtrail.calls"))
    finally:
        house.stop()
        shutil.rmtree(folder)
    record(
        "otlp_house",
        {
            "span_bytes": told["span_bytes"],
            "acknowledged": told["acknowledged"],
            "stored_distinct": distinct,
            "spans_per_s": round(told["acknowledged"] / queryable_s),
            "cpu_us_per_span": round(cpu_s / told["acknowledged"] * 1e6, 1),
        },
    )


if __name__ == "__main__":
    main()
