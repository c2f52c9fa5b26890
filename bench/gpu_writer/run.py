"""Send samples of 1,000 GPUs beside calls to one house; measure how soon each is queryable, and that none is lost."""

import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_house import House
from record import record

from llmtrail.core.gpu import GpuScrape, encode_scrape
from llmtrail_gpu.history import History
from llmtrail_gpu.page import Place, read_page
from llmtrail_gpu.simulate import Node, pages

HERE = Path(__file__).parent
NODES = 125
EVERY_S = 15
# Of every so many scrapes, one is looked for until it is there.
PROBE_EVERY = 8
SETTLED_S_MAX = 120
_POLL_S = 0.05
_COMPARED = ("core_share", "cpu_us_per_call", "calls_fresh_p99_ms")


@dataclass
class Feed:
    """Posts one scrape of each node in turn, spread over the interval."""

    house: House
    scrapes: list[GpuScrape]
    acknowledged: int = 0
    refused: int = 0
    late_s: float = 0.0  # how far it fell behind its own pace, at the worst
    ages_ms: list[float] = field(default_factory=list)
    behind: int = 0  # scrapes that were acknowledged and not yet queryable, at the worst
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Post until stopped."""
        connection = http.client.HTTPConnection("127.0.0.1", self.house.port, timeout=60)
        due = time.monotonic()
        while not self.stop.wait(max(0.0, due - time.monotonic())):
            self.late_s = max(self.late_s, time.monotonic() - due)
            due += EVERY_S / NODES
            scrape = self.scrapes[self.acknowledged % NODES]
            now_ns = time.time_ns()
            gpus = tuple(replace(gpu, sampled_at_ns=now_ns) for gpu in scrape.gpus)
            connection.request("POST", "/v1/gpu", encode_scrape(replace(scrape, sampled_at_ns=now_ns, gpus=gpus)))
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                self.refused += 1
                continue
            self.acknowledged += 1
            if self.acknowledged % PROBE_EVERY == 1:
                began = time.monotonic()
                threading.Thread(
                    target=self._probe, args=(scrape.host, now_ns // 1_000_000, began), daemon=True
                ).start()

    def _probe(self, host: str, at_ms: int, acknowledged: float) -> None:
        stored = (
            f"SELECT count() FROM llmtrail.gpu_samples_data WHERE sampled_day >= today() - 1 AND host = '{host}' "
            f"AND sampled_at = fromUnixTimestamp64Milli({at_ms})"
        )
        while self.house.sql(stored) == "0":
            time.sleep(_POLL_S)
        self.ages_ms.append((time.monotonic() - acknowledged) * 1000)
        rows = int(self.house.sql("SELECT count() FROM llmtrail.gpu_scrapes_data"))
        self.behind = max(self.behind, self.acknowledged - rows)


def nodes() -> list[GpuScrape]:
    """Return a scrape of each node, as the collector reads it from its page."""
    read = []
    for number in range(NODES):
        node = Node(seed=number, host=f"node-{number}")
        page = next(iter(pages(node).values()))(10.0)
        scrape, _ = read_page(page.encode(), Place(node.host, f"http://{node.host}:9400/metrics"), 0, History())
        # Each GPU is one of its own, whatever the simulator calls it.
        gpus = tuple(replace(gpu, gpu_uuid=f"GPU-{number}-{gpu.gpu_index}") for gpu in scrape.gpus)
        read.append(replace(scrape, gpus=gpus))
    return read


def send_calls(house: House, seconds: float, rate: float) -> "subprocess.Popen[str]":
    """Begin to send calls at a rate."""
    command = [sys.executable, str(HERE.parent / "ingest" / "load.py"), "--port", str(house.port), "--batch", "100"]
    # As many connections as keep the pace though an acknowledgement takes 0.15 s.
    command += ["--connections", "8", "--seconds", str(seconds), "--rate", str(rate)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(HERE.parent)}
    )


def probe_calls(house: House, sender: "subprocess.Popen[str]") -> list[float]:
    """Return how long after its acknowledgement a call was queryable, in ms, while calls are sent."""
    ages_ms: list[float] = []
    connection = http.client.HTTPConnection("127.0.0.1", house.port, timeout=60)
    while sender.poll() is None:
        event = {"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": f"probe-{len(ages_ms)}"}
        connection.request("POST", "/v1/calls", json.dumps(event), {"content-type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            # As full as it may be: nothing was acknowledged, so nothing is owed.
            time.sleep(0.2)
            continue
        began = time.monotonic()
        stored = f"SELECT count() FROM llmtrail.ids WHERE id_hash = cityHash64('{event['request_id']}')"
        while house.sql(stored) != "1":
            time.sleep(_POLL_S)
            if time.monotonic() - began > SETTLED_S_MAX:
                raise SystemExit(f"{event['request_id']} is not there")
        ages_ms.append((time.monotonic() - began) * 1000)
        time.sleep(0.2)
    return ages_ms


def settled_s(house: House, table: str, wanted: int) -> float:
    """Return how many seconds it takes from now until a table has its rows."""
    began = time.monotonic()
    while int(house.sql(f"SELECT count() FROM llmtrail.{table}")) < wanted:
        if time.monotonic() - began > SETTLED_S_MAX:
            raise SystemExit(f"{table} never had {wanted} rows: something is lost")
        time.sleep(_POLL_S)
    return time.monotonic() - began


def p99(values: list[float]) -> int:
    """Return the 99th percentile."""
    return round(sorted(values)[int(len(values) * 0.99)])


def measure(folder: Path, seconds: float, rate: float, scrapes: list[GpuScrape]) -> dict[str, float]:
    """Send calls, beside the scrapes where there are any; return what became of them."""
    house = House(folder)
    feed = Feed(house, scrapes)
    thread = threading.Thread(target=feed.run)
    try:
        cpu_before = house.cpu_s()
        if scrapes:
            thread.start()
        sender = send_calls(house, seconds, rate)
        ages_ms = probe_calls(house, sender)
        told = json.loads(sender.communicate()[0])
        feed.stop.set()
        if scrapes:
            thread.join()
        calls = int(told["acknowledged"]) + len(ages_ms)
        calls_tail_s = settled_s(house, "calls_data", calls)
        gpus_tail_s = settled_s(house, "gpu_scrapes_data", feed.acknowledged)
        span_s = told["ended"] - told["started"]
        values = {
            "calls": calls,
            "calls_per_s": round(told["acknowledged"] / span_s),
            "calls_refused": told["refused"],
            "calls_distinct": int(house.sql("SELECT uniqExact(call_id) FROM llmtrail.calls_data")),
            "calls_fresh_p99_ms": p99(ages_ms),
            "calls_tail_s": round(calls_tail_s, 2),
            "core_share": round((house.cpu_s() - cpu_before) / span_s, 3),
            "cpu_us_per_call": round((house.cpu_s() - cpu_before) / calls * 1e6, 1),
            "rss_mb": house.memory() // 2**20,
        }
        if not scrapes:
            return values
        wanted = 8 * feed.acknowledged
        stored = int(house.sql("SELECT count() FROM llmtrail.gpu_samples"))
        if stored != wanted or values["calls_distinct"] != calls:
            raise SystemExit(f"{stored} samples of {wanted}, {values['calls_distinct']} calls of {calls}")
        gap = "max(offset) - min(offset) + 1 - uniqExact(offset)"
        return values | {
            "samples": wanted,
            "samples_stored": stored,
            "scrapes_refused": feed.refused,
            "offsets_missing": int(house.sql(f"SELECT {gap} FROM llmtrail.gpu_scrapes")),
            "samples_fresh_p50_ms": round(sorted(feed.ages_ms)[len(feed.ages_ms) // 2]),
            "samples_fresh_p99_ms": p99(feed.ages_ms),
            "samples_tail_s": round(gpus_tail_s, 2),
            "scrapes_behind_max": feed.behind,
            "feed_late_max_s": round(feed.late_s, 2),
        }
    finally:
        feed.stop.set()
        house.stop()


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=5_000, help="calls/s")
    given = parser.parse_args()
    values: dict[str, object] = {"seconds": given.seconds, "gpus": NODES * 8, "nice": os.nice(0)}
    for scrapes in ([], nodes()):
        folder = Path(tempfile.mkdtemp(prefix="gpu-writer-"))
        try:
            found = measure(folder, given.seconds, given.rate, scrapes)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        values |= (
            found if scrapes else {f"{name}_without_gpus": found[name] for name in ("core_share", "cpu_us_per_call")}
        )
    record("gpu_writer", values)


if __name__ == "__main__":
    main()
