"""Read what an alarm with the measure gpu is about: gpu_condition, host, gpu, model and the like. Pure."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from llmtrail.core.scope import ScopeKind
from llmtrail.core.xid import XidClass
from llmtrail_alerts.model import GpuCondition, Target, Unit
from llmtrail_alerts.quantity import share, times
from llmtrail_alerts.targets import KIND_OF, MACHINE_KEYS
from llmtrail_alerts.toml_table import Table, nearest, shown

# The windows that GPUs' statistics are kept for.
WINDOWS: Final = {"1m": 60, "5m": 300, "1h": 3_600}
# What is rare is looked for longer, unless a rule says otherwise.
_HOURLY: Final = frozenset(
    {
        GpuCondition.ECC_CORRECTED_RATE,
        GpuCondition.ECC_UNCORRECTED,
        GpuCondition.REMAPPED_ROWS,
        GpuCondition.IDLE_ALLOCATED,
    }
)
_SHARES: Final = frozenset(
    {
        GpuCondition.THROTTLED,
        GpuCondition.MEMORY_NEAR_FULL,
        GpuCondition.KV_CACHE_NEAR_FULL,
        GpuCondition.IDLE_ALLOCATED,
        GpuCondition.POWER_LIMIT,
    }
)
# As samples tell them (core.gpu): NVML's reasons but an idle GPU's.
REASONS: Final = (
    "applications_clocks",
    "sw_power_cap",
    "hw_slowdown",
    "sync_boost",
    "sw_thermal",
    "hw_thermal",
    "hw_power_brake",
    "display_clocks",
)


@dataclass(frozen=True, slots=True)
class GpuRule:
    """What of an alarm is said otherwise where it is about GPUs."""

    condition: GpuCondition
    target: Target
    window_s: int
    unit: Unit
    read: Callable[[object], Fraction]  # how a threshold is written
    kinds: tuple[str, ...]  # classes of XIDs, or reasons of throttling


def read_gpu(table: Table) -> GpuRule | None:
    """Return what a table says of GPUs; None, and a mistake noted, where it names no condition."""
    condition = table.choice("gpu_condition", GpuCondition, None)
    if condition is None:
        if "gpu_condition" not in table:
            table.wrong("", f'the measure gpu needs gpu_condition = "...": one of {", ".join(GpuCondition)}.')
        return None
    unit = _unit(condition)
    return GpuRule(
        condition=condition,
        target=read_machine(table, KIND_OF[condition]),
        window_s=_window(table, condition),
        unit=unit,
        read=share if unit is Unit.SHARE else times,
        kinds=_kinds(table, condition),
    )


def read_machine(table: Table, kind: ScopeKind) -> Target:
    """Return which GPUs, model servers or nodes are meant, each a group of its own: patterns, "*" unless said."""
    return Target(kind, tuple(_pattern(table, key) for key in MACHINE_KEYS[kind]), "")


def _pattern(table: Table, key: str) -> str:
    pattern = table.text(key, "*")
    if not pattern:
        table.wrong(key, f'{key} is empty; write a name, a pattern such as {key} = "h200-*", or leave it out for all.')
    return pattern


def _unit(condition: GpuCondition) -> Unit:
    if condition in _SHARES:
        return Unit.SHARE
    if condition is GpuCondition.TEMPERATURE:
        return Unit.CELSIUS
    return Unit.INTERVALS if condition is GpuCondition.NODE_SILENT else Unit.COUNT


def _window(table: Table, condition: GpuCondition) -> int:
    text = table.text("window")
    if text and text not in WINDOWS:
        table.wrong(
            "window", f"window = {shown(text)} is not kept of GPUs; write one of {', '.join(map(shown, WINDOWS))}."
        )
    return WINDOWS.get(text or ("1h" if condition in _HOURLY else "1m"), 60)


def _kinds(table: Table, condition: GpuCondition) -> tuple[str, ...]:
    """Return the classes of XIDs or the reasons of throttling that count; none: those that say trouble."""
    found: tuple[str, ...] = ()
    for key, of, known in (
        ("xid_class", GpuCondition.XID, list(XidClass)),
        ("reasons", GpuCondition.THROTTLED, REASONS),
    ):
        if condition is of:
            found = _known(table, key, known)
        elif table.raw(key) is not None:
            table.wrong(key, f'{key} goes with gpu_condition = "{of}" only.')
    return found


def _known(table: Table, key: str, known: Collection[str]) -> tuple[str, ...]:
    names = table.texts(key)
    for name in names:
        if name not in known:
            table.wrong(key, f"{key}: {name!r} is unknown; {nearest(name, known)}")
    return names
