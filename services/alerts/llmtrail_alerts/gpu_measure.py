"""What a GPU condition comes to, from what a GPU, a model server or a node's targets did in a window. Pure.

None is unknown: then nothing is decided. More is worse of every condition.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from llmtrail.core.gpu_window import EngineWindow, Gauge, GpuWindow, TargetSeen
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.xid import XidClass, xid_of
from llmtrail_alerts.model import Alarm, GpuCondition

_NS = 1_000_000_000
_HOUR_S = 3_600
# Reasons that say trouble. A cap on power holds clocks down under any full load; power_limit tells of that one.
THROTTLE_REASONS = ("hw_slowdown", "hw_thermal", "sw_thermal", "hw_power_brake")
# An idle GPU holds less than a hundredth of its memory for the driver; a program that serves a model holds far more.
HELD_SHARE = 0.05
# A target that was read once only is taken to be read so often: the rarest that may be set.
INTERVAL_S = 60.0
# A restart of whoever takes the samples is no silence, however often they come.
INTERVAL_S_MIN = 10.0
# Readings come late now and then; a target that misses more of them is read no longer, or its node is silent.
HEARD_INTERVALS = 10
# Codes, targets and errors that a message names: enough to see what it is about.
NAMED_MAX = 3
# Conditions that count what happens: each is told at once, however long its window.
EVENTS = frozenset(
    {
        GpuCondition.XID,
        GpuCondition.ECC_UNCORRECTED,
        GpuCondition.REMAPPED_ROWS,
        GpuCondition.ROW_REMAP_FAILED,
    }
)
# Who has to act at once comes first.
_CLASSES = (XidClass.HARDWARE, XidClass.RESET, XidClass.MEMORY, XidClass.OTHER, XidClass.APPLICATION)


def gpu_scope(window: GpuWindow) -> Scope:
    """Return the scope of a GPU or MIG instance."""
    mig = (window.mig_instance,) if window.mig_instance else ()
    return Scope("", ScopeKind.GPU, (window.host, window.gpu_uuid, *mig))


def engine_scope(window: EngineWindow) -> Scope:
    """Return the scope of a model of a model server."""
    return Scope("", ScopeKind.ENGINE, (window.host, window.model, window.address))


def node_scope(host: str) -> Scope:
    """Return the scope of a node."""
    return Scope("", ScopeKind.NODE, (host,))


def value_of_gpu(alarm: Alarm, window: GpuWindow) -> int | float | None:
    """Return what a GPU's condition comes to; raises KeyError for one of something else."""
    return _OF_GPU[alarm.gpu_condition or GpuCondition.XID](alarm, window)


def detail_of_gpu(alarm: Alarm, window: GpuWindow) -> dict[str, str]:
    """Return what a person wants to know beside a GPU's value: who it is, which errors, which reasons."""
    shares = _throttled(alarm, window) if alarm.gpu_condition is GpuCondition.THROTTLED else {}
    codes = xid_codes(window, alarm.gpu_kinds) if alarm.gpu_condition is GpuCondition.XID else ()
    return _told(
        gpu_index="" if window.gpu_index is None else str(window.gpu_index),
        gpu_name=window.gpu_name,
        pod=f"{window.namespace}/{window.pod}" if window.namespace and window.pod else window.pod,
        xids=" ".join(map(str, dict.fromkeys(codes))),
        reasons=", ".join(sorted(shares, key=lambda reason: (-shares[reason], reason))[:NAMED_MAX]),
    )


def value_of_engine(alarm: Alarm, window: EngineWindow) -> float | None:
    """Return what a model server's condition comes to."""
    gauge = window.waiting if alarm.gpu_condition is GpuCondition.QUEUE_DEEP else window.kv_cache_used
    return None if gauge is None else gauge.mean


def detail_of_engine(window: EngineWindow) -> dict[str, str]:
    """Return what a person wants to know beside a model server's value."""
    return _told(engine=str(window.engine), pod=window.pod)


def value_of_node(alarm: Alarm, targets: Sequence[TargetSeen], now_ns: int) -> int | float | None:
    """Return what a node's condition comes to, from all its targets."""
    if alarm.gpu_condition is GpuCondition.TARGETS_FAILING:
        return len(_failing(targets, now_ns))
    newest = max(targets, key=lambda one: one.last_arrived_ns, default=None)
    return None if newest is None else _missing(newest, now_ns)


def detail_of_node(alarm: Alarm, targets: Sequence[TargetSeen], now_ns: int) -> dict[str, str]:
    """Return what a person wants to know beside a node's value: what cannot be read, and why."""
    if alarm.gpu_condition is not GpuCondition.TARGETS_FAILING:
        return {}
    failing = _failing(targets, now_ns)[:NAMED_MAX]
    return _told(targets="; ".join(f"{one.target}: {one.last_error}" for one in failing))


def _told(**known: str) -> dict[str, str]:
    return {name: text for name, text in known.items() if text}


def _throttled(alarm: Alarm, window: GpuWindow) -> dict[str, float]:
    """Return the shares of samples by reason, of those that count."""
    wanted = alarm.gpu_kinds or THROTTLE_REASONS
    return {reason: share for reason, share in window.throttled.items() if reason in wanted}


def _failing(targets: Iterable[TargetSeen], now_ns: int) -> list[TargetSeen]:
    """Return the targets that could not be read when they were last asked, and are still asked."""
    return sorted((one for one in targets if one.last_error and _is_heard(one, now_ns)), key=lambda one: one.id)


def xid_codes(window: GpuWindow, classes: Iterable[str]) -> list[int]:
    """Return the codes of some classes (of all, where none is named): the gravest first, of one class the latest."""
    wanted = frozenset(classes) or frozenset(XidClass)
    told = [(_CLASSES.index(xid_of(code).kind), -at_ns, code) for at_ns, code in window.xids]
    return [code for _, _, code in sorted(told) if xid_of(code).kind in wanted]


def _corrected_rate(alarm: Alarm, window: GpuWindow) -> float | None:
    return None if window.ecc_corrected is None else window.ecc_corrected * _HOUR_S / alarm.window_s


def _power_share(_: Alarm, window: GpuWindow) -> float | None:
    if window.power_w is None or not window.power_limit_w:
        return None
    return window.power_w.mean / window.power_limit_w


def _most(gauge: Gauge | None) -> float | None:
    return None if gauge is None else gauge.max


def _idle(_: Alarm, window: GpuWindow) -> float | None:
    """Return which share of the time a GPU did nothing; 0 where nobody holds it: then that is no waste."""
    held = window.memory_used_share
    if not window.pod and (held is None or held.last < HELD_SHARE):
        return 0.0
    return None if window.utilization is None else 1 - window.utilization.mean


def _missing(target: TargetSeen, now_ns: int) -> float:
    """Return how many readings of a target should have come since the last one."""
    interval_s = max(target.interval_s or INTERVAL_S, INTERVAL_S_MIN)
    return max(now_ns - target.last_arrived_ns, 0) / _NS / interval_s


def _is_heard(target: TargetSeen, now_ns: int) -> bool:
    """Say whether a target is still read: one that was taken out of the configuration fails no more."""
    return _missing(target, now_ns) < HEARD_INTERVALS


def by_node(targets: Iterable[TargetSeen]) -> dict[str, list[TargetSeen]]:
    """Return the targets of each node."""
    found: dict[str, list[TargetSeen]] = {}
    for one in targets:
        found.setdefault(one.host, []).append(one)
    return found


# What each condition of a GPU comes to.
_OF_GPU: Final[Mapping[GpuCondition, Callable[[Alarm, GpuWindow], int | float | None]]] = {
    GpuCondition.XID: lambda alarm, window: len(xid_codes(window, alarm.gpu_kinds)),
    GpuCondition.THROTTLED: lambda alarm, window: max(_throttled(alarm, window).values(), default=0.0),
    GpuCondition.ECC_UNCORRECTED: lambda _, window: window.ecc_uncorrected,
    GpuCondition.ECC_CORRECTED_RATE: _corrected_rate,
    GpuCondition.REMAPPED_ROWS: lambda _, window: window.remapped_rows,
    GpuCondition.ROW_REMAP_FAILED: lambda _, window: (
        None if window.row_remap_failed is None else int(window.row_remap_failed)
    ),
    GpuCondition.MEMORY_NEAR_FULL: lambda _, window: _most(window.memory_used_share),
    GpuCondition.IDLE_ALLOCATED: _idle,
    GpuCondition.TEMPERATURE: lambda _, window: _most(window.temperature_c),
    GpuCondition.POWER_LIMIT: _power_share,
}
