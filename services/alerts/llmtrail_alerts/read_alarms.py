"""Read rules.toml: conditions on the rolling statistics, each with its levels. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Final

from llmtrail.core.failure import FailureMode
from llmtrail.core.scope import HITTER_KINDS, USER_KINDS, ScopeKind
from llmtrail_alerts.model import Alarm, Level, Measure, Severity, Target, Unit
from llmtrail_alerts.quantity import duration_ms, duration_s, nanousd, number, share, times, whole
from llmtrail_alerts.read_gpu import read_gpu
from llmtrail_alerts.read_target import read_name, read_target
from llmtrail_alerts.rules import Place
from llmtrail_alerts.toml_table import Table, nearest, shown

WINDOWS: Final = {"1m": 60, "5m": 300, "1h": 3_600, "1d": 86_400}
# Percentiles of users, and the heaviest requests, sessions and prompts, are kept for an hour.
_SHORT_WINDOW_S: Final = 3_600
# With fewer calls a rate or a percentile is chance: one failure of two calls is no outage.
MIN_CALLS_OF_RATES: Final = 20
# A level is left a tenth below it, so that a value that trembles is told once.
_CLEAR_PART: Final = Fraction(9, 10)
# Told again after so long: twice in a shift.
_REPEAT_DEFAULT_S: Final = 14_400


def _milliseconds(value: object) -> Fraction:
    """Return a time in milliseconds: "2s", or a plain number of them."""
    return Fraction(duration_ms(value)) if isinstance(value, str) else times(value)


def _ratio(value: object) -> Fraction:
    """Return a number a call: 0.5, or "50 %"."""
    return share(value) if isinstance(value, str) and value.strip().endswith("%") else times(value)


def _amount(read: Callable[[object], int]) -> Callable[[object], Fraction]:
    return lambda value: Fraction(read(value))


# What each measure is told in, and how a threshold of it is written.
_UNITS: Final[dict[Measure, tuple[Unit, Callable[[object], Fraction]]]] = {
    Measure.ERROR_RATE: (Unit.SHARE, share),
    Measure.FAILURE_RATE: (Unit.SHARE, share),
    Measure.FAILURES: (Unit.COUNT, _amount(whole)),
    Measure.RETRY_RATE: (Unit.COUNT, _ratio),
    Measure.ATTEMPTS_PER_REQUEST: (Unit.COUNT, _amount(whole)),
    Measure.ATTEMPTS_PER_PROMPT: (Unit.COUNT, _amount(whole)),
    Measure.ATTEMPTS_TIMES_BASELINE: (Unit.TIMES, times),
    Measure.LATENCY_P50_MS: (Unit.MILLISECONDS, _milliseconds),
    Measure.LATENCY_P95_MS: (Unit.MILLISECONDS, _milliseconds),
    Measure.LATENCY_P99_MS: (Unit.MILLISECONDS, _milliseconds),
    Measure.TTFT_P50_MS: (Unit.MILLISECONDS, _milliseconds),
    Measure.TTFT_P95_MS: (Unit.MILLISECONDS, _milliseconds),
    Measure.TTFT_P99_MS: (Unit.MILLISECONDS, _milliseconds),
    Measure.COST: (Unit.NANOUSD, _amount(nanousd)),
    Measure.COST_TIMES_BASELINE: (Unit.TIMES, times),
    Measure.UNPRICED_SHARE: (Unit.SHARE, share),
    Measure.NO_DATA_S: (Unit.SECONDS, _amount(duration_s)),
    Measure.POLICY_DIFFERED: (Unit.COUNT, _amount(whole)),
    Measure.UNDECLARED_FAILURES: (Unit.COUNT, _amount(whole)),
}
# Those that are whole numbers: a level of them is left at one.
_WHOLE: Final = frozenset({Unit.COUNT, Unit.NANOUSD, Unit.SECONDS})
_PERCENTILES: Final = frozenset(measure for measure, (unit, _) in _UNITS.items() if unit is Unit.MILLISECONDS)
_OF_MODES: Final = frozenset({Measure.FAILURE_RATE, Measure.FAILURES})
_RATES: Final = _PERCENTILES | {
    Measure.ERROR_RATE,
    Measure.FAILURE_RATE,
    Measure.RETRY_RATE,
    Measure.UNPRICED_SHARE,
}
# Requests and prompts are not kept by feature.
_OF_TENANTS: Final = frozenset({Measure.ATTEMPTS_PER_REQUEST, Measure.ATTEMPTS_PER_PROMPT})
_OF_POLICIES: Final = frozenset({Measure.POLICY_DIFFERED, Measure.UNDECLARED_FAILURES})
_WITH_FEATURE: Final = frozenset({ScopeKind.FEATURE, ScopeKind.FEATURE_USER, ScopeKind.FEATURE_MODEL})
# Of the heaviest requests, sessions and prompts plain sums are kept, no tables of failures or latencies.
_NOT_OF_HITTERS: Final = (
    _PERCENTILES
    | _OF_MODES
    | {
        Measure.POLICY_DIFFERED,
        Measure.UNDECLARED_FAILURES,
        Measure.NO_DATA_S,
        Measure.ATTEMPTS_TIMES_BASELINE,
        Measure.COST_TIMES_BASELINE,
    }
)


def read_alarms(root: Table, places: dict[tuple[str, str], Place]) -> tuple[Alarm, ...]:
    """Return the alarms of a file; what is wrong is noted in it, and where each stands in `places`."""
    names: set[str] = set()
    found = []
    for table in root.tables("alarm", "alarm"):
        alarm = _alarm(table, names)
        if alarm is not None:
            found.append(alarm)
            places["alarm", alarm.name] = Place(table.file_name, table.line)
    return tuple(found)


def _alarm(table: Table, names: set[str]) -> Alarm | None:
    name = read_name(table, names)
    measure = table.choice("measure", Measure, None, needed='say what is looked at: measure = "error_rate".')
    if measure is None:
        table.misspelt("measure")
        return None
    if measure is Measure.GPU:
        return _gpu_alarm(table, name)
    if table.raw("gpu_condition") is not None:
        table.wrong("gpu_condition", 'gpu_condition goes with measure = "gpu" only.')
    target = read_target(table)
    below = table.flag("below")
    alarm = Alarm(
        name=name,
        target=target,
        measure=measure,
        window_s=_window(table, measure, target),
        levels=_levels(table, *_UNITS[measure], below=below),
        below=below,
        unit=_UNITS[measure][0],
        modes=_modes(table, measure),
        min_calls=table.read("min_calls", whole, MIN_CALLS_OF_RATES if measure in _RATES else 0),
        for_s=table.read("for", duration_s, 0),
        repeat_s=table.read("repeat", duration_s, _REPEAT_DEFAULT_S),
        resolve_after_s=table.read("resolve_after", duration_s, 0),
        inhibits=table.texts("inhibits"),
        owner=table.text("owner"),
    )
    _check_kind(table, measure, target.kind)
    table.done()
    return alarm


def _gpu_alarm(table: Table, name: str) -> Alarm | None:
    """Return an alarm on GPUs, model servers or nodes: more is worse of each condition, and no calls are counted."""
    gpu = read_gpu(table)
    if gpu is None:
        return None
    alarm = Alarm(
        name=name,
        target=gpu.target,
        measure=Measure.GPU,
        window_s=gpu.window_s,
        levels=_levels(table, gpu.unit, gpu.read, below=False),
        unit=gpu.unit,
        for_s=table.read("for", duration_s, 0),
        repeat_s=table.read("repeat", duration_s, _REPEAT_DEFAULT_S),
        resolve_after_s=table.read("resolve_after", duration_s, 0),
        inhibits=table.texts("inhibits"),
        owner=table.text("owner"),
        gpu_condition=gpu.condition,
        gpu_kinds=gpu.kinds,
    )
    table.done()
    return alarm


def _window(table: Table, measure: Measure, target: Target) -> int:
    text = table.text("window")
    if measure is Measure.NO_DATA_S and not text:
        return WINDOWS["1d"]  # whoever called within the last day is missed
    if text not in WINDOWS:
        what = f"window = {shown(text)} is not kept" if text else "window is missing"
        table.wrong("window" if text else "", f"{what}; write one of {', '.join(map(shown, WINDOWS))}.")
        return WINDOWS["5m"]
    seconds = WINDOWS[text]
    of_users = target.kind in USER_KINDS and measure in _PERCENTILES
    of_hitters = target.kind in HITTER_KINDS or measure in _OF_TENANTS
    if seconds > _SHORT_WINDOW_S and (of_users or of_hitters):
        table.wrong(
            "window", "users' percentiles, requests, sessions and prompts are kept for an hour; write 1h or less."
        )
    return seconds


def _levels(table: Table, unit: Unit, read: Callable[[object], Fraction], *, below: bool) -> tuple[Level, ...]:
    """Return the levels, the mildest first: warning = "5 %", or warning = { at = "5 %", clear = "2 %" }."""
    exact: list[tuple[Fraction, Fraction, Severity]] = []
    for severity in Severity:
        if severity.value not in table:
            table.raw(severity)
            continue
        level = _level(table, severity, read, _Better(below=below, is_whole=unit in _WHOLE))
        if level is not None:
            exact.append((*level, severity))
    if not exact and not any(severity.value in table for severity in Severity):
        table.wrong("", 'has no level; write warning = ... or critical = ..., for example critical = "20 %".')
    for (former, _, mild), (later, _, bad) in pairwise(exact):
        if former == later or (later < former) is not below:
            direction = "below" if below else "above"
            table.wrong(bad, f"{bad} must lie {direction} {mild}: levels get worse.")
    return tuple(Level(severity.value, number(at), number(clear), severity) for at, clear, severity in exact)


def _level(
    table: Table, severity: Severity, read: Callable[[object], Fraction], better: "_Better"
) -> tuple[Fraction, Fraction] | None:
    if not isinstance(table.raw(severity), dict):
        at = table.read(severity, read, Fraction(-1))
        return None if at < 0 else (at, better.than(at))
    inner = table.table(severity, f"{table.where} {severity}")
    if inner is None:
        return None
    if "at" not in inner:
        inner.wrong("", f"write {severity} = {{ at = ..., clear = ... }}.")
    at = inner.read("at", read, Fraction(-1))
    clear = inner.read("clear", read, better.than(at))
    inner.done()
    if at < 0:
        return None
    if (clear <= at) if better.below else (clear >= at):
        side = "above" if better.below else "below"
        inner.wrong("clear", f"clear must lie {side} at: between the two nothing changes.")
    return at, clear


@dataclass(frozen=True, slots=True)
class _Better:
    """Where a level is left, unless it is said."""

    below: bool
    is_whole: bool

    def than(self, at: Fraction) -> Fraction:
        """Return what is a tenth better."""
        clear = at / _CLEAR_PART if self.below else at * _CLEAR_PART
        if not self.is_whole or at.denominator != 1:
            return clear
        return Fraction(ceil(clear) if self.below else floor(clear))


def _modes(table: Table, measure: Measure) -> tuple[str, ...]:
    modes = table.texts("modes")
    if measure in _OF_MODES and not modes:
        table.wrong("modes", f'{measure} needs modes = ["timeout", ...]: the failures that count.')
    if modes and measure not in _OF_MODES:
        table.wrong("modes", f"{measure} looks at no modes; use failure_rate or failures, or take modes out.")
    for mode in modes:
        if mode not in list(FailureMode):
            table.wrong("modes", f"{mode!r} is no failure mode; {nearest(mode, list(FailureMode))}")
    return modes


def _check_kind(table: Table, measure: Measure, kind: ScopeKind) -> None:
    if measure in _OF_TENANTS and kind is not ScopeKind.TENANT:
        table.wrong("measure", f'{measure} is of a tenant\'s heaviest one; write tenant = "*" in place of the {kind}.')
    if measure in _OF_POLICIES and kind not in _WITH_FEATURE:
        table.wrong(
            "measure", f'{measure} compares with a feature\'s policy; name the feature, or write feature = "*".'
        )
    if kind in HITTER_KINDS and measure in _NOT_OF_HITTERS:
        table.wrong("measure", f"{measure} is not kept of a {kind}; look at its feature, or at its cost.")
