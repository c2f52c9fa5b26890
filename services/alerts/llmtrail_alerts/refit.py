"""Fit what is remembered of a group to a rule that was edited: as if the rule had always been so. Pure.

A level is the same one where it has the same amounts, wherever it stands in the list. What a level's owner has heard of
is remembered by amount too: it covers every level that is no further, no harder and no graver.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache

from msgspec.structs import replace

from llmtrail_alerts.model import Alarm, Budget, GroupState, Level, Mark, Period, Rule, Severity

_GRAVITY = {severity: number for number, severity in enumerate(Severity)}
# Of as many rules and lists of levels as any folder holds.
_CACHED_MAX = 16_384
_ALIGNED_TO_UTC = frozenset({Period.MINUTE, Period.HOUR, Period.TOTAL})


class Edit(StrEnum):
    """What became of what a rule counts since a group was last decided."""

    NONE = "none"
    RECOUNTED = "recounted"  # the same amounts over other periods, windows or failure modes
    OTHER = "other"  # something else altogether: no amount of before says anything


@lru_cache(_CACHED_MAX)
def basis_of(rule: Rule) -> str:
    """Return what a rule counts and, after the bar, over what: two equal texts count the same."""
    if isinstance(rule, Budget):
        zone = "" if rule.period in _ALIGNED_TO_UTC else rule.zone
        return f"{rule.unit}|{rule.period} {zone}"
    side = "below" if rule.below else "above"
    over = [str(rule.window_s), *sorted(rule.modes), *sorted(rule.gpu_kinds)]
    return f"{rule.measure} {rule.gpu_condition or ''} {side}|{' '.join(over)}"


@lru_cache(_CACHED_MAX)
def marks_of(levels: tuple[Level, ...]) -> tuple[Mark, ...]:
    """Return what levels say, in their order."""
    return tuple(Mark(level.at, level.clear, level.hard, _GRAVITY[level.severity]) for level in levels)


def edit_of(rule: Rule, state: GroupState) -> Edit:
    """Return how what a rule counts differs from what a group was last decided by."""
    basis = basis_of(rule)
    if state.basis in {"", basis}:
        return Edit.NONE
    return Edit.RECOUNTED if state.basis.partition("|")[0] == basis.partition("|")[0] else Edit.OTHER


def refit(rule: Rule, state: GroupState) -> tuple[GroupState, int]:
    """Return a group's state with times for each present level, and the level that its former one still holds up.

    -1 where no level of before is one any more: then only what is seen now says which level there is.
    """
    marks = marks_of(rule.levels)
    if state.marks == marks and len(state.reached_ns) == len(marks):
        return state, state.level
    former = state.marks or marks
    since = dict(zip(_amounts(former), state.reached_ns, strict=False))
    held = set(_amounts(former[: state.level + 1]))
    kept = [number for number, amounts in enumerate(_amounts(marks)) if amounts in held]
    times = tuple(since.get(amounts, 0) for amounts in _amounts(marks))
    return replace(state, reached_ns=times), kept[-1] if kept else -1


def level_until_seen(budget: Budget, state: GroupState) -> int:
    """Return the level at which an edited budget's group is shown, until it is decided under the new rule."""
    marks = marks_of(budget.levels)
    if state.level < 0 or state.marks in {(), marks}:
        return min(state.level, len(marks) - 1)
    if edit_of(budget, state) is Edit.OTHER:
        return -1
    # It was spent up to this at least, whatever was stored of it.
    spent = max(state.value, state.marks[state.level].at)
    reached = [number for number, mark in enumerate(marks) if spent >= mark.at]
    return reached[-1] if reached else -1


def is_told(rule: Rule, state: GroupState, level: int) -> bool:
    """Whether somebody has heard in this firing of a level, or of one that covers it."""
    mark = marks_of(rule.levels)[level]
    return any(_covers(rule, told, mark) for told in state.told)


def told_with(rule: Rule, state: GroupState) -> tuple[Mark, ...]:
    """Return what somebody has heard of, once the present level and all before it are told."""
    told = state.told
    for mark in marks_of(rule.levels)[: state.level + 1]:
        if not any(_covers(rule, one, mark) for one in told):
            told = (*(one for one in told if not _covers(rule, mark, one)), mark)
    return told


def _covers(rule: Rule, told: Mark, mark: Mark) -> bool:
    below = isinstance(rule, Alarm) and rule.below
    further = told.at <= mark.at if below else told.at >= mark.at
    return further and told.hard >= mark.hard and told.gravity >= mark.gravity


def _amounts(marks: Sequence[Mark]) -> list[tuple[int | float, int | float]]:
    return [(mark.at, mark.clear) for mark in marks]
