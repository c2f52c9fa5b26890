"""Laws of decisions: ten thousand seeded histories, each with quiet times, restarts, revisions and ends of periods."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.decide import decide, decide_all
from llmtrail_alerts.model import (
    Alarm,
    Budget,
    GroupKey,
    GroupState,
    Level,
    Measure,
    Period,
    Reason,
    Rule,
    Severity,
    Sighting,
    Target,
    Unit,
    Verdict,
)
from llmtrail_alerts.quiet import Quiet

SEEDS = 10_000
NS = 1_000_000_000
BEGAN_NS = 1_795_000_000 * NS
SCOPE = Scope("", ScopeKind.USER, ("u-1",)).text()
TARGET = Target(ScopeKind.USER, ("*",))
SUPPRESSED = {
    Reason.SUPPRESSED_BY_SILENCE,
    Reason.SUPPRESSED_BY_MAINTENANCE,
    Reason.SUPPRESSED_BY_INHIBITION,
}
QUIETS = [Quiet(), *(Quiet(reason, "why") for reason in sorted(SUPPRESSED))]


@dataclass(frozen=True)
class Step:
    """What is seen at one time, and what keeps quiet."""

    sighting: Sighting
    quiet: Quiet


def rule_of(rng: random.Random) -> Rule:
    levels = tuple(
        Level(f"{at}", at, at - rng.choice((0, 5, 10)), Severity.WARNING)
        for at in sorted(rng.sample(range(20, 100, 10), rng.randint(1, 3)))
    )
    if rng.random() < 0.5:
        repeat_s = rng.choice((0, 0, 60))
        return Budget(
            name="b", target=TARGET, unit=Unit.CALLS, limit=100, period=Period.HOUR, levels=levels, repeat_s=repeat_s
        )
    return Alarm(
        name="a",
        target=TARGET,
        measure=Measure.FAILURES,
        window_s=60,
        levels=levels,
        for_s=rng.choice((0, 0, 20)),
        repeat_s=rng.choice((0, 60, 3_600)),
        resolve_after_s=rng.choice((0, 0, 30)),
    )


def history_of(rng: random.Random, rule: Rule) -> list[Step]:
    """Return a walk of values over a few periods, with gaps, revisions, silence and nothing to say."""
    at_ns, value, quiet, steps = BEGAN_NS, rng.randint(0, 60), Quiet(), []
    key = GroupKey(rule.name, SCOPE)
    for _ in range(rng.randint(5, 30)):
        at_ns += rng.choice((1, 10, 10, 30, 100)) * NS
        value = min(max(value + rng.randint(-25, 30), 0), 120)
        if rng.random() < 0.2:
            quiet = rng.choice(QUIETS)
        number = (at_ns - BEGAN_NS) // (400 * NS) if isinstance(rule, Budget) else -1
        steps.append(
            Step(
                Sighting(
                    key=key,
                    at_ns=at_ns,
                    value=None if rng.random() < 0.1 else value,
                    period=f"p{number}" if number >= 0 else "",
                    period_end_ns=BEGAN_NS + (number + 1) * 400 * NS if number >= 0 else 0,
                ),
                quiet,
            )
        )
    return steps


def told(rule: Rule, steps: Sequence[Step], *, restarts: random.Random | None = None) -> list[Verdict]:
    """Return all verdicts of a history. A restart stores the state, loads it, and sees the last sighting again."""
    state: GroupState | None = None
    verdicts = []
    for step in steps:
        state, new = decide_all(rule, state, step.sighting, step.quiet, step.sighting.at_ns)
        verdicts += new
        if restarts is not None and restarts.random() < 0.3:
            state = msgspec.json.decode(msgspec.json.encode(state), type=GroupState)
            state, again = decide_all(rule, state, step.sighting, step.quiet, step.sighting.at_ns)
            assert again == []
    return verdicts


def histories() -> Iterator[tuple[int, Rule, list[Step], list[Verdict]]]:
    for seed in range(SEEDS):
        rng = random.Random(seed)
        rule = rule_of(rng)
        steps = history_of(rng, rule)
        yield seed, rule, steps, told(rule, steps)


def check_ids(verdicts: Sequence[Verdict]) -> None:
    """No two verdicts share an id, and no two firings an incident."""
    assert len({verdict.id for verdict in verdicts}) == len(verdicts)
    crossings = {(verdict.incident, verdict.sighting.period, verdict.crossing) for verdict in verdicts}
    assert len({incident for incident, _, _ in crossings}) == len(crossings)


def check_incidents(verdicts: Sequence[Verdict]) -> None:
    """Each incident is told of first once, then changes, then is resolved once at most; firings never overlap."""
    firings: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        firings.setdefault(verdict.incident, []).append(verdict)
    assert [verdict.incident for verdict in verdicts] == [
        verdict.incident for firing in firings.values() for verdict in firing
    ]
    for firing in firings.values():
        heard = [verdict.reason for verdict in firing if verdict.told]
        assert heard.count(Reason.FIRST) == (1 if heard else 0)
        assert not heard or heard[0] is Reason.FIRST
        ends = [number for number, verdict in enumerate(firing) if verdict.reason is Reason.RESOLVED]
        assert ends in ([], [len(firing) - 1])
        if ends:
            assert firing[-1].told == bool(heard)
        assert firing[0].reason in SUPPRESSED | {Reason.FIRST}
        for former, later in pairwise(firing):
            assert later.from_level == former.level


def check_quiet(verdicts: Sequence[Verdict], steps: Sequence[Step]) -> None:
    """While it is quiet nobody hears anything but an end; what was hidden and still holds is told next."""
    quiet_at = {step.sighting.at_ns: step.quiet for step in steps}
    for verdict in verdicts:
        quiet = quiet_at[verdict.at_ns]
        if verdict.told and verdict.reason is not Reason.RESOLVED:
            assert quiet.reason is None
        if verdict.reason in SUPPRESSED:
            assert (verdict.reason, verdict.suppressed_by) == quiet
    heard: dict[str, int] = {}
    firing = ""
    by_time: dict[int, list[Verdict]] = {}
    for verdict in verdicts:
        by_time.setdefault(verdict.at_ns, []).append(verdict)
    level = -1
    for step in steps:
        for verdict in by_time.get(step.sighting.at_ns, []):
            level, firing = verdict.level, verdict.incident
            if verdict.told:
                heard[firing] = max(heard.get(firing, -1), verdict.level)
        if level >= 0 and step.quiet.reason is None:
            assert heard.get(firing, -1) >= level


def test_ten_thousand_histories_keep_the_laws_of_ids_incidents_and_quiet() -> None:
    verdicts_seen = 0
    reasons = set()
    for seed, rule, steps, verdicts in histories():
        try:
            check_ids(verdicts)
            check_incidents(verdicts)
            check_quiet(verdicts, steps)
            assert told(rule, steps, restarts=random.Random(seed)) == verdicts
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {rule}") from error
        verdicts_seen += len(verdicts)
        reasons |= {verdict.reason for verdict in verdicts}
    # Otherwise the histories would prove nothing.
    assert verdicts_seen > 3 * SEEDS
    assert reasons == set(Reason)


def crossings_of(levels: Sequence[Level], values: Sequence[int]) -> list[int]:
    """Return at which values the first level is crossed: the simplest machine that has a gap, written otherwise."""
    first, found, above = levels[0], [], False
    for number, value in enumerate(values):
        if not above and value >= first.at:
            found.append(number)
            above = True
        elif above and value < first.at and value <= first.clear:
            above = False
    return found


@given(st.lists(st.integers(0, 120), max_size=60), st.integers(0, 30), st.integers(1, 3))
def test_each_crossing_is_told_of_exactly_once(values: list[int], gap: int, count: int) -> None:
    levels = tuple(Level(str(at), at, at - gap, Severity.ERROR) for at in (40, 60, 80)[:count])
    rule = Alarm(
        name="a", target=TARGET, measure=Measure.FAILURES, window_s=60, levels=levels, repeat_s=0, resolve_after_s=0
    )
    state, firsts = None, []
    for number, value in enumerate(values):
        sighting = Sighting(key=GroupKey("a", SCOPE), at_ns=BEGAN_NS + number * NS, value=value)
        state, verdicts = decide_all(rule, state, sighting, Quiet(), sighting.at_ns)
        firsts += [number for verdict in verdicts if verdict.reason is Reason.FIRST]
    assert firsts == crossings_of(levels, values)


@given(st.lists(st.integers(91, 130), min_size=1, max_size=60))
def test_a_value_that_trembles_within_the_gap_is_told_of_once(values: list[int]) -> None:
    levels = (Level("hard", 100, 90, Severity.ERROR),)
    rule = Alarm(name="a", target=TARGET, measure=Measure.FAILURES, window_s=60, levels=levels, repeat_s=0)
    steps = [
        Step(Sighting(key=GroupKey("a", SCOPE), at_ns=BEGAN_NS + number * NS, value=value), Quiet())
        for number, value in enumerate(values)
    ]
    assert len(told(rule, steps)) == (1 if max(values) >= 100 else 0)


@given(st.integers(0, SEEDS), st.randoms(use_true_random=False))
def test_the_order_in_which_groups_are_decided_does_not_matter(seed: int, order: random.Random) -> None:
    rng = random.Random(seed)
    rule = rule_of(rng)
    groups = [Scope("", ScopeKind.USER, (f"u-{number}",)).text() for number in range(4)]
    steps = [
        replace(step, sighting=replace(step.sighting, key=GroupKey(rule.name, group)))
        for group in groups
        for step in history_of(rng, rule)
    ]
    apart = sorted(verdict.id for group in groups for verdict in _of_group(rule, steps, group))
    shuffled = steps[:]
    order.shuffle(shuffled)
    # The groups are mixed at random; each keeps the order of its own times.
    queues = {group: iter([step for step in steps if step.sighting.key.scope == group]) for group in groups}
    states: dict[str, GroupState] = {}
    mixed: list[str] = []
    for step in shuffled:
        group = step.sighting.key.scope
        own = next(queues[group])
        states[group], verdicts = decide_all(rule, states.get(group), own.sighting, own.quiet, own.sighting.at_ns)
        mixed += [verdict.id for verdict in verdicts]
    assert sorted(mixed) == apart


def _of_group(rule: Rule, steps: Sequence[Step], group: str) -> list[Verdict]:
    return told(rule, [step for step in steps if step.sighting.key.scope == group])


@given(st.integers(0, SEEDS))
def test_deciding_again_from_the_same_state_is_the_same_verdict(seed: int) -> None:
    rng = random.Random(seed)
    rule = rule_of(rng)
    state: GroupState | None = None
    for step in history_of(rng, rule):
        before = msgspec.json.encode(state)
        first = decide(rule, state, step.sighting, step.quiet, step.sighting.at_ns)
        again = decide(rule, state, step.sighting, step.quiet, step.sighting.at_ns)
        assert first == again
        assert msgspec.json.encode(state) == before
        state, _ = decide_all(rule, state, step.sighting, step.quiet, step.sighting.at_ns)
