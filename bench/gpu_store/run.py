"""Store samples of GPUs, made by the engine itself; measure their size, and how soon those around a time are read."""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record import record

from llmtrail.store.gpu import gpu_around
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.migrate import migrate

EVERY_S = 15
DAY_S = 86_400
A_DAY = DAY_S // EVERY_S
GPUS_A_NODE = 8
GPUS = 1_000
KEPT_DAYS = 90
# A call of ten seconds, both clocks' allowance, and a sample before and after.
WINDOW_S = 75
NS = 1_000_000_000
REST_S_MAX = 60

# Every column of the table, from the sample's number `n`, the GPU's `g` and a second of time `s`.
COLUMNS = {
    "sampled_day": "toDate(s)",
    "sampled_at": "fromUnixTimestamp64Milli(toInt64(s) * 1000 + rand(1) % 40, 'UTC')",
    "received_at": "fromUnixTimestamp64Milli(toInt64(s) * 1000 + 40 + rand(2) % 200, 'UTC')",
    "host": f"concat('gpu-node-', toString(intDiv(g, {GPUS_A_NODE})))",
    "gpu_uuid": "concat('GPU-', lower(hex(sipHash128(g))))",
    "gpu_index": f"g % {GPUS_A_NODE}",
    "gpu_name": "'NVIDIA H200'",
    "namespace": "'ml'",
    "pod": "concat('vllm-llama-', toString(g), '-', toString(intDiv(n, 2000)))",
    "container": "'vllm'",
    "source": "'dcgm'",
    "utilization": "(60 + rand(3) % 41) / 100",
    "engine_active": "(600000 + rand(4) % 400000) / 1000000",
    "tensor_active": "(100000 + rand(5) % 400000) / 1000000",
    "dram_active": "(100000 + rand(6) % 600000) / 1000000",
    "memory_used_bytes": "(toUInt64(120000) + rand(7) % 3000) * 1048576",
    "memory_total_bytes": "toUInt64(143771) * 1048576",
    "temperature_c": "55 + rand(8) % 20",
    "memory_temperature_c": "65 + rand(9) % 20",
    "power_w": "(400000 + rand(10) % 290000) / 1000",
    "power_limit_w": "700",
    "energy_j": "n * 8000 + (rand(11) % 4000000) / 1000",
    "sm_clock_mhz": "1200 + 15 * (rand(12) % 50)",
    "memory_clock_mhz": "3201",
    "throttle_reasons": "if(rand(13) % 20 = 0, ['sw_power_cap'], [])",
    "xid": "if(rand(14) % 1000000 = 0, 79, NULL)",
    "ecc_corrected": "intDiv(n, 5000)",
    "ecc_uncorrected": "0",
    "remapped_rows_corrected": "1",
    "remapped_rows_uncorrected": "0",
    "row_remap_failed": "false",
    "pcie_replays": "intDiv(n, 9000)",
    "nvlink_bytes_s": "rand(15) * 20.",
    "pcie_sent_bytes_s": "rand(16) * 3.",
    "pcie_received_bytes_s": "rand(17) * 3.",
}


def fill(handle: Handle, first_s: int, gpus: int, samples: int) -> None:
    """Insert a day's samples of each GPU; `first_s` is midnight."""
    handle.command(
        f"INSERT INTO llmtrail.gpu_samples_data ({', '.join(COLUMNS)}) SELECT {', '.join(COLUMNS.values())} "
        f"FROM (SELECT intDiv(number, {gpus}) AS n, number % {gpus} AS g, "
        f"toDateTime({first_s} + n * {EVERY_S}, 'UTC') AS s FROM numbers({gpus * samples})) "
        "SETTINGS max_insert_threads = 2"
    )


def size_of_one(handle: Handle, today_s: int) -> tuple[int, int]:
    """Return rows and bytes of one GPU's 90 days, merged."""
    for day in range(KEPT_DAYS):
        fill(handle, today_s - day * DAY_S, 1, A_DAY)
    handle.command("OPTIMIZE TABLE llmtrail.gpu_samples_data FINAL")
    return stored(handle)


def stored(handle: Handle) -> tuple[int, int]:
    """Return the rows and bytes of the table's parts."""
    rows, size = handle.query(
        "SELECT sum(rows), sum(bytes_on_disk) FROM system.parts WHERE active AND table = 'gpu_samples_data'"
    )[0]
    return int(rows), int(size)


def rest(handle: Handle) -> None:
    """Wait until the engine has no merge under way, or a minute."""
    until = time.monotonic() + REST_S_MAX
    while time.monotonic() < until and handle.query("SELECT count() FROM system.merges")[0][0]:
        time.sleep(1)


def ask(handle: Handle, first_s: int, seconds: int, asks: int) -> list[float]:
    """Return how long each question took, in ms; one of another node and time each."""
    rng = random.Random(6)
    took = []
    for _ in range(asks + 20):
        at_ns = (first_s + rng.randrange(WINDOW_S, seconds - WINDOW_S)) * NS
        host = f"gpu-node-{rng.randrange(GPUS // GPUS_A_NODE)}"
        began = time.perf_counter()
        found = gpu_around(handle, [host], at_ns - WINDOW_S * NS, at_ns + WINDOW_S * NS)
        took.append((time.perf_counter() - began) * 1000)
        if not 8 * GPUS_A_NODE <= len(found.gpus) <= 12 * GPUS_A_NODE:
            raise SystemExit(f"{len(found.gpus)} samples around a time: this measures something else")
    return sorted(took[20:])


def main() -> None:
    """Run the case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--asks", type=int, default=300)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gpu-store-"))
    today_s = int(time.time()) // DAY_S * DAY_S
    try:
        one = open_chdb(folder / "one")
        migrate(one)
        one_rows, one_bytes = size_of_one(one, today_s)
        one.command("TRUNCATE TABLE llmtrail.gpu_samples_data")
        days, began = 0, time.perf_counter()
        while stored(one)[0] < given.samples:
            days += 1
            left = given.samples - stored(one)[0]
            fill(one, today_s - days * DAY_S, GPUS, min(A_DAY, -(-left // GPUS)))
        filled_s = time.perf_counter() - began
        rest(one)
        rows, size = stored(one)
        # The oldest day may be short: questions are about the whole ones.
        whole = max(1, days - 1)
        took = ask(one, today_s - whole * DAY_S, whole * DAY_S, given.asks)
        parts = one.query("SELECT count() FROM system.parts WHERE active AND table = 'gpu_samples_data'")[0][0]
        one.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    record(
        "gpu_store",
        {
            "gpu_90_days_rows": one_rows,
            "gpu_90_days_mb": round(one_bytes / 1e6, 1),
            "limit_mb": 100,
            "samples": rows,
            "bytes_a_sample": round(size / rows, 1),
            "parts": int(parts),
            "fill_rows_s": round(rows / filled_s),
            "around_p50_ms": round(took[len(took) // 2], 2),
            "around_p95_ms": round(took[int(len(took) * 0.95)], 2),
            "around_max_ms": round(took[-1], 2),
            "limit_ms": 20,
        },
    )


if __name__ == "__main__":
    main()
