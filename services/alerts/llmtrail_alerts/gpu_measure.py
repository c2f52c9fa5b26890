"""What a GPU condition comes to, from what a GPU, a model server or a node's targets did in a window. Pure.

None is unknown: then nothing is decided. More is worse of every condition.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, assert_never

from llmtrail.core.gpu_window import EngineWindow, GpuWindow, TargetSeen
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
# Who has to act at once comes first.
_CLASSES = (XidClass.HARDWARE, XidClass.RESET, XidClass.MEMORY, XidClass.OTHER, XidClass.APPLICATION)


class Seen(NamedTuple):
    """What was seen of one GPU, model server or node: the value, and what a person wants to know beside it."""

    value: int | float | None
    detail: dict[str, str]


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


def seen_of_gpu(alarm: Alarm, window: GpuWindow) -> Seen:
    """Return what a GPU's condition comes to."""
    detail = {
        name: text
        for name, text in (
            ("gpu_index", "" if window.gpu_index is None else str(window.gpu_index)),
            ("gpu_name", window.gpu_name),
            ("pod", f"{window.namespace}/{window.pod}" if window.namespace and window.pod else window.pod),
        )
        if text
    }
    match alarm.gpu_condition:
        case GpuCondition.XID:
            codes = xid_codes(window, alarm.gpu_kinds)
            listed = tuple(dict.fromkeys(codes))
            return Seen(len(codes), detail | ({"xids": " ".join(map(str, listed))} if listed else {}))
        case GpuCondition.THROTTLED:
            wanted = alarm.gpu_kinds or THROTTLE_REASONS
            shares = {reason: share for reason, share in window.throttled.items() if reason in wanted}
            reasons = sorted(shares, key=lambda reason: (-shares[reason], reason))[:NAMED_MAX]
            return Seen(
                max(shares.values(), default=0.0), detail | ({"reasons": ", ".join(reasons)} if reasons else {})
            )
        case _:
            return Seen(_gpu_value(alarm, window), detail)


def seen_of_engine(alarm: Alarm, window: EngineWindow) -> Seen:
    """Return what a model server's condition comes to."""
    detail = {"engine": str(window.engine)} | ({"pod": window.pod} if window.pod else {})
    gauge = window.waiting if alarm.gpu_condition is GpuCondition.QUEUE_DEEP else window.kv_cache_used
    return Seen(None if gauge is None else gauge.mean, detail)


def seen_of_node(alarm: Alarm, targets: Sequence[TargetSeen], now_ns: int) -> Seen:
    """Return what a node's condition comes to, from all its targets."""
    if alarm.gpu_condition is GpuCondition.TARGETS_FAILING:
        failing = sorted((one for one in targets if one.last_error and _is_heard(one, now_ns)), key=lambda one: one.id)
        named = "; ".join(f"{one.target}: {one.last_error}" for one in failing[:NAMED_MAX])
        return Seen(len(failing), {"targets": named} if failing else {})
    newest = max(targets, key=lambda one: one.last_arrived_ns, default=None)
    if newest is None:
        return Seen(None, {})
    return Seen(_missing(newest, now_ns), {"last_heard_s": str(max(now_ns - newest.last_arrived_ns, 0) // _NS)})


def xid_codes(window: GpuWindow, classes: Iterable[str]) -> list[int]:
    """Return the codes of some classes (of all, where none is named): the gravest first, of one class the latest."""
    wanted = frozenset(classes) or frozenset(XidClass)
    told = [(_CLASSES.index(xid_of(code).kind), -at_ns, code) for at_ns, code in window.xids]
    return [code for _, _, code in sorted(told) if xid_of(code).kind in wanted]


def _gpu_value(alarm: Alarm, window: GpuWindow) -> int | float | None:
    found: int | float | None = None
    match alarm.gpu_condition:
        case GpuCondition.ECC_UNCORRECTED:
            found = window.ecc_uncorrected
        case GpuCondition.ECC_CORRECTED_RATE:
            found = None if window.ecc_corrected is None else window.ecc_corrected * _HOUR_S / alarm.window_s
        case GpuCondition.REMAPPED_ROWS:
            found = window.remapped_rows
        case GpuCondition.ROW_REMAP_FAILED:
            found = None if window.row_remap_failed is None else int(window.row_remap_failed)
        case GpuCondition.MEMORY_NEAR_FULL:
            found = window.memory_used_share.max if window.memory_used_share is not None else None
        case GpuCondition.IDLE_ALLOCATED:
            found = _idle(window)
        case GpuCondition.TEMPERATURE:
            found = window.temperature_c.max if window.temperature_c is not None else None
        case GpuCondition.POWER_LIMIT:
            found = _power_share(window)
        case (
            None
            | GpuCondition.XID
            | GpuCondition.THROTTLED
            | GpuCondition.KV_CACHE_NEAR_FULL
            | GpuCondition.QUEUE_DEEP
            | GpuCondition.NODE_SILENT
            | GpuCondition.TARGETS_FAILING
        ):
            raise AssertionError(f"{alarm.gpu_condition} is no value of a GPU.")
        case _:
            assert_never(alarm.gpu_condition)
    return found


def _power_share(window: GpuWindow) -> float | None:
    if window.power_w is None or not window.power_limit_w:
        return None
    return window.power_w.mean / window.power_limit_w


def _idle(window: GpuWindow) -> float | None:
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
