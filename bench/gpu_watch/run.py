"""Measure watching GPUs: the share of a core that looking takes, the longest look, and the first one."""

import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from record import record  # noqa: E402

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape  # noqa: E402
from llmtrail.core.gpu_board import GpuBoard  # noqa: E402
from llmtrail_alerts.gpu_watch import GpuWatch  # noqa: E402
from llmtrail_alerts.model import Alarm  # noqa: E402
from llmtrail_alerts.rules_file import load_rules  # noqa: E402

CASE = tomllib.loads((HERE / "case.toml").read_text())
LOAD = CASE["load"]
NS = 1_000_000_000
BEGAN_S = 1_795_000_000
RULES = [rule for rule in load_rules(HERE.parents[1] / "infra" / "rules").alarms if rule.gpu_condition is not None]


def scrape(node: int, at_s: float) -> GpuScrape:
    """Return what a node under load tells: nothing that a rule minds."""
    at_ns, host = int(at_s * NS), f"node-{node}"
    gpu = GpuSample(
        sampled_at_ns=at_ns,
        host=host,
        gpu_uuid="",
        gpu_name="NVIDIA H200",
        pod=f"llama-{node}",
        utilization=0.8,
        memory_used_bytes=90,
        memory_total_bytes=100,
        temperature_c=70.0,
        power_w=500.0,
        power_limit_w=700.0,
        ecc_corrected=0,
        ecc_uncorrected=0,
        remapped_rows_corrected=0,
        remapped_rows_uncorrected=0,
        row_remap_failed=False,
    )
    gpus = tuple(
        replace(gpu, gpu_uuid=f"GPU-{node}-{index}", gpu_index=index) for index in range(LOAD["gpus_per_node"])
    )
    server = EngineSample(
        sampled_at_ns=at_ns,
        host=host,
        address=f"{host}:8000",
        engine=Engine.VLLM,
        model="llama",
        running=10,
        waiting=2,
        kv_cache_used=0.5,
    )
    return GpuScrape(sampled_at_ns=at_ns, host=host, target="dcgm", gpus=gpus, engines=(server,))


def told(board: GpuBoard, first_s: int, last_s: int) -> None:
    """Have every node read in its own second of each interval."""
    for second in range(first_s, last_s):
        for node in range(second % LOAD["every_s"], LOAD["nodes"], LOAD["every_s"]):
            board.take(scrape(node, second), second * NS)


def main() -> None:
    board, now_s = GpuBoard(), BEGAN_S + LOAD["history_s"]
    told(board, BEGAN_S, now_s)
    watch, alarms, looks = GpuWatch(board), list[Alarm](RULES), list[float]()
    for second in range(now_s, now_s + LOAD["seconds"] + 1):
        told(board, second, second + 1)
        start = time.process_time()
        seen = list(watch.look(alarms, {}, second * NS, everything=second == now_s))
        watch.settled()
        looks.append(time.process_time() - start)
        assert not seen, "a node under plain load is well"
    first, rest = looks[0], looks[1:]
    goal = CASE["goal"]
    record(
        "gpu_watch",
        {
            "gpus": LOAD["nodes"] * LOAD["gpus_per_node"],
            "rules": len(alarms),
            "cores": round(sum(rest) / len(rest), 4),
            "look_ms_max": round(max(rest) * 1_000),
            "first_look_s": round(first, 2),
            "of_goal": round(sum(rest) / len(rest) / goal["cores_max"], 2),
            "is_short": max(rest) * 1_000 <= goal["look_ms_max"],
        },
    )


if __name__ == "__main__":
    main()
