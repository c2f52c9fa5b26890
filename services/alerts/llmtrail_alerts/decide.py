"""Decide what a sighting of a group means: whether somebody hears of it, and why. Pure: no clock, no channel, no rows.

A group is quiet, or it fires at a level. A level is reached once the value has been at `at` or beyond for `for_s`, and
is left at `clear` or before; between the two nothing changes, so that a value that trembles is told once. The same
state and the same sighting are the same verdict with the same id, on any machine and at any repetition.
"""

import dataclasses
from hashlib import blake2b
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from llmtrail_alerts.model import Alarm, Budget, GroupKey, GroupState, Level, Period, Reason, Rule, Sighting, Verdict
from llmtrail_alerts.past import PAST
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.refit import Edit, basis_of, edit_of, is_told, marks_of, refit, told_with

# A sighting has at most three things to say: a period's end, what holds now, and what of it may be told.
VERDICTS_MAX = 4
PERIOD_ENDED = "period ended"
NO_SUCH_LEVEL = "no longer a level of the rule"
NO_SUCH_RULE = "the rule was removed"
NOT_MEANT = "the rule is about something else now"
RULE_CHANGED = "the rule was changed"
RENAMED = "the rule has another name now"
NO_DATA = "no data: for an hour there were too few calls to say more"
MOVED = "the rule is decided by another process now"
_NS = 1_000_000_000
_DAY_S = 86_400
_ID_BYTES = 16  # 128 bits: two verdicts never share an id
# A group that is well is remembered so long, so that a second firing on the same day has another number.
_FORGET_S = 2 * _DAY_S
# A period that is over is looked at for half a minute more: till then it must be known what was said of it.
_AFTER_S = 60
# A firing that too few calls say anything of holds so long: an application that is down, or stopped, is not mended.
NO_DATA_AFTER_S = 3_600
# The last hour is kept to the minute.
_SLIDE_S = 60


def decide_all(
    rule: Rule, state: GroupState | None, sighting: Sighting, quiet: Quiet, now_ns: int
) -> tuple[GroupState, list[Verdict]]:
    """Decide until there is nothing left to say; return the last state and all verdicts in order."""
    verdicts: list[Verdict] = []
    for _ in range(VERDICTS_MAX):
        state, verdict = decide(rule, state, sighting, quiet, now_ns)
        if verdict is None:
            return state, verdicts
        verdicts.append(verdict)
    raise AssertionError(f"a sighting of {sighting.key} leads to more than {VERDICTS_MAX} verdicts")


def decide(
    rule: Rule, state: GroupState | None, sighting: Sighting, quiet: Quiet, now_ns: int
) -> tuple[GroupState, Verdict | None]:
    """Return the group's next state, and the next thing to say of it or None.

    A sighting may have more than one thing to say (one period ended, the next is over its limit already): decide again
    with the new state until there is none, as `decide_all` does. A period that is over says nothing once the state has
    come to a later one. Where the rule was edited, what is decided is what a group without a past would be; what was
    begun goes on where it still holds, and ends where it does not.
    """
    state = state or GroupState(rule=sighting.key.rule, scope=sighting.key.scope, period=sighting.period)
    edit = edit_of(rule, state)
    if PAST in sighting.detail and _is_left_behind(state, sighting, edit):
        return state, None
    if edit is Edit.OTHER and state.level >= 0:
        return _resolve(state, _last_of(state, RULE_CHANGED, sighting.at_ns), now_ns)
    if edit is Edit.NONE and sighting.period != state.period:
        if state.level >= 0:
            return _resolve(state, _last_of(state, PERIOD_ENDED, sighting.at_ns), now_ns)
        state = _fresh(state, sighting)
    elif edit is not Edit.NONE:
        state = _recounted(state, sighting)
    state, held = refit(rule, _set_back(state, sighting.at_ns, now_ns))
    held = -1 if edit is not Edit.NONE else held
    from_level = state.level
    seen = _seen(rule, state, sighting, held)
    level = -1 if _is_unheard_of(rule, seen) else _level(rule, seen, held)
    if level < 0:
        return (seen, None) if from_level < 0 else _resolve(seen, _end_of(rule, seen, held, sighting), now_ns)
    return _tell(rule, _moved(seen, level), _Moment(sighting, quiet, now_ns, from_level))


def end(state: GroupState, why: str, now_ns: int) -> tuple[GroupState, Verdict | None]:
    """End a firing for another reason than what is seen: its rule is gone. None where the group does not fire.

    What is left keeps the number of the group's firings, so that those of a rule that comes back are told apart.
    """
    if state.level < 0:
        return replace(state, reached_ns=(), well_since_ns=0), None
    return _resolve(state, _last_of(state, why, now_ns), now_ns)


def renamed(state: GroupState, name: str, now_ns: int) -> tuple[GroupState, Verdict | None]:
    """Go on under another name of the rule; a firing stays the same incident, and says so to the record alone."""
    state = replace(state, rule=name, incident=incident_of(state) if state.level >= 0 else "")
    if state.level < 0:
        return state, None
    moment = _Moment(_last_of(state, RENAMED, state.at_ns), Quiet(), now_ns, state.level)
    return _verdict(state, Reason.LEVEL_CHANGED, moment, told=False)


def due_ns(rule: Rule, state: GroupState) -> int | None:
    """Return when a group must be decided again even where nothing is counted for it; None where never."""
    times: list[int] = []
    if isinstance(rule, Budget) and rule.period is Period.TOTAL and state.level >= 0:
        # What was spent leaves the last hour in time, calls or none.
        times.append(state.at_ns + _SLIDE_S * _NS)
    if state.period_end_ns and (state.level >= 0 or any(state.reached_ns)):
        times.append(state.period_end_ns)
    if isinstance(rule, Alarm):
        waiting = [since for since in state.reached_ns[state.level + 1 :] if since]
        times += [since + rule.for_s * _NS for since in waiting]
        if state.well_since_ns:
            times.append(state.well_since_ns + rule.resolve_after_s * _NS)
        if state.unheard_ns and state.level >= 0 and rule.gpu_condition is None:
            times.append(state.unheard_ns + NO_DATA_AFTER_S * _NS)
    if state.level >= 0 and rule.repeat_s and state.told_at_ns:
        times.append(state.told_at_ns + rule.repeat_s * _NS)
    return min(times, default=None)


def is_forgettable(state: GroupState, now_ns: int) -> bool:
    """Say whether a group that was never seen would be decided in the same way, so that its state may be dropped."""
    if state.level >= 0 or any(state.reached_ns):
        return False
    if state.after_ns and now_ns < state.after_ns + _AFTER_S * _NS:
        return False
    over_ns = state.period_end_ns or state.at_ns + _FORGET_S * _NS
    return state.crossing == 0 or over_ns + _FORGET_S * _NS <= now_ns


def is_change(former: GroupState | None, state: GroupState) -> bool:
    """Say whether a state must be stored: whether more than the value last seen is new."""
    if former is None:
        return state.level >= 0 or any(state.reached_ns) or state.crossing > 0 or state.after_ns > 0
    return replace(former, at_ns=state.at_ns, value=state.value, peak=state.peak) != state


def incident_of(state: GroupState) -> str:
    """Return the id that all verdicts of the present firing share."""
    return state.incident or _new_incident(state)


def _new_incident(state: GroupState) -> str:
    # An alarm has no period: the day on which it began to fire keeps its number apart from those long forgotten.
    period: str | int = state.period or state.firing_since_ns // _NS // _DAY_S
    apart = [f"{state.recounts}/{state.home}"] if state.recounts or state.home else []
    return _digest(state.rule, state.scope, period, state.crossing, *apart)


def _is_left_behind(state: GroupState, sighting: Sighting, edit: Edit) -> bool:
    """Whether a state has come to a later period than one that is over, or was decided by other periods."""
    if edit is not Edit.NONE:
        return state.level >= 0
    return sighting.period != state.period and sighting.period_end_ns < state.period_end_ns


def _set_back(state: GroupState, at_ns: int, now_ns: int) -> GroupState:
    """Return a state from before a moment: what another process saw whose clock was ahead, it has seen just now."""
    if state.at_ns <= at_ns:
        return state
    return replace(
        state,
        at_ns=at_ns,
        reached_ns=tuple(min(since, at_ns) for since in state.reached_ns),
        well_since_ns=min(state.well_since_ns, at_ns),
        unheard_ns=min(state.unheard_ns, at_ns),
        told_at_ns=min(state.told_at_ns, now_ns),
    )


def _recounted(state: GroupState, sighting: Sighting) -> GroupState:
    """Return a state whose rule counts otherwise from now on: what it said of amounts is to be seen again."""
    return replace(state, period=sighting.period, reached_ns=(), well_since_ns=0, marks=(), recounts=state.recounts + 1)


class _Moment(NamedTuple):
    """What a decision is made at."""

    sighting: Sighting
    quiet: Quiet
    now_ns: int
    from_level: int


def _fresh(state: GroupState, sighting: Sighting) -> GroupState:
    """Return the state with which a group begins a period."""
    # A budget that became an alarm, or the other way round, goes on counting: its ids stay apart. So do those of a
    # period that is come back to, since a clock that was ahead had left it.
    crossing = 0 if state.period and sighting.period else state.crossing
    back = 0 < sighting.period_end_ns < state.period_end_ns
    return GroupState(
        rule=state.rule,
        scope=state.scope,
        period=sighting.period,
        at_ns=min(state.at_ns, sighting.at_ns),
        crossing=crossing,
        recounts=state.recounts + back,
        home=state.home,
        after_ns=sighting.at_ns if state.crossing else 0,
    )


def _last_of(state: GroupState, why: str, at_ns: int) -> Sighting:
    """Return the last that was seen of a firing, with the reason why it ends."""
    return Sighting(
        key=GroupKey(state.rule, state.scope),
        at_ns=at_ns,
        value=state.value,
        period=state.period,
        period_end_ns=state.period_end_ns,
        detail={"why": why},
    )


def _seen(rule: Rule, state: GroupState, sighting: Sighting, held: int) -> GroupState:
    """Take into the state the value, since when each level is reached, and since when the group is well."""
    value, at_ns = sighting.value, sighting.at_ns
    state = replace(
        state,
        at_ns=at_ns,
        period_end_ns=sighting.period_end_ns,
        basis=basis_of(rule),
        marks=marks_of(rule.levels),
    )
    if value is None or value != value:  # noqa: PLR0124 - a value that is no number says nothing either
        # What nobody knows does not go on: neither towards a level nor towards the end of one.
        lower = state.reached_ns[: held + 1]
        reached_ns = lower + (0,) * (len(state.reached_ns) - len(lower))
        return replace(
            state, reached_ns=reached_ns, well_since_ns=0, unheard_ns=(state.unheard_ns or at_ns) if held >= 0 else 0
        )
    worse = min if _is_below(rule) else max
    since = zip(state.reached_ns, rule.levels, strict=True)
    well = all(_is_left(rule, level, value) for level in rule.levels[: held + 1])
    return replace(
        state,
        value=value,
        peak=worse(state.peak, value) if state.level >= 0 else value,
        reached_ns=tuple((began or at_ns) if _is_reached(rule, level, value) else 0 for began, level in since),
        well_since_ns=(state.well_since_ns or at_ns) if well and held >= 0 else 0,
        unheard_ns=0,
    )


def _is_unheard_of(rule: Rule, state: GroupState) -> bool:
    """Whether a firing has held for so long without anything that could end it. Machines fall silent by their fault."""
    if not isinstance(rule, Alarm) or rule.gpu_condition is not None or not state.unheard_ns:
        return False
    return state.at_ns - state.unheard_ns >= NO_DATA_AFTER_S * _NS


def _end_of(rule: Rule, state: GroupState, held: int, sighting: Sighting) -> Sighting:
    """Return what is told of a firing that is over: what was seen, or why nothing need be seen."""
    if _is_unheard_of(rule, state):
        # What is unknown is told as no number.
        return dataclasses.replace(_last_of(state, NO_DATA, sighting.at_ns), value=None)
    why = NO_SUCH_LEVEL if not rule.levels else RULE_CHANGED if held < 0 else ""
    return _last_of(state, why, sighting.at_ns) if why else sighting


def _level(rule: Rule, state: GroupState, held: int) -> int:
    """Return the level that holds now; -1 where the group is well, and has been for long enough."""
    if not rule.levels:
        return -1
    if state.unheard_ns:
        return held
    held_ns, well_ns = (rule.for_s * _NS, rule.resolve_after_s * _NS) if isinstance(rule, Alarm) else (0, 0)
    long_enough = [i for i, since in enumerate(state.reached_ns) if since and state.at_ns - since >= held_ns]
    risen = long_enough[-1] if long_enough else -1
    if state.well_since_ns:
        return -1 if state.at_ns - state.well_since_ns >= well_ns else held
    kept = (i for i in range(held, -1, -1) if not _is_left(rule, rule.levels[i], state.value))
    return max(risen, next(kept, -1))


def _moved(state: GroupState, level: int) -> GroupState:
    """Return the state at a level that holds: a new firing, or another level of the present one."""
    if level == state.level:
        return state
    moved = replace(state, level=level, level_since_ns=state.at_ns)
    if state.level >= 0:
        return moved
    began_ns = min(since for since in state.reached_ns if since)
    begun = replace(moved, firing_since_ns=began_ns, crossing=state.crossing + 1, step=0, told=(), told_at_ns=0)
    return replace(begun, incident=_new_incident(begun))


def _tell(rule: Rule, state: GroupState, moment: _Moment) -> tuple[GroupState, Verdict | None]:
    """Say what is to be said of a group that fires, or record why it is not said."""
    quiet, wanted = moment.quiet, _wanted(rule, state, moment.now_ns)
    moved = state.level != moment.from_level
    if wanted is None:
        state = replace(state, suppressed="") if quiet.reason is None else state
        return _verdict(state, Reason.LEVEL_CHANGED, moment, told=False) if moved else (state, None)
    if quiet.reason is not None:
        if not moved and state.suppressed == quiet.reason:
            return state, None
        return _verdict(replace(state, suppressed=quiet.reason.value), quiet.reason, moment, told=False)
    told = replace(state, suppressed="", told=told_with(rule, state), told_at_ns=moment.now_ns)
    return _verdict(told, wanted, moment, told=True)


def _wanted(rule: Rule, state: GroupState, now_ns: int) -> Reason | None:
    """Return why somebody should hear of a group that fires; None where all of it is told."""
    if not state.told:
        return Reason.FIRST
    if not is_told(rule, state, state.level):
        return Reason.LEVEL_CHANGED
    is_due = rule.repeat_s > 0 and now_ns - state.told_at_ns >= rule.repeat_s * _NS
    # A group that is well and only waits to be resolved is no reason to remind anybody.
    return Reason.REPEATED if is_due and not state.well_since_ns else None


def _resolve(state: GroupState, sighting: Sighting, now_ns: int) -> tuple[GroupState, Verdict]:
    """End a firing. Who heard of it hears that it is over, in a silence too: nothing stays open because of one."""
    over = replace(state, level=-1, reached_ns=(), well_since_ns=0, unheard_ns=0, suppressed="")
    moment = _Moment(sighting, Quiet(), now_ns, state.level)
    resolved, verdict = _verdict(over, Reason.RESOLVED, moment, told=bool(state.told))
    ended = replace(resolved, firing_since_ns=0, level_since_ns=0, told=(), told_at_ns=0, step=0, incident="")
    return ended, verdict


def _verdict(state: GroupState, reason: Reason, moment: _Moment, *, told: bool) -> tuple[GroupState, Verdict]:
    """Number the verdict within its firing, and return it with the state that remembers so."""
    state = replace(state, step=state.step + 1)
    incident = incident_of(state)
    return state, Verdict(
        id=_digest(incident, state.step),
        key=moment.sighting.key,
        reason=reason,
        told=told,
        at_ns=moment.now_ns,
        level=state.level,
        from_level=moment.from_level,
        crossing=state.crossing,
        incident=incident,
        sighting=moment.sighting,
        since_ns=state.firing_since_ns,
        suppressed_by=moment.quiet.by if not told and reason is moment.quiet.reason else "",
    )


def _is_below(rule: Rule) -> bool:
    return isinstance(rule, Alarm) and rule.below


def _is_reached(rule: Rule, level: Level, value: float) -> bool:
    return value <= level.at if _is_below(rule) else value >= level.at


def _is_left(rule: Rule, level: Level, value: float) -> bool:
    """Say whether a value is well enough to leave a level. Without a gap, `at` itself is still in it."""
    if _is_reached(rule, level, value):
        return False
    return value >= level.clear if _is_below(rule) else value <= level.clear


def _digest(*parts: str | int) -> str:
    return blake2b(msgspec.json.encode(parts), digest_size=_ID_BYTES).hexdigest()
