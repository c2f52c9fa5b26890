"""From POST /v1/calls to queryable, beside a raw insert of the same rows into the same tables, in one run."""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_house import House
from record import record
from texts import MADE_UP, add_arguments, name_of

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Chosen:
    """Which texts are sent: those that were asked for, or made-up ones of their sizes."""

    texts: str
    form: str
    alike: bool = False

    @property
    def arguments(self) -> list[str]:
        """What the sender and the raw insert are told."""
        return ["--texts", self.texts, "--form", self.form, *(["--alike"] if self.alike else [])]


def load(house: House, chosen: Chosen, seconds: float, rate: float, seed: int) -> dict[str, float]:
    """Send for `seconds`; return what the sender saw."""
    command = [sys.executable, str(HERE / "load.py"), "--port", str(house.port), "--seconds", str(seconds)]
    command += ["--rate", str(rate), "--seed", str(seed), *chosen.arguments]
    if rate:
        command += ["--batch", "50"]
    return _told(command)


def raw(folder: Path, chosen: Chosen) -> dict[str, Any]:
    """Insert the rows of such calls with nothing before it."""
    return _told([sys.executable, str(HERE / "raw.py"), "--folder", str(folder), *chosen.arguments])


def _told(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | _PATH)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


_PATH = {"PYTHONPATH": str(HERE.parent)}


def throughput(folder: Path, chosen: Chosen, seconds: float) -> dict[str, object]:
    """Send as fast as acknowledged; count until everything is queryable."""
    house = House(folder)
    idle = house.memory()
    peak = [idle]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            peak[0] = max(peak[0], house.memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        cpu_before = house.cpu_s()
        told = load(house, chosen, seconds, 0, 1)
        while int(house.sql("SELECT count() FROM llmtrail.calls_data")) < told["acknowledged"]:
            time.sleep(0.05)
        queryable_s = time.time() - told["started"]
        cpu_s = house.cpu_s() - cpu_before
        distinct = int(house.sql("SELECT uniqExact(call_id) FROM llmtrail.calls_data"))
        priced = int(house.sql("SELECT countIf(cost_nanousd IS NOT NULL) FROM llmtrail.calls_data"))
    finally:
        done.set()
        watcher.join()
        house.stop()
    return {
        "start_s": round(house.start_s, 2),
        "idle_mb": idle // 2**20,
        "peak_mb": peak[0] // 2**20,
        "acknowledged": told["acknowledged"],
        "refused": told["refused"],
        "stored_distinct": distinct,
        "priced": priced,
        "calls_per_s": round(told["acknowledged"] / queryable_s),
        "call_bytes": round(told["sent_bytes"] / told["acknowledged"]),
        "mb_per_s": round(told["sent_bytes"] / queryable_s / 1e6, 1),
        "ack_p99_ms": round(told["ack_p99_ms"], 1),
        "tail_s": round(queryable_s - (told["ended"] - told["started"]), 2),
        "cpu_us_per_call": round(cpu_s / told["acknowledged"] * 1e6, 1),
        "sender_cpu_us_per_call": round(told["cpu_s"] / told["acknowledged"] * 1e6, 1),
    }


def freshness(folder: Path, chosen: Chosen, seconds: float, rate: float) -> dict[str, object]:
    """Ask how long after its acknowledgement a call is queryable, at a paced load."""
    house = House(folder)
    sent = threading.Thread(target=load, args=(house, chosen, seconds, rate, 3))
    ages_ms: list[float] = []
    try:
        sent.start()
        connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=30)
        query = http.client.HTTPConnection("127.0.0.1", house.sql_port, timeout=30)
        sent.join(timeout=2)
        number = 0
        while sent.is_alive():
            number += 1
            request = f"probe-{number}"
            event = {"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": request}
            connection.request("POST", "/v1/calls", json.dumps(event), {"content-type": "application/json"})
            connection.getresponse().read()
            acknowledged = time.monotonic()
            statement = f"SELECT count() FROM llmtrail.ids WHERE id_hash = cityHash64('{request}')"
            while True:
                query.request("POST", "/", statement)
                if query.getresponse().read().strip() == b"1":
                    break
                time.sleep(0.005)
            ages_ms.append((time.monotonic() - acknowledged) * 1000)
            time.sleep(0.02)
    finally:
        sent.join()
        house.stop()
    ages_ms.sort()
    return {
        "fresh_probes": len(ages_ms),
        "fresh_p50_ms": round(statistics.median(ages_ms)),
        "fresh_p99_ms": round(ages_ms[int(len(ages_ms) * 0.99)]),
    }


def measured(chosen: Chosen, args: argparse.Namespace) -> dict[str, Any]:
    """Return what was measured with these texts, each in a folder of its own."""
    found: dict[str, Any] = {}
    for name in ("raw", "throughput", "freshness"):
        if args.only not in {None, name}:
            continue
        with tempfile.TemporaryDirectory(prefix="llmtrail-bench-") as folder:
            match name:
                case "raw":
                    found |= raw(Path(folder), chosen)
                case "throughput":
                    found |= throughput(Path(folder), chosen, args.seconds)
                case "freshness":
                    found |= freshness(Path(folder), chosen, min(args.seconds, 30), args.rate)
    if args.only is None:
        found["ratio_to_raw"] = round(found["calls_per_s"] / found["raw_rows_per_s"], 2)
    return found


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--only", choices=["throughput", "freshness", "raw"])
    parser.add_argument("--rate", type=float, default=2_000)
    add_arguments(parser)
    args = parser.parse_args()
    made_up = measured(Chosen(args.texts, args.form, alike=True), args)
    others = measured(Chosen(args.texts, args.form), args)
    values = {"form": args.form, MADE_UP: made_up, name_of(args.texts): others}
    if "calls_per_s" in others:
        values["rate_ratio"] = round(others["calls_per_s"] / made_up["calls_per_s"], 2)
    record("ingest", values)


if __name__ == "__main__":
    main()
