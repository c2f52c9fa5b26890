"""Store samples of GPUs, made by the engine itself; measure their size, and how soon those around a time are read."""

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msgspec import Raw
from record import record

from llmtrail.core.call import Call
from llmtrail.core.gpu_map import Deployment, Place
from llmtrail.core.ids import uuid7
from llmtrail.store.gpu import gpu_around
from llmtrail.store.gpu_join import gpus_of_calls
from llmtrail.store.gpu_places import insert_places, keep_deployments
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.migrate import migrate
from llmtrail.store.records import Place as CallPlace
from llmtrail.store.records import StoredCall

EVERY_S = 15
DAY_S = 86_400
A_DAY = DAY_S // EVERY_S
GPUS_A_NODE = 8
GPUS = 1_000
KEPT_DAYS = 90
# A call of ten seconds, both clocks' allowance, and a sample before and after.
WINDOW_S = 75
CALL_MS = 10_000
# Pods move: each GPU has had so many on a day.
PODS_A_DAY = 3
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
    "last_xid": "if(g % 100 = 0, 31, 0)",
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


def tell_places(handle: Handle, first_s: int, days: int) -> None:
    """Insert which pods had which GPUs on each day, and one deployment of a node."""
    nodes = GPUS // GPUS_A_NODE
    for day in range(first_s // DAY_S, first_s // DAY_S + days + 1):
        gpus = [
            Place(f"gpu-node-{gpu // GPUS_A_NODE}", "ml", f"vllm-llama-{gpu}-{pod}", f"GPU-{gpu}", gpu % GPUS_A_NODE)
            for gpu in range(GPUS)
            for pod in range(PODS_A_DAY)
        ]
        servers = [Place(f"gpu-node-{node}", address=f"10.0.{node}.1:8000") for node in range(nodes)]
        insert_places(handle, [(day, place) for place in (*gpus, *servers)], f"day-{day}")
    own = Deployment("llama", "llama.internal:8000", "llama-3", ("gpu-node-7",), ("0", "1"))
    keep_deployments(handle, [own], time.time_ns())


def call_at(at_ns: int, node: int, told: str) -> StoredCall:
    """Return a call that ended before the middle of the window, and tells where it ran in one of three ways."""
    server = {"config": "llama.internal", "address": f"10.0.{node}.1", "host": ""}[told]
    call = Call(
        call_id=uuid7(at_ns, random.Random(at_ns).randbytes(10)),
        started_at=at_ns,
        request_model="llama-3",
        latency_ms=CALL_MS,
        host=f"gpu-node-{node}",
        attributes=Raw(json.dumps({"server.address": server, "server.port": 8000} if server else {})),
    )
    day = time.strftime("%Y-%m-%d", time.gmtime(at_ns // NS))
    ended_ns = at_ns + CALL_MS * 1_000_000
    return StoredCall(
        call=call,
        place=CallPlace(call.call_id or "", day, 1, ""),
        tenant="",
        is_stated=False,
        started_at_ns=at_ns,
        first_ingested_at_ns=ended_ns,
        ingested_at_ns=ended_ns,
        counted_at_ns=ended_ns,
        cost_nanousd=None,
        cost_source="",
        price_id=None,
        unpriced_reason=None,
        written_cost_nanousd=None,
        cost_corrected_at_ns=None,
        prompt_fingerprint=None,
        clock_skew=False,
        model="llama-3",
        estimated_input_tokens=None,
        estimated_output_tokens=None,
    )


def ask(handle: Handle, first_s: int, seconds: int, asks: int) -> dict[str, list[float]]:
    """Return how long each question took, in ms, the read alone and whole; one of another node and time each."""
    rng = random.Random(6)
    took: dict[str, list[float]] = {"around": [], "show": [], "show_cpu": []}
    for number in range(asks + 20):
        at_ns = (first_s + rng.randrange(WINDOW_S, seconds - WINDOW_S)) * NS
        node = rng.randrange(GPUS // GPUS_A_NODE)
        began = time.perf_counter()
        found = gpu_around(handle, [f"gpu-node-{node}"], at_ns - WINDOW_S * NS, at_ns + WINDOW_S * NS)
        took["around"].append((time.perf_counter() - began) * 1000)
        if not 8 * GPUS_A_NODE <= len(found.gpus) <= 12 * GPUS_A_NODE:
            raise SystemExit(f"{len(found.gpus)} samples around a time: this measures something else")
        call = call_at(at_ns, node, ("config", "address", "host")[number % 3])
        began, spent = time.perf_counter(), time.process_time()
        (document,) = gpus_of_calls(handle, [call])
        took["show"].append((time.perf_counter() - began) * 1000)
        took["show_cpu"].append((time.process_time() - spent) * 1000)
        if document is None or len(document["gpus"]) != (2 if number % 3 == 0 else GPUS_A_NODE):
            raise SystemExit(f"{document}: this measures something else")
    return {name: sorted(values[20:]) for name, values in took.items()}


def shares(name: str, values: list[float]) -> dict[str, float]:
    """Return the median, the 95th percentile and the highest of sorted values."""
    return {
        f"{name}_p50_ms": round(values[len(values) // 2], 2),
        f"{name}_p95_ms": round(values[int(len(values) * 0.95)], 2),
        f"{name}_max_ms": round(values[-1], 2),
    }


def main() -> None:
    """Run the case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--asks", type=int, default=300)
    parser.add_argument("--keep", type=Path, help="folder to keep the store in, and to find it again")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="gpu-store-"))
    try:
        measure(folder, given.samples, given.asks)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, samples: int, asks: int) -> None:
    """Fill a store, unless it is full, and ask it."""
    today_s = int(time.time()) // DAY_S * DAY_S
    store = open_chdb(folder / "one")
    migrate(store)
    values: dict[str, object] = {"limit_mb": 100, "limit_ms": 20}
    if not stored(store)[0]:
        one_rows, one_bytes = size_of_one(store, today_s)
        values |= {"gpu_90_days_rows": one_rows, "gpu_90_days_mb": round(one_bytes / 1e6, 1)}
        store.command("TRUNCATE TABLE llmtrail.gpu_samples_data")
    days, began, before = stored(store)[0] // (GPUS * A_DAY), time.perf_counter(), stored(store)[0]
    while stored(store)[0] < samples:
        days += 1
        left = samples - stored(store)[0]
        fill(store, today_s - days * DAY_S, GPUS, min(A_DAY, -(-left // GPUS)))
    rows, size = stored(store)
    if rows > before:
        values["fill_rows_s"] = round((rows - before) / (time.perf_counter() - began))
    # The oldest day may be short: questions are about the whole ones.
    whole = max(1, days - 1)
    tell_places(store, today_s - whole * DAY_S, whole)
    rest(store)
    # What is measured is reading, with the parts that there are; merges go on for as long again after such a fill.
    store.command("SYSTEM STOP MERGES llmtrail.gpu_samples_data")
    parts = store.query("SELECT count() FROM system.parts WHERE active AND table = 'gpu_samples_data'")[0][0]
    took = ask(store, today_s - whole * DAY_S, whole * DAY_S, asks)
    store.close()
    values |= {"samples": rows, "bytes_a_sample": round(size / rows, 1), "parts": int(parts)}
    for name, spans in took.items():
        values |= shares(name, spans)
    record("gpu_store", values)


if __name__ == "__main__":
    main()
