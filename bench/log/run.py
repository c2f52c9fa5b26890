"""Append to the local log from four threads, beside raw append + fdatasync. Run under the machine's bench lock."""

import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from record import record

from llmtrail.log.local import LocalLog
from llmtrail.log.port import CALLS, Append

CALLERS, GROUP, EVENT_BYTES, GROUPS_PER_CALLER, REPEATS = 4, 500, 3_000, 80, 3
EVENTS = CALLERS * GROUP * GROUPS_PER_CALLER


def raw(folder: Path, values: list[bytes]) -> float:
    """Return events/s of one thread that appends each group to a file and syncs it."""
    blob = b"".join(values)
    begun = time.perf_counter()
    with (folder / "raw").open("ab", buffering=0) as file:
        for _ in range(CALLERS * GROUPS_PER_CALLER):
            file.write(blob)
            os.fdatasync(file.fileno())
    return EVENTS / (time.perf_counter() - begun)


def logged(folder: Path, values: list[bytes]) -> dict[str, float]:
    """Return what appending, reading behind and trimming cost."""
    log = LocalLog(folder / "log")
    keys = [b"trace-%08d" % number for number in range(GROUP)]
    waits_ms: list[float] = []

    def call() -> None:
        for _ in range(GROUPS_PER_CALLER):
            asked = time.perf_counter()
            log.append([Append(CALLS, values, keys, {"tenant": "", "source": "http"})], time.time_ns())
            waits_ms.append((time.perf_counter() - asked) * 1_000)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    cpu, begun = time.process_time(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    begun = time.perf_counter()
    offset = 0
    while offset < EVENTS:
        offset = log.read(CALLS, 0, offset, 20_000, 64_000_000).next_offset
    read_s = time.perf_counter() - begun
    log.close()
    return {
        "events_per_s": EVENTS / taken_s,
        "cpu_us_per_event": cpu_s / EVENTS * 1e6,
        "append_ms_p50": statistics.median(waits_ms),
        "append_ms_p99": statistics.quantiles(waits_ms, n=100)[98],
        "read_events_per_s": EVENTS / read_s,
    }


def main() -> None:
    """Measure and record."""
    values = [os.urandom(EVENT_BYTES) for _ in range(GROUP)]
    runs = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
            runs.append({**logged(Path(folder), values), "raw_events_per_s": raw(Path(folder), values)})
    middle = {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}
    ratios = [run["events_per_s"] / run["raw_events_per_s"] for run in runs]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1_024
    record("log", {"events": EVENTS, "repeats": REPEATS, **middle, "of_raw": round(statistics.median(ratios), 3),
                   "peak_mb": peak_mb})  # fmt: skip


if __name__ == "__main__":
    main()
