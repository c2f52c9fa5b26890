"""dcgm-exporter's families as samples of GPUs: names and labels of every release, units, sentinels. Pure."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from llmtrail.core.gpu import GpuSample, Reason, Source
from llmtrail_gpu.series import Rejections, Series
from llmtrail_gpu.throttle import MASK_MAX, reason_of, reasons_of

_MIB: Final = 1024 * 1024
# A GPU cut into seven, sixteen GPUs, and room: more GPUs than a node can have are a hostile page.
GPUS_MAX: Final = 1_024
_TEXT_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class Part:
    """Where a family's value goes in a sample: times `scale`, and only where a GPU can have it.

    A share that is rounded to slightly more than its whole is the whole. `of_board` is one value of the whole board,
    which exporters repeat for each MIG instance. `zero_is_none`: where there is no sensor, old releases print 0.
    """

    name: str
    scale: float = 1.0
    limit: float = math.inf
    is_count: bool = False
    is_share: bool = False
    of_board: bool = False
    zero_is_none: bool = False


# Well over what any GPU has or will soon have: beyond them stands damage, not a fact.
_WATTS_MAX: Final = 100_000.0
# A GPU shuts down near 110 degrees; damaged readings of 345 and more are on record (NVIDIA/dcgm-exporter#312).
_CELSIUS_MAX: Final = 200.0
_MEGAHERTZ_MAX: Final = 100_000.0
_MIB_MAX: Final = 1024 * 1024 * 1024.0
_COUNT_MAX: Final = 2.0**53
_BYTES_S_MAX: Final = 1e15
_XID_MAX: Final = 2.0**32 - 1

_SHARE: Final = 1.0
# Counters that are read a moment apart make a busy share of slightly more than the whole.
_ROUNDED_SHARE: Final = 1.1
_PARTS: Final[Mapping[str, Part]] = {
    "DCGM_FI_DEV_SM_CLOCK": Part("sm_clock_mhz", limit=_MEGAHERTZ_MAX),
    "DCGM_FI_DEV_MEM_CLOCK": Part("memory_clock_mhz", limit=_MEGAHERTZ_MAX),
    "DCGM_FI_DEV_MEMORY_TEMP": Part("memory_temperature_c", limit=_CELSIUS_MAX, zero_is_none=True),
    "DCGM_FI_DEV_GPU_TEMP": Part("temperature_c", limit=_CELSIUS_MAX),
    "DCGM_FI_DEV_POWER_USAGE": Part("power_w", limit=_WATTS_MAX, of_board=True),
    "DCGM_FI_DEV_POWER_MGMT_LIMIT": Part("power_limit_w", limit=_WATTS_MAX, of_board=True),
    "DCGM_FI_DEV_ENFORCED_POWER_LIMIT": Part("enforced_power_limit_w", limit=_WATTS_MAX, of_board=True),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": Part("energy_j", scale=0.001, limit=_COUNT_MAX, of_board=True),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": Part("pcie_replays", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_GPU_UTIL": Part("utilization", scale=0.01, limit=100.0, is_share=True, of_board=True),
    "DCGM_FI_DEV_XID_ERRORS": Part("last_xid", limit=_XID_MAX, is_count=True),
    "DCGM_FI_DEV_FB_FREE": Part("memory_free_bytes", scale=_MIB, limit=_MIB_MAX, is_count=True),
    "DCGM_FI_DEV_FB_USED": Part("memory_used_bytes", scale=_MIB, limit=_MIB_MAX, is_count=True),
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": Part("ecc_corrected_since_load", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": Part("ecc_uncorrected_since_load", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL": Part("ecc_corrected", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL": Part("ecc_uncorrected", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": Part("remapped_rows_corrected", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": Part("remapped_rows_uncorrected", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": Part("row_remap_failed", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS": Part("throttle_mask", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": Part("throttle_mask", limit=_COUNT_MAX, is_count=True),
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE": Part("engine_active", limit=_SHARE, is_share=True),
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE": Part("tensor_active", limit=_SHARE, is_share=True),
    "DCGM_FI_PROF_DRAM_ACTIVE": Part("dram_active", limit=_SHARE, is_share=True),
    "DCGM_FI_PROF_PCIE_TX_BYTES": Part("pcie_sent_bytes_s", limit=_BYTES_S_MAX),
    "DCGM_FI_PROF_PCIE_RX_BYTES": Part("pcie_received_bytes_s", limit=_BYTES_S_MAX),
    "DCGM_FI_PROF_NVLINK_TX_BYTES": Part("nvlink_sent_bytes_s", limit=_BYTES_S_MAX),
    "DCGM_FI_PROF_NVLINK_RX_BYTES": Part("nvlink_received_bytes_s", limit=_BYTES_S_MAX),
    "DCGM_EXP_XID_ERRORS_COUNT": Part("xid_window", limit=_COUNT_MAX, is_count=True),
    # The same since the exporter started, of newer releases: what counts in both is that it grew.
    "DCGM_EXP_XID_ERRORS_TOTAL": Part("xid_window", limit=_COUNT_MAX, is_count=True),
    "DCGM_EXP_CLOCK_EVENTS_COUNT": Part("throttle_window", limit=_COUNT_MAX, is_count=True),
    "DCGM_EXP_CLOCK_THROTTLE_REASONS_COUNT": Part("throttle_window", limit=_COUNT_MAX, is_count=True),
}
# The names of the first releases, which the old-namespace flag still prints: etc/1.x-compatibility-metrics.csv of
# dcgm-exporter lists them.
_OLD_NAMES: Final = {
    "dcgm_sm_clock": "DCGM_FI_DEV_SM_CLOCK",
    "dcgm_memory_clock": "DCGM_FI_DEV_MEM_CLOCK",
    "dcgm_memory_temp": "DCGM_FI_DEV_MEMORY_TEMP",
    "dcgm_gpu_temp": "DCGM_FI_DEV_GPU_TEMP",
    "dcgm_power_usage": "DCGM_FI_DEV_POWER_USAGE",
    "dcgm_total_energy_consumption": "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "dcgm_pcie_replay_counter": "DCGM_FI_DEV_PCIE_REPLAY_COUNTER",
    "dcgm_gpu_utilization": "DCGM_FI_DEV_GPU_UTIL",
    "dcgm_xid_errors": "DCGM_FI_DEV_XID_ERRORS",
    "dcgm_fb_free": "DCGM_FI_DEV_FB_FREE",
    "dcgm_fb_used": "DCGM_FI_DEV_FB_USED",
    "dcgm_ecc_sbe_volatile_total": "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
    "dcgm_ecc_dbe_volatile_total": "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "dcgm_ecc_sbe_aggregate_total": "DCGM_FI_DEV_ECC_SBE_AGG_TOTAL",
    "dcgm_ecc_dbe_aggregate_total": "DCGM_FI_DEV_ECC_DBE_AGG_TOTAL",
    "dcgm_fi_prof_gr_engine_active": "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "dcgm_fi_prof_pipe_tensor_active": "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    "dcgm_fi_prof_dram_active": "DCGM_FI_PROF_DRAM_ACTIVE",
    "dcgm_fi_prof_pcie_tx_bytes": "DCGM_FI_PROF_PCIE_TX_BYTES",
    "dcgm_fi_prof_pcie_rx_bytes": "DCGM_FI_PROF_PCIE_RX_BYTES",
}
# Known, and no part of a sample: other engines' use, NVLink errors and links one by one, CPUs, licences, versions.
_NOT_NEEDED: Final = re.compile(
    r"DCGM_FI_(?:DEV_(?:MEM_COPY_UTIL|ENC_UTIL|DEC_UTIL|FB_(?:RESERVED|TOTAL|USED_PERCENT)|VGPU_|NVLINK_|NVSWITCH_"
    r"|CPU_|RETIRED_|ECC_|[A-Z_]*VIOLATION|SLOWDOWN_TEMP|SHUTDOWN_TEMP|PSTATE|FAN_SPEED|PCIE_|ROW_REMAP_PENDING|BAR1_"
    r"|BOARD_LIMIT_|LOW_UTIL_|RELIABILITY_|SYNC_BOOST_|THERMAL_|POWER_|CONNECTX_|COMPUTE_|PERSISTENCE_|MAX_|MIG_)"
    r"|PROF_(?:SM_|PIPE_|NVLINK_|NVDEC|NVJPG|NVOFA|C2C_|HOSTMEM_|PEERMEM_)|DRIVER_|PROCESS_|CUDA_|NVML_|BIND_)"
    r"|DCGM_EXP_(?:GPU_HEALTH_|P2P_|CLOCK_EVENTS_TOTAL)"
    r"|dcgm_(?:mem_copy_utilization|enc_utilization|dec_utilization|fb_|ecc_|nvlink_|[a-z_]*violation|retired_|fi_prof_|pcie_)"
)
_DCGM: Final = re.compile(r"(?i:dcgm_)")

# DCGM's numbers for blank, not found, not supported and not permitted, of its 32- and 64-bit integers and its doubles:
# 0x7ffffff0, 0x7ffffffffffffff0 and 2**47 with up to 15 added, as DCGM's header dcgm_structs.h defines them.
_INT32_SENTINELS: Final = (2_147_483_632.0, 2_147_483_647.0)
_FLOAT_SENTINELS: Final = (140_737_488_355_328.0, 140_737_488_355_343.0)
_INT64_SENTINEL: Final = float(9_223_372_036_854_775_792)
# A double holds those of 64 bits to the nearest 1,024; one that was divided or scaled before is found all the same.
_INT64_LEAST: Final = _INT64_SENTINEL - 2_048

_Key = tuple[str, str, str]


def why_not(name: str) -> Reason | None:
    """Say why a family gives no sample of a GPU: None where it does; UNKNOWN also where it is none of DCGM's."""
    if name in _PARTS or name in _OLD_NAMES:
        return None
    return Reason.NOT_NEEDED if _NOT_NEEDED.match(name) else Reason.UNKNOWN


def is_dcgm(name: str) -> bool:
    """Say whether DCGM's exporter prints families of this name."""
    return _DCGM.match(name) is not None


def is_sentinel(value: float) -> bool:
    """Say whether a value is one of DCGM's for "there is none"."""
    return (
        value >= _INT64_LEAST
        or _INT32_SENTINELS[0] <= value <= _INT32_SENTINELS[1]
        or _FLOAT_SENTINELS[0] <= value <= _FLOAT_SENTINELS[1]
    )


@dataclass(slots=True)
class _Gpu:
    """What a page tells of one GPU, gathered line by line."""

    labels: dict[str, str]
    parts: dict[str, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    xids: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuReading:
    """A sample, and how often each XID came in the exporter's window, where it tells."""

    sample: GpuSample
    xid_window: Mapping[int, int] = field(default_factory=dict)


def gpu_samples(series: Iterable[Series], host: str, sampled_at_ns: int, rejections: Rejections) -> list[GpuReading]:
    """Return a sample of each GPU and MIG instance that the series tell of; `host` is for those that name none."""
    gpus: dict[_Key, _Gpu] = {}
    seen: set[tuple[object, ...]] = set()
    is_moved = False
    for one in series:
        is_moved = is_moved or _EXPORTED_POD in one.labels
        name = _OLD_NAMES.get(one.name, one.name)
        reason = _take(gpus, one, _PARTS[name], seen)
        if reason is not None:
            rejections.add(one.line, reason)
    return [
        _reading(key, gpu, _workload(gpu.labels, is_moved), host, sampled_at_ns)
        for key, gpu in gpus.items()
        if _tells(gpu)
    ]


def _take(gpus: dict[_Key, _Gpu], one: Series, part: Part, seen: set[tuple[object, ...]]) -> Reason | None:
    """Put one value where it belongs, or say why not."""
    labels = one.labels
    key = (_first(labels, _UUID), _text(labels.get("GPU_I_ID", "")), _text(labels.get("gpu", "")))
    if not key[0] and not key[2]:
        return Reason.NO_GPU
    reason = Reason.NOT_NEEDED if key[1] and part.of_board else _unfit(one.value, part)
    if reason is not None:
        return reason
    # A GPU that several containers share is printed once for each; its first is kept. An XID stands once a code.
    told = (key, part.name, labels.get("xid", ""), labels.get("clock_event", labels.get("clock_throttle_reason", "")))
    if told in seen:
        return Reason.DUPLICATE
    if key not in gpus and len(gpus) >= GPUS_MAX:
        return Reason.OVER_LIMIT
    seen.add(told)
    gpu = gpus.setdefault(key, _Gpu({}))
    for name, value in labels.items():
        if value:
            gpu.labels.setdefault(name, value)
    match part.name:
        case "xid_window":
            return _take_xid(gpu, labels.get("xid", ""), int(one.value))
        case "throttle_window":
            why = reason_of(_text(labels.get("clock_event", labels.get("clock_throttle_reason", ""))))
            if why and one.value > 0:
                gpu.reasons.append(why)
        case _:
            gpu.parts[part.name] = min(one.value, part.limit) * part.scale
    return None


def _take_xid(gpu: _Gpu, code: str, times: int) -> Reason | None:
    if not code.isascii() or not code.isdigit() or len(code) > len("4294967295") or int(code) > _XID_MAX:
        return Reason.OUT_OF_RANGE
    gpu.xids[int(code)] = times
    return None


def _unfit(value: float, part: Part) -> Reason | None:
    if math.isnan(value):
        return Reason.NOT_A_NUMBER
    if is_sentinel(value) or (part.zero_is_none and value == 0):
        return Reason.SENTINEL
    most = part.limit * _ROUNDED_SHARE if part.is_share else part.limit
    least = -273.15 if part.name.endswith("temperature_c") else 0.0
    if not least <= value <= most or (part.is_count and value != int(value)):
        return Reason.OUT_OF_RANGE
    return None


def _tells(gpu: _Gpu) -> bool:
    return bool(gpu.parts or gpu.reasons or gpu.xids)


_UUID: Final = ("UUID", "uuid", "gpu_uuid")
_HOST: Final = ("Hostname", "hostname")
_NAME: Final = ("modelName", "model_name")
_NAMESPACE: Final = ("namespace", "pod_namespace")
_POD: Final = ("pod", "pod_name")
_CONTAINER: Final = ("container", "container_name")
# Prometheus puts the pod that it scraped under the plain names and moves what the exporter wrote below this prefix.
_EXPORTED: Final = "exported_"
_EXPORTED_POD: Final = "exported_pod"
# The exporter's own pod, by which an idle GPU is labelled where Prometheus adds the pod that it scraped.
_EXPORTERS_POD: Final = re.compile(r"(?:nvidia-)?dcgm-exporter\b")
# Parts that a sample takes as they are.
_AS_TOLD: Final = (
    "utilization", "engine_active", "tensor_active", "dram_active", "temperature_c", "memory_temperature_c",
    "power_w", "energy_j", "sm_clock_mhz", "memory_clock_mhz", "pcie_sent_bytes_s", "pcie_received_bytes_s",
)  # fmt: skip
_AS_COUNTS: Final = (
    "memory_used_bytes", "remapped_rows_corrected", "remapped_rows_uncorrected", "pcie_replays", "last_xid",
)  # fmt: skip


def _workload(labels: Mapping[str, str], is_moved: bool) -> tuple[str, str, str]:
    """Namespace, pod and container that use a GPU; empty for one that nobody uses."""
    names = [[_EXPORTED + name for name in names] if is_moved else names for names in (_NAMESPACE, _POD, _CONTAINER)]
    namespace, pod, container = (_first(labels, one) for one in names)
    return ("", "", "") if _EXPORTERS_POD.match(pod) else (namespace, pod, container)


def _reading(key: _Key, gpu: _Gpu, workload: tuple[str, str, str], host: str, sampled_at_ns: int) -> GpuReading:
    parts, labels = gpu.parts, gpu.labels
    told: dict[str, Any] = {name: parts.get(name) for name in _AS_TOLD}
    told |= {name: _whole(parts.get(name)) for name in _AS_COUNTS}
    sample = GpuSample(
        sampled_at_ns=sampled_at_ns,
        host=_first(labels, _HOST) or host,
        # Without an id the number stands for it: on one node it is as good until GPUs are changed.
        gpu_uuid=key[0] or f"{host}/gpu{key[2]}",
        mig_instance=key[1],
        gpu_index=_index(key[2]),
        gpu_name=_first(labels, _NAME),
        mig_profile=_text(labels.get("GPU_I_PROFILE", "")),
        namespace=workload[0],
        pod=workload[1],
        container=workload[2],
        source=Source.DCGM,
        memory_total_bytes=_sum(parts.get("memory_used_bytes"), parts.get("memory_free_bytes")),
        power_limit_w=parts.get("enforced_power_limit_w", parts.get("power_limit_w")),
        throttle_reasons=_throttle(gpu),
        ecc_corrected=_whole(parts.get("ecc_corrected", parts.get("ecc_corrected_since_load"))),
        ecc_uncorrected=_whole(parts.get("ecc_uncorrected", parts.get("ecc_uncorrected_since_load"))),
        row_remap_failed=_flag(parts.get("row_remap_failed")),
        nvlink_bytes_s=_add(parts.get("nvlink_sent_bytes_s"), parts.get("nvlink_received_bytes_s")),
        **told,
    )
    return GpuReading(sample, dict(gpu.xids))


def _throttle(gpu: _Gpu) -> tuple[str, ...]:
    """Return why clocks are held down now; the window of events counts only where the state itself is not told."""
    mask = gpu.parts.get("throttle_mask")
    return tuple(dict.fromkeys(gpu.reasons)) if mask is None else reasons_of(int(mask) & MASK_MAX)


def _first(labels: Mapping[str, str], names: Iterable[str]) -> str:
    return next((_text(labels[name]) for name in names if labels.get(name)), "")


def _text(value: str) -> str:
    return value[:_TEXT_MAX]


def _index(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= len("65535")
    return int(text) if is_number and int(text) <= 65_535 else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _flag(value: float | None) -> bool | None:
    return None if value is None else value > 0


def _sum(one: float | None, other: float | None) -> int | None:
    return None if one is None or other is None else int(one) + int(other)


def _add(one: float | None, other: float | None) -> float | None:
    return None if one is None and other is None else (one or 0.0) + (other or 0.0)
