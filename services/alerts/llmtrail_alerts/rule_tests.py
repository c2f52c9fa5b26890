"""Run the tests that stand beside the rules: made-up calls and clock, the real statistics and the real decisions. Pure.

Nothing is sent, stored or read. A test lasts as long as its decisions take, whatever time passes in it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from llmtrail.core.scope import MACHINE_KINDS, Scope, parse_scope
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.decide import decide_all
from llmtrail_alerts.gpu_watch import GpuWatch
from llmtrail_alerts.joint_watch import JointWatch
from llmtrail_alerts.model import Alarm, GroupKey, GroupState, Reason, Rule, Sighting, Target, Verdict
from llmtrail_alerts.quiet import Firing, quiet_of
from llmtrail_alerts.rule_case import Case, Event, Samples, Want
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.targets import is_machine_meant, is_meant
from llmtrail_alerts.watch import StatisticsWatch

_NS: Final = 1_000_000_000
# Decided each second while something happens or is waited for, else as often as slots begin.
_IDLE_S: Final = 10
# So long after calls, and before a want, each second is looked at: what comes too early must not pass for in time.
_CLOSE_S: Final = 120
_LEAD_S: Final = 15
# Of one test: enough to see what went wrong.
_DIFFERENCES_MAX: Final = 20
# What nobody needs to want: it follows from what was wanted. It may be wanted all the same.
_UNASKED: Final = frozenset({Reason.RESOLVED, Reason.REPEATED})


class Looks(Protocol):
    """What makes sightings of statistics, as the engine has it."""

    def look(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> Iterable[Sighting]:
        """Return a sighting of each group that may be decided otherwise than it stands."""

    def settled(self) -> None:
        """Take note that what was returned was decided."""


MakeLooks = Callable[[Rules, CaseStatistics], Looks]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How a test ended."""

    name: str
    file: str
    line: int
    differences: tuple[str, ...]  # between what was wanted and what came; none: it passed

    @property
    def passed(self) -> bool:
        """Say whether all that was wanted came, and nothing else."""
        return not self.differences


@dataclass(slots=True)
class _Run:
    """One test under way."""

    rules: Rules
    looks: Looks
    states: dict[GroupKey, GroupState] = field(default_factory=dict)
    speaking: dict[GroupKey, Firing] = field(default_factory=dict)
    verdicts: list[Verdict] = field(default_factory=list)

    def turn(self, rules: Sequence[Rule], now_ns: int, *, everything: bool) -> None:
        """Decide whatever may be decided at a time, alarms that speak for others first."""
        speakers = self.rules.inhibitions
        hushes = self.rules.hushes(now_ns)
        looked = self.looks.look(rules, self.states, now_ns, everything=everything)
        for sighting in sorted(looked, key=lambda one: (one.key.rule not in speakers, one.key)):
            rule = self.rules.rule(sighting.key.rule)
            if rule is None:
                continue
            quiet = quiet_of(sighting.key, now_ns, hushes, list(self.speaking.values()))
            state, verdicts = decide_all(rule, self.states.get(sighting.key), sighting, quiet, now_ns)
            self.states[sighting.key] = state
            self.verdicts += verdicts
            if isinstance(rule, Alarm) and rule.inhibits:
                self._speak(rule, state)
        self.looks.settled()

    def _speak(self, rule: Alarm, state: GroupState) -> None:
        key = GroupKey(state.rule, state.scope)
        if state.level >= 0:
            self.speaking[key] = Firing(rule, parse_scope(state.scope))
        else:
            self.speaking.pop(key, None)


def watch_of(rules: Rules, statistics: CaseStatistics) -> Looks:
    """Return what makes sightings in earnest, of a test's own statistics."""
    return JointWatch(StatisticsWatch(statistics, lambda: rules.policies), GpuWatch(statistics.gpus))


def run_cases(rules: Rules, cases: Iterable[Case], make: MakeLooks = watch_of) -> list[CaseResult]:
    """Run tests and return how each ended; `make` makes sightings of a test's own statistics."""
    return [run_case(rules, case, make) for case in cases]


def run_case(rules: Rules, case: Case, make: MakeLooks = watch_of) -> CaseResult:
    """Run one test."""
    statistics = CaseStatistics()
    run = _Run(rules, make(rules, statistics))
    # Rules that speak for others are decided too, whoever's alerts are compared.
    compared = set(case.rules) or {rule.name for rule in rules.rules}
    speakers = {name for name, spoken in rules.inhibitions.items() if compared & set(spoken)}
    decided = [rule for rule in rules.rules if rule.name in compared | speakers]
    added = [0] * len(case.events)
    taken = [0] * len(case.samples)
    for number, second in enumerate(_seconds(case)):
        for place, event in enumerate(case.events):
            added[place] += _add(statistics, event, added[place], second)
        for place, samples in enumerate(case.samples):
            taken[place] += _take(statistics, samples, taken[place], second)
        run.turn(decided, second * _NS, everything=number == 0)
    seen = [verdict for verdict in run.verdicts if verdict.key.rule in compared]
    differences = _differences(case, rules, seen)
    return CaseResult(case.name, case.file, case.line, tuple(differences[:_DIFFERENCES_MAX]))


def _add(statistics: CaseStatistics, event: Event, added: int, second: int) -> int:
    """Count the calls of an event that come up to the end of a second, and return how many those were."""
    last_ns = second * _NS + _NS - 1
    if last_ns < event.at_ns:
        return 0
    due = event.count if not event.every_ns else min(event.count, (last_ns - event.at_ns) // event.every_ns + 1)
    if not event.every_ns or due - added <= 1:
        if due > added:
            statistics.add(event, event.at_ns + added * event.every_ns, due - added)
        return due - added
    for number in range(added, due):
        statistics.add(event, event.at_ns + number * event.every_ns)
    return due - added


def _take(statistics: CaseStatistics, samples: Samples, taken: int, second: int) -> int:
    """Take the readings that come up to the end of a second, and return how many those were."""
    past_ns = second * _NS + _NS - 1 - samples.at_ns
    due = 0 if past_ns < 0 else min(samples.count, past_ns // max(samples.every_ns, 1) + 1)
    for number in range(taken, due):
        statistics.take(samples, samples.at_ns + number * samples.every_ns)
    return due - taken


def _seconds(case: Case) -> Iterator[int]:
    """Return the seconds at which a test decides, in order."""
    first, last = case.start_ns // _NS, case.end_ns // _NS
    close: set[int] = set()
    comings: list[Event | Samples] = [*case.events, *case.samples]
    for event in comings:
        began = event.at_ns // _NS
        # Of calls that come slowly each one counts; of those that come fast the whole stretch does.
        ended = (event.at_ns + event.every_ns * (event.count - 1)) // _NS
        close.update(range(began, min(ended + _CLOSE_S, last) + 1))
    for want in case.wants:
        close.update(range(max(want.from_ns // _NS - _LEAD_S, first), min(want.to_ns // _NS, last) + 1))
    close.update(range(first, last + 1, _IDLE_S))
    close.add(last)
    yield from sorted(close)


def _differences(case: Case, rules: Rules, seen: Sequence[Verdict]) -> list[str]:
    """Return what was wanted and did not come, and what came and was not wanted."""
    zone = ZoneInfo(case.zone)
    left = list(seen)
    found = []
    # The most exact first, so that one who takes anything leaves them what only they take.
    for want in sorted(case.wants, key=lambda one: (one.target is None, not one.level, one.to_ns)):
        matching = [verdict for verdict in left if _matches(want, rules, verdict)]
        for verdict in matching[: want.count]:
            left.remove(verdict)
        if len(matching) < want.count:
            almost = [verdict for verdict in seen if verdict.key.rule == want.rule]
            found.append(_missing(want, len(matching), almost, (rules, zone)))
    unwanted = [verdict for verdict in left if verdict.told and verdict.reason not in _UNASKED]
    return found + [f"not wanted: {_told(verdict, rules, zone)}" for verdict in unwanted]


def _matches(want: Want, rules: Rules, verdict: Verdict) -> bool:
    if verdict.key.rule != want.rule or not want.from_ns <= verdict.at_ns <= want.to_ns:
        return False
    if want.reason is not None and verdict.reason is not want.reason:
        return False
    if want.level and want.level not in _level_names(rules, verdict):
        return False
    return want.target is None or _is_of(want.target, parse_scope(verdict.key.scope))


def _is_of(target: Target, scope: Scope) -> bool:
    if scope.kind in MACHINE_KINDS:
        return is_machine_meant(target, scope)
    return is_meant(target, scope)


def _level_names(rules: Rules, verdict: Verdict) -> tuple[str, ...]:
    """Return what a verdict's level may be called: that which holds, or that which is over."""
    rule = rules.rule(verdict.key.rule)
    place = verdict.level if verdict.level >= 0 else verdict.from_level
    if rule is None or not 0 <= place < len(rule.levels):
        return ()
    return rule.levels[place].label, rule.levels[place].severity.value


def _missing(want: Want, came: int, almost: Sequence[Verdict], words: tuple[Rules, ZoneInfo]) -> str:
    rules, zone = words
    when = _clock(want.from_ns, zone)
    if want.to_ns - want.from_ns >= _NS:
        when = f"between {when} and {_clock(want.to_ns, zone)}"
    parts = [want.reason.value if want.reason else "", want.level, when]
    number = f"{want.count} times " if want.count > 1 else ""
    text = f"line {want.line}: wanted {number}{want.rule}, {', '.join(part for part in parts if part)}"
    if came:
        return f"{text}; came {came} times."
    told = "; ".join(_told(verdict, rules, zone) for verdict in almost[:3])
    return f"{text}; came: {told}." if told else f"{text}; nothing came of it."


def _told(verdict: Verdict, rules: Rules, zone: ZoneInfo) -> str:
    scope = parse_scope(verdict.key.scope)
    names = " ".join((scope.kind.value, *scope.values))
    tenant = f" of tenant {scope.tenant}" if scope.tenant else ""
    level = next(iter(_level_names(rules, verdict)), "")
    quiet = "" if verdict.told else " (nobody is told)"
    return f"{_clock(verdict.at_ns, zone)} {verdict.key.rule}, {names}{tenant}, {verdict.reason}, {level}{quiet}"


def _clock(at_ns: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at_ns // _NS, zone).strftime("%H:%M:%S")
