"""A node under load as dcgm-exporter and vLLM would print it: one GPU throttles, another falls off the bus. Seeded.

Time is an argument: the same seed and seconds print the same pages.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

# The story: half a minute of plain load, then one GPU gets hot, and later another is gone.
THROTTLE_FROM_S: Final = 30.0
THROTTLE_TO_S: Final = 90.0
XID_AT_S: Final = 60.0
XID: Final = 79

_MEMORY_MIB: Final = 143_771
_HW_THERMAL: Final = 0x40 | 0x8
_FAMILIES: Final = {
    "DCGM_FI_DEV_SM_CLOCK": ("gauge", "SM clock frequency (in MHz)."),
    "DCGM_FI_DEV_MEM_CLOCK": ("gauge", "Memory clock frequency (in MHz)."),
    "DCGM_FI_DEV_MEMORY_TEMP": ("gauge", "Memory temperature (in C)."),
    "DCGM_FI_DEV_GPU_TEMP": ("gauge", "GPU temperature (in C)."),
    "DCGM_FI_DEV_POWER_USAGE": ("gauge", "Power draw (in W)."),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": ("gauge", "Power limit (in W)."),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("counter", "Total energy consumption since boot (in mJ)."),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": ("counter", "Total number of PCIe retries."),
    "DCGM_FI_DEV_GPU_UTIL": ("gauge", "GPU utilization (in %)."),
    "DCGM_FI_DEV_MEM_COPY_UTIL": ("gauge", "Memory utilization (in %)."),
    "DCGM_FI_DEV_ENC_UTIL": ("gauge", "Encoder utilization (in %)."),
    "DCGM_FI_DEV_DEC_UTIL": ("gauge", "Decoder utilization (in %)."),
    "DCGM_FI_DEV_FB_FREE": ("gauge", "Framebuffer memory free (in MiB)."),
    "DCGM_FI_DEV_FB_USED": ("gauge", "Framebuffer memory used (in MiB)."),
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": ("gauge", "Current clock throttle reasons (bitmask)."),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": ("counter", "Number of remapped rows for correctable errors"),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": ("counter", "Number of remapped rows for uncorrectable errors"),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": ("gauge", "Whether remapping of rows has failed"),
    "DCGM_FI_DEV_XID_ERRORS": ("gauge", "Value of the last XID error encountered."),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": ("gauge", "Ratio of time the graphics engine is active."),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": ("gauge", "Ratio of cycles the tensor (HMMA) pipe is active."),
    "DCGM_FI_PROF_DRAM_ACTIVE": ("gauge", "Ratio of cycles the device memory interface is active."),
    "DCGM_FI_PROF_PCIE_TX_BYTES": ("gauge", "Bytes a second sent over PCIe."),
    "DCGM_FI_PROF_PCIE_RX_BYTES": ("gauge", "Bytes a second received over PCIe."),
    "DCGM_FI_PROF_NVLINK_TX_BYTES": ("gauge", "Bytes a second sent over NVLink."),
}


@dataclass(frozen=True, slots=True)
class Node:
    """What is simulated: `gpus` GPUs of a node that serves one model."""

    seed: int = 1
    gpus: int = 8
    host: str = "sim-node-1"
    model: str = "llama-3.3-70b"

    @property
    def hot_gpu(self) -> int:
        """Return the number of the GPU that throttles."""
        return self._chosen()[0]

    @property
    def lost_gpu(self) -> int:
        """Return the number of the GPU that falls off the bus."""
        return self._chosen()[-1]

    def _chosen(self) -> list[int]:
        chance = random.Random(self.seed)  # noqa: S311 - a story, no secret
        return chance.sample(range(self.gpus), min(2, self.gpus))


def dcgm_page(node: Node, at_s: float) -> str:
    """Return what dcgm-exporter would print `at_s` seconds after the node came under load."""
    values = [(_labels(node, gpu), _values(node, gpu, at_s)) for gpu in range(node.gpus)]
    lines: list[str] = []
    for name, (kind, text) in _FAMILIES.items():
        lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
        lines += _lines(name, values)
    return "\n".join(lines) + "\n"


def _lines(name: str, values: list[tuple[str, dict[str, float]]]) -> Iterator[str]:
    for labels, of_gpu in values:
        if name not in of_gpu:
            continue
        more = ',err_code="79",err_msg="GPU has fallen off the bus"' if name.endswith("XID_ERRORS") else ""
        more = more if of_gpu[name] else ""
        yield f"{name}{{{labels}{more}}} {of_gpu[name]:.6f}".rstrip("0").rstrip(".")


def vllm_page(node: Node, at_s: float) -> str:
    """Return what vLLM would print `at_s` seconds after the node came under load."""
    load, slow = _load(node, at_s), 2.5 if THROTTLE_FROM_S <= at_s < THROTTLE_TO_S else 1.0
    requests = int(at_s * 4)
    parts = {
        "num_requests_running": 40 * load,
        "num_requests_waiting": 12 * (slow - 1) * load,
        "kv_cache_usage_perc": min(0.99, 0.55 * load * math.sqrt(slow)),
        "num_preemptions_total": max(0.0, min(at_s, THROTTLE_TO_S) - THROTTLE_FROM_S) // 5,
        "prefix_cache_queries_total": requests * 900,
        "prefix_cache_hits_total": requests * 380,
        "prompt_tokens_total": requests * 900,
        "generation_tokens_total": requests * 240,
        "time_to_first_token_seconds_count": requests,
        "time_to_first_token_seconds_sum": requests * 0.18 + _slow_seconds(at_s) * 4 * 0.6,
    }
    return "".join(
        f'vllm:{name}{{engine="0",model_name="{node.model}"}} {value:.6f}\n' for name, value in parts.items()
    )


def _slow_seconds(at_s: float) -> float:
    return max(0.0, min(at_s, THROTTLE_TO_S) - THROTTLE_FROM_S)


def _load(node: Node, at_s: float) -> float:
    """Return the load, 0.6 to 1, moving slowly."""
    return 0.8 + 0.2 * math.sin(at_s / 20 + node.seed)


def _labels(node: Node, gpu: int) -> str:
    uuid = f"GPU-{node.seed & 0xFFFFFFFF:08x}-0000-4000-8000-{gpu:012x}"
    return (
        f'gpu="{gpu}",UUID="{uuid}",pci_bus_id="00000000:{0x18 + gpu:02X}:00.0",device="nvidia{gpu}",'
        f'modelName="NVIDIA H200",Hostname="{node.host}",DCGM_FI_DRIVER_VERSION="575.57.08",'
        f'container="vllm",namespace="ml",pod="llama-{node.seed}-0"'
    )


def _values(node: Node, gpu: int, at_s: float) -> dict[str, float]:
    if gpu == node.lost_gpu and at_s >= XID_AT_S:
        # The exporter still tells the last error of a GPU that is gone, and nothing else.
        return {"DCGM_FI_DEV_XID_ERRORS": XID}
    noise = random.Random(f"{node.seed} {gpu} {int(at_s * 10)}").random()  # noqa: S311 - a story, no secret
    is_hot = gpu == node.hot_gpu and THROTTLE_FROM_S <= at_s < THROTTLE_TO_S
    load = _load(node, at_s)
    used = int(_MEMORY_MIB * 0.9)
    return {
        "DCGM_FI_DEV_SM_CLOCK": 1_005 if is_hot else 1_980,
        "DCGM_FI_DEV_MEM_CLOCK": 3_201,
        "DCGM_FI_DEV_MEMORY_TEMP": int(60 + 10 * load + (20 if is_hot else 0)),
        "DCGM_FI_DEV_GPU_TEMP": int(50 + 15 * load + 3 * noise + (20 if is_hot else 0)),
        "DCGM_FI_DEV_POWER_USAGE": 120 + 480 * load * (0.55 if is_hot else 1) + 10 * noise,
        "DCGM_FI_DEV_POWER_MGMT_LIMIT": 700,
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": int(1e9 + at_s * 500_000),
        "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": 0,
        "DCGM_FI_DEV_GPU_UTIL": int(100 * load),
        "DCGM_FI_DEV_MEM_COPY_UTIL": int(55 * load),
        "DCGM_FI_DEV_ENC_UTIL": 0,
        "DCGM_FI_DEV_DEC_UTIL": 0,
        "DCGM_FI_DEV_FB_FREE": _MEMORY_MIB - used,
        "DCGM_FI_DEV_FB_USED": used,
        "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": _HW_THERMAL if is_hot else 0,
        "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": 0,
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": 0,
        "DCGM_FI_DEV_ROW_REMAP_FAILURE": 0,
        "DCGM_FI_DEV_XID_ERRORS": 0,
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE": load,
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": 0.5 * load * (0.5 if is_hot else 1),
        "DCGM_FI_PROF_DRAM_ACTIVE": 0.6 * load,
        "DCGM_FI_PROF_PCIE_TX_BYTES": int(4e8 * load),
        "DCGM_FI_PROF_PCIE_RX_BYTES": int(7e8 * load),
        "DCGM_FI_PROF_NVLINK_TX_BYTES": int(2e10 * load),
    }


Page = Callable[[float], str]


def pages(node: Node) -> dict[str, Page]:
    """Return what is served, by path."""
    return {"/metrics": lambda at_s: dcgm_page(node, at_s), "/vllm/metrics": lambda at_s: vllm_page(node, at_s)}
