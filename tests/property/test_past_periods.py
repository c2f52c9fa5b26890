"""A crossing in a period that ended while nobody decided is told when somebody is back: once, and marked as past."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from engine_world import BEGAN_NS, NS, Life, World, rules_of
from eventually import eventually
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.alerts import AlertRow
from llmtrail.store.spent import Spent
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.message import Action, facts
from llmtrail_alerts.model import Budget, Level, Period, Reason, Severity, Sighting, Target, Unit
from llmtrail_alerts.past import AFTER_S, GAP_S, PAST, Seen, decode_seen, encode_seen, missed, seen_now, without
from llmtrail_alerts.periods import period_of
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.watch import StatisticsWatch

HOUR_S = 3_600
HOURLY = Budget(
    name="hourly",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.CALLS,
    limit=100,
    period=Period.HOUR,
    levels=(Level("hard limit", 100, 100, Severity.CRITICAL, hard=True),),
    owner="team",
)
DAILY = replace(HOURLY, name="daily", period=Period.DAY, zone="Europe/Berlin")
USERS = ("u-1", "u-2")


def alone(*budgets: Budget) -> Life:
    """Return a life in which nothing dies by itself."""
    life = Life(0, [rules_of(budgets)])
    life.world.kill_share = 0.0
    return life


def call(life: Life, at_s: int, count: int, user: str = "u-1") -> None:
    """Count calls at some seconds after the beginning."""
    at_ns = BEGAN_NS + at_s * NS
    life.world.statistics.add(Event(at_ns=at_ns, user=user), at_ns, count)


def decide(life: Life, at_s: int) -> None:
    """Decide at some seconds after the beginning, and deliver what waits."""
    life.world.now_ns = BEGAN_NS + at_s * NS
    life.do("decide")
    while life.process and any(life.process.deliver(name) == 0.0 for name in ("pager", "slack")):
        pass


def rows(world: World) -> list[tuple[str, str, bool]]:
    """Return what was decided: the reason, the user, and whether it was past."""
    return [(row.reason, row.scope[0], "past" in row.detail) for row in world.stored.values()]


def test_a_crossing_in_an_hour_that_ended_while_nobody_decided_is_told_once_and_as_past() -> None:
    life = alone(HOURLY)
    decide(life, 10)
    life.process = None
    call(life, 3_000, 150)
    call(life, 3_590, 99, "u-2")
    decide(life, HOUR_S + 1_200)
    first = [(Reason.FIRST, "u-1", True), (Reason.RESOLVED, "u-1", False)]
    assert rows(life.world) == first

    for again_s in (1_201, 1_240, 1_300, 1_301, 1_400):
        life.process = None
        decide(life, HOUR_S + again_s)
        decide(life, HOUR_S + again_s)
    assert rows(life.world) == first
    assert (len(life.world.opened), len(life.world.pager)) == (1, 0)
    assert len(life.world.slack) == 2


def test_its_message_says_that_it_is_over() -> None:
    life = alone(HOURLY)
    decide(life, 10)
    life.process = None
    call(life, 3_000, 150)
    decide(life, HOUR_S + 1_200)
    told = next(entry.message for entry in life.world.written.values() if entry.message.action is Action.TRIGGER)
    assert told.title == "user u-1 was over its limit: 150 calls of 100 calls a hour, period ended"
    assert not told.hard
    assert {fact.name for fact in facts(told)}.isdisjoint({"Calls are refused until", "Begins anew"})


def test_what_is_counted_within_half_a_minute_of_the_return_is_told_too() -> None:
    life = alone(HOURLY)
    decide(life, 10)
    life.process = None
    call(life, 3_000, 50)
    decide(life, HOUR_S + 1_200)
    assert rows(life.world) == []
    call(life, 3_100, 60)  # the log brought it only now
    decide(life, HOUR_S + 1_200 + AFTER_S - 1)
    assert [row[0] for row in rows(life.world)] == [Reason.FIRST, Reason.RESOLVED]


def test_a_pause_of_the_same_process_is_no_different() -> None:
    life = alone(HOURLY)
    decide(life, 10)
    call(life, 3_000, 150)
    decide(life, HOUR_S + 1_200)
    assert rows(life.world)[0] == (Reason.FIRST, "u-1", True)


def test_what_was_told_before_the_death_is_only_ended() -> None:
    life = alone(HOURLY)
    call(life, 100, 150)
    decide(life, 110)
    life.process = None
    call(life, 3_000, 50)
    decide(life, HOUR_S + 1_200)
    assert [row[0] for row in rows(life.world)] == [Reason.FIRST, Reason.RESOLVED]
    assert len(life.world.opened) == 1


def test_a_new_installation_and_a_new_rule_tell_nothing_of_what_was_before() -> None:
    life = alone(HOURLY)
    call(life, 3_000, 150)
    decide(life, HOUR_S + 1_200)
    assert rows(life.world) == []

    other = replace(HOURLY, name="added")
    life = alone(HOURLY)
    decide(life, 10)
    life.process = None
    call(life, 3_000, 150)
    life.rules = rules_of((HOURLY, other))
    decide(life, HOUR_S + 1_200)
    assert {row.rule for row in life.world.stored.values()} == {"hourly"}


class Stored:
    """What the store tells of yesterday."""

    counted_elsewhere = False

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def spent(
        self, kind: ScopeKind, values: tuple[str, ...], between_ns: tuple[int, int], below: Mapping[str, int]
    ) -> Sequence[Spent]:
        assert (kind, values, between_ns[1] - between_ns[0]) == (ScopeKind.USER, ("*",), 24 * HOUR_S * NS)
        return [Spent(Scope("", kind, ("u-1",)), self.calls, 0, 0, 0, 0, 0)]

    def fences(self) -> Mapping[str, int]:
        return {}

    def corrected_ns(self, since_ns: int) -> int | None:
        return 0


def test_of_a_day_that_the_statistics_no_longer_have_the_store_is_asked() -> None:
    statistics, now_s = CaseStatistics(), BEGAN_NS // NS
    yesterday = period_of(DAILY, period_of(DAILY, now_s).start_s - 1)
    watch = StatisticsWatch(statistics, stored=Stored(120))
    watch.look_back([DAILY], {"daily": yesterday})
    assert watch.is_owing()
    seconds, seen = itertools.count(now_s), list[Sighting]()

    def look() -> bool:
        seen[:] = watch.look([DAILY], {}, next(seconds) * NS, everything=False)
        return not watch.is_owing() and any(one.value == 120 and one.period == yesterday.name for one in seen)

    eventually(look, 30)
    past = next(one for one in seen if one.period == yesterday.name)
    assert (past.period_end_ns, set(past.detail)) == (yesterday.end_s * NS, {"past"})
    # Never added to what the statistics have: the more of both counts.
    at_ns = (yesterday.end_s - 60) * NS
    statistics.add(Event(at_ns=at_ns, user="u-1"), at_ns, 121)
    assert next(iter(watch.look([DAILY], {}, next(seconds) * NS, everything=False))).value == 121
    watch.settled()
    watch.look_back([DAILY], {})
    assert not [one for one in watch.look([DAILY], {}, next(seconds) * NS, everything=False) if PAST in one.detail]


TIMES = st.integers(1_700_000_000, 1_800_000_000)


@given(TIMES, st.integers(0, 3 * 86_400), st.sampled_from([HOURLY, DAILY]))
def test_only_what_ended_unseen_is_looked_back_at(seen_s: int, gap_s: int, budget: Budget) -> None:
    seen = seen_now([budget], seen_s)
    assert decode_seen(encode_seen(seen)) == seen
    now_s = seen_s + gap_s
    found = missed(seen, [budget], now_s)
    last = period_of(budget, period_of(budget, now_s).start_s - 1)
    assert found == ({"" + budget.name: last} if gap_s >= GAP_S and seen_s < last.end_s + AFTER_S else {})
    assert missed(without(seen, []), [budget], now_s) == missed(None, [budget], now_s) == {}
    assert missed(Seen(now_s, seen.budgets), [budget], now_s) == {}


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.5, 5, 20, 40, 300, 2_000, 5_000]),  # seconds that pass
        st.sampled_from(["decide", "decide", "call", "die", "kill"]),
        st.sampled_from(USERS),
        st.sampled_from([1, 60, 150]),
    ),
    max_size=25,
)


@settings(max_examples=150)
@given(STEPS, st.integers(0, 2**32))
def test_each_crossing_is_told_once_whoever_was_away_when(steps: list[tuple[float, str, str, int]], seed: int) -> None:
    """As soon as somebody decides, all of the present hour and of the one before it is told."""
    life, now_s, known_s = Life(seed, [rules_of((HOURLY,))]), 0.0, -1.0
    for passed_s, what, user, count in (*steps, (5, "decide", "u-1", 1)):
        now_s += passed_s
        life.world.now_ns = BEGAN_NS + int(now_s * NS)
        life.world.kill_share = 0.3 if what == "kill" else 0.0
        if what == "call":
            life.world.statistics.add(Event(at_ns=life.world.now_ns, user=user), life.world.now_ns, count)
        elif what == "die":
            life.process = None
        else:
            life.do("decide")
        if life.process is not None and what in {"decide", "kill"}:
            known_s = now_s if known_s < 0 else known_s
            untold = crossed(life.world, int(now_s), int(known_s)) - {
                (one.scope[0], one.period) for one in firsts(life.world)
            }
            assert not untold, f"{untold} never told"
    of_each = [(row.scope[0], row.period) for row in firsts(life.world)]
    assert len(of_each) == len(set(of_each)), "told twice"
    for user in USERS:
        reasons = [row.reason for row in life.world.stored.values() if row.scope == (user,)]
        turns = [one for one in reasons if one in {Reason.FIRST, Reason.RESOLVED}]
        assert all(one != other for one, other in pairwise(turns))


def crossed(world: World, now_s: int, known_s: int) -> set[tuple[str, str]]:
    """Return who is over the limit in the present hour, or was in the one before it if it ended after `known_s`."""
    present = period_of(HOURLY, BEGAN_NS // NS + now_s)
    last = period_of(HOURLY, present.start_s - 1)
    looked = [one for one in (last, present) if one.end_s > BEGAN_NS // NS + known_s]
    calls = {
        (user, one.name): world.statistics.figures(
            Scope("", ScopeKind.USER, (user,)).text(), one.start_s, one.end_s
        ).calls
        for user in USERS
        for one in looked
    }
    return {group for group, count in calls.items() if count >= HOURLY.limit}


def firsts(world: World) -> list[AlertRow]:
    return [row for row in world.stored.values() if row.reason == Reason.FIRST]
