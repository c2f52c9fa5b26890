"""Measure a board of GPUs over an hour of scrapes: processor time, memory, questions, beside mere decoding."""

import random
import resource
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape, decode_scrape, encode_scrape  # noqa: E402
from llmtrail.core.gpu_board import GpuBoard, GpuFate  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
LOAD = CASE["load"]
NS = 1_000_000_000
BEGIN_S = 1_790_000_000
END_S = BEGIN_S + LOAD["seconds"]


def gpu_of(rng: random.Random, node: str, number: int, at_ns: int) -> GpuSample:
    return GpuSample(
        sampled_at_ns=at_ns,
        host=node,
        gpu_uuid=f"GPU-00000000-0000-0000-0000-{node[-4:]}{number:08d}",
        gpu_index=number,
        gpu_name="NVIDIA H100 80GB HBM3",
        namespace="inference",
        pod=f"llama-{node[-4:]}",
        utilization=round(rng.random(), 2),
        engine_active=round(rng.random(), 4),
        tensor_active=round(rng.random(), 4),
        dram_active=round(rng.random(), 4),
        memory_used_bytes=rng.randrange(70, 80) << 30,
        memory_total_bytes=80 << 30,
        temperature_c=float(rng.randrange(50, 80)),
        memory_temperature_c=float(rng.randrange(50, 90)),
        power_w=round(rng.uniform(300, 700), 3),
        power_limit_w=700.0,
        energy_j=float(at_ns // 1_000_000),
        sm_clock_mhz=1_980.0,
        memory_clock_mhz=2_619.0,
        throttle_reasons=("sw_power",) if rng.random() < 0.1 else (),
        last_xid=0,
        ecc_corrected=3,
        ecc_uncorrected=0,
        remapped_rows_corrected=0,
        remapped_rows_uncorrected=0,
        row_remap_failed=False,
        pcie_replays=0,
        nvlink_bytes_s=round(rng.uniform(0, 1e11), 1),
    )


def node_scrape(rng: random.Random, node: int, at_ns: int) -> GpuScrape:
    host = f"node-{node:04d}"
    gpus = tuple(gpu_of(rng, host, number, at_ns) for number in range(LOAD["gpus"]))
    return GpuScrape(sampled_at_ns=at_ns, host=host, target="http://127.0.0.1:9400/metrics", gpus=gpus)


def engine_scrape(rng: random.Random, number: int, at_ns: int) -> GpuScrape:
    host = f"node-{number % LOAD['nodes']:04d}"
    engine = EngineSample(
        sampled_at_ns=at_ns,
        host=host,
        address=f"10.0.{number // 250}.{number % 250}:8000",
        engine=Engine.VLLM,
        model="meta-llama/Llama-3.3-70B-Instruct",
        pod=f"llama-{number:04d}",
        running=rng.randrange(64),
        waiting=rng.randrange(20),
        kv_cache_used=round(rng.random(), 4),
        preemptions=at_ns // (60 * NS),
        prefix_cache_queries=at_ns // NS,
        prefix_cache_hits=at_ns // (2 * NS),
        tokens_s=round(rng.uniform(0, 4_000), 1),
        time_to_first_token_ms=round(rng.uniform(20, 900), 2),
    )
    target = f"http://{engine.address}/metrics"
    return GpuScrape(sampled_at_ns=at_ns, host=host, target=target, engines=(engine,))


def hour(rng: random.Random) -> Iterator[list[tuple[bytes, int]]]:
    """Yield the values of `llm.gpu`, those of one interval at a time, each with when it arrived."""
    step_ns = LOAD["interval_s"] * NS
    for turn in range(LOAD["seconds"] // LOAD["interval_s"]):
        found = []
        for place in range(LOAD["nodes"] + LOAD["engines"]):
            # Targets are not read together.
            at_ns = BEGIN_S * NS + turn * step_ns + step_ns * place // (LOAD["nodes"] + LOAD["engines"])
            is_node = place < LOAD["nodes"]
            scrape = node_scrape(rng, place, at_ns) if is_node else engine_scrape(rng, place - LOAD["nodes"], at_ns)
            found.append((encode_scrape(scrape), at_ns + 200_000_000))
        yield found


def spent_s(work: Callable[[], object]) -> float:
    """Return the least processor time of a few: what the machine does beside is not measured."""
    best = float("inf")
    for _ in range(LOAD["repetitions"]):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def memory_mb() -> float:
    fields = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in fields if line.startswith("VmRSS")).split()[1]) / 1e3


def main() -> None:
    """Run the case and record it."""
    board, there = GpuBoard(), GpuBoard()
    before_mb = memory_mb()
    take_s = decode_s = put_s = 0.0
    scrapes = slots = 0
    for values in hour(random.Random(1)):
        began = time.process_time()
        taken = [board.take_value(value, arrived_ns) for value, arrived_ns in values]
        took = time.process_time()
        for value, _ in values:
            decode_scrape(value)
        decoded = time.process_time()
        take_s, decode_s, scrapes = take_s + took - began, decode_s + decoded - took, scrapes + len(values)
        slots += sum(len(one.writes) for one in taken)
        # Who reads the topic of slots gets them some at a time.
        last = [one.writes for one in taken]
    kept_mb = memory_mb() - before_mb
    began = time.process_time()
    for writes in last:
        there.put(writes)
    put_s = (time.process_time() - began) / sum(map(len, last))
    generation = board.changed().generation
    values_told: dict[str, object] = {
        "scrapes": scrapes,
        "applied": board.counts[GpuFate.APPLIED],
        "take_us": round(take_s / scrapes * 1e6, 1),
        # The peer: what merely decoding the same values takes.
        "decode_us": round(decode_s / scrapes * 1e6, 1),
        "core_share": round(take_s / LOAD["seconds"], 4),
        "writes_a_scrape": round(slots / scrapes, 2),
        "put_us": round(put_s * 1e6, 1),
        "slots_mb": round(board.bytes_kept / 1e6, 1),
        "memory_mb": round(kept_mb, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3, 1),
        "devices": len(board.devices(300, END_S)),
        "engines": len(board.engines(300, END_S)),
        "minute_ms": round(spent_s(lambda: board.devices(60, END_S)) * 1e3, 1),
        "five_minutes_ms": round(spent_s(lambda: board.devices(300, END_S)) * 1e3, 1),
        "hour_ms": round(spent_s(lambda: board.devices(3_600, END_S)) * 1e3, 1),
        "engines_five_minutes_ms": round(spent_s(lambda: board.engines(300, END_S)) * 1e3, 1),
        "one_node_ms": round(spent_s(lambda: board.devices(300, END_S, {"node-0007"})) * 1e3, 2),
        "targets_ms": round(spent_s(lambda: board.targets(END_S)) * 1e3, 1),
        "changed_ms": round(spent_s(lambda: board.changed(generation)) * 1e3, 2),
    }
    record("gpu_board", values_told)


main()
