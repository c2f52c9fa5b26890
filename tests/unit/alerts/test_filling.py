"""Budgets are filled from stored calls: at one position of the log, until it is known, and nobody waits for it."""

import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from eventually import eventually
from llmtrail.core.cell import Cell
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.spent import Spent
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.fill import Filled, Unknown, Want, filled, is_stored, want_of
from llmtrail_alerts.filling import AGAIN_S_MAX, BEGIN_S_MAX, LOOK_EVERY_S
from llmtrail_alerts.model import (
    Budget,
    GroupKey,
    GroupState,
    Level,
    Mark,
    Period,
    Severity,
    Sighting,
    Target,
    Unit,
)
from llmtrail_alerts.periods import period_of
from llmtrail_alerts.refit import basis_of
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.watch import StatisticsWatch

NS = 1_000_000_000
NOW_S = 1_795_000_000  # 2026-11-18, 10:26
USER = Scope("", ScopeKind.USER, ("u-1",))
DAILY = Budget(
    name="daily",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.NANOUSD,
    limit=1_000,
    period=Period.DAY,
    levels=(Level("hard limit", 1_000, 1_000, Severity.CRITICAL, hard=True),),
    owner="team",
)
TODAY = period_of(DAILY, NOW_S)
WANT = Want(ScopeKind.USER, ("*",), TODAY)


class Stored:
    """A store that may be slow, behind or away, and whose costs are corrected."""

    def __init__(self, calls: int = 2, cost_nanousd: int = 600) -> None:
        self.calls, self.cost_nanousd, self.corrected = calls, cost_nanousd, 0
        self.at_ns: int | None = 0
        self.asked: list[ScopeKind] = []
        self.answers = threading.Event()
        self.answers.set()
        self.away = ""
        self.raises = False
        self.ends: Mapping[str, int] = {}
        self.counted_elsewhere = False
        self.moving = 0

    def correct(self, cost_nanousd: int, at_s: int) -> None:
        self.cost_nanousd, self.corrected, self.at_ns = cost_nanousd, 2, at_s * NS

    def spent(
        self, kind: ScopeKind, values: tuple[str, ...], between_ns: tuple[int, int], below: Mapping[str, int]
    ) -> Sequence[Spent] | Unknown:
        self.asked.append(kind)
        assert self.answers.wait(30)
        if self.raises:
            raise RuntimeError("broken")
        if self.away:
            return Unknown(self.away)
        own = Spent(Scope("", kind, ("u-1",)), self.calls, 0, self.cost_nanousd, 0, 0, 0, self.corrected)
        return [own, Spent(Scope("", kind, ("u-2",)), 0, 0, 0, 0, 0, 0, moving=self.moving)]

    def fences(self) -> Mapping[str, int] | Unknown:
        return self.ends

    def corrected_ns(self, since_ns: int) -> int | None:
        return self.at_ns


def _watch(stored: Stored) -> StatisticsWatch:
    """Return a watch of statistics that counted two calls of 300 nano-dollars."""
    statistics = CaseStatistics()
    at_ns = (NOW_S - 1_000) * NS
    statistics.add(Event(at_ns=at_ns, user="u-1", cost_nanousd=300), at_ns, 2)
    watch = StatisticsWatch(statistics, stored=stored)
    watch.fill([DAILY], NOW_S * NS)
    return watch


def _look(
    watch: StatisticsWatch, at_s: int, rule: Budget = DAILY, states: Mapping[GroupKey, GroupState] | None = None
) -> list[Sighting]:
    return list(watch.look([rule], states or {}, at_s * NS, everything=False))


def _values(watch: StatisticsWatch, at_s: int) -> list[int | float | None]:
    return [sighting.value for sighting in _look(watch, at_s)]


def _later(watch: StatisticsWatch, at_s: int, wanted: list[int]) -> None:
    """Look until something is seen, and hold it to what is wanted."""
    found: list[int | float | None] = []

    def has_seen() -> bool:
        found.extend(_values(watch, at_s))
        return bool(found)

    eventually(has_seen, 30)
    assert found == wanted


def test_a_budget_of_one_tenant_is_not_filled_with_what_another_spent() -> None:
    theirs = replace(DAILY, name="theirs", target=replace(DAILY.target, tenant="acme"))
    rules, seen = [DAILY, theirs], list[Sighting]()
    watch = _watch(Stored(calls=9, cost_nanousd=9_000))
    watch.fill(rules, NOW_S * NS)

    def is_filled() -> bool:
        seen[:] = watch.look(rules, {}, NOW_S * NS, everything=True)
        return any(one.value == 9_000 for one in seen)

    eventually(is_filled)
    assert {one.key.rule for one in seen} == {"daily"}


def test_what_the_statistics_lack_is_added_once_it_is_known_and_rules_are_decided_meanwhile() -> None:
    stored = Stored(calls=5, cost_nanousd=1_500)
    stored.answers.clear()
    watch = _watch(stored)
    assert _values(watch, NOW_S) == [600], "what is known is decided"
    watch.settled()
    stored.answers.set()
    _later(watch, NOW_S, [1_500])
    watch.settled()
    assert _values(watch, NOW_S + 1) == []


@pytest.mark.parametrize("raises", [True, False])
def test_a_store_that_is_away_is_asked_again_until_it_answers(caplog: pytest.LogCaptureFixture, raises: bool) -> None:
    stored = Stored(calls=5, cost_nanousd=1_500)
    stored.raises, stored.away = raises, "it does not answer"
    watch = _watch(stored)
    assert _values(watch, NOW_S) == [600]
    watch.settled()
    for more in range(1, 4):
        eventually(lambda: "asked again" in caplog.text or "lack 2026-11-18 until it is known" in caplog.text, 30)
        _look(watch, NOW_S + AGAIN_S_MAX * more)
    assert len(stored.asked) > 1
    stored.raises, stored.away = False, ""
    later = count(NOW_S + 10 * AGAIN_S_MAX, AGAIN_S_MAX)
    eventually(lambda: _values(watch, next(later)) == [1_500], 30)


def test_a_limit_is_not_lifted_because_nobody_knows_what_is_lacking() -> None:
    stored = Stored(calls=5, cost_nanousd=1_500)
    stored.answers.clear()
    state = GroupState(
        rule="daily",
        scope=USER.text(),
        period=TODAY.name,
        level=0,
        value=1_400,
        basis=basis_of(DAILY),
        marks=(Mark(1_000, 1_000, hard=True, gravity=3),),
    )
    key = GroupKey("daily", USER.text())
    watch = _watch(stored)
    assert [one.value for one in _look(watch, NOW_S, states={key: state})] == [1_400]
    # In another period, or where other amounts are counted, nothing is known of it.
    for other in (replace(DAILY, period=Period.MONTH), replace(DAILY, zone="Asia/Tokyo")):
        watch = _watch(stored)
        watch.fill([other], NOW_S * NS)
        assert [one.value for one in _look(watch, NOW_S, other, {key: state})] == [600]
    stored.answers.set()


@pytest.mark.parametrize(("elsewhere", "waits"), [(True, True), (False, False)])
def test_what_the_statistics_have_not_begun_to_count_of_the_log_is_on_its_way_to_them(
    *, elsewhere: bool, waits: bool
) -> None:
    """Rows may be stored seconds before an aggregator has started: what it counts then would be counted twice."""
    stored = Stored(calls=5, cost_nanousd=1_500)
    stored.counted_elsewhere = elsewhere
    stored.ends = {"t/0": 5, "t/1": 0}
    watch = _watch(stored)
    if waits:
        watch.fill([DAILY], (NOW_S + BEGIN_S_MAX - 1) * NS)
        assert _values(watch, NOW_S + BEGIN_S_MAX - 1) == [600]
        assert not stored.asked
        # Statistics that say nothing for longer were lost.
        watch.settled()
    later = count(NOW_S + BEGIN_S_MAX, AGAIN_S_MAX)
    eventually(lambda: _values(watch, next(later)) == [1_500], 30)


def test_a_scope_that_nobody_knows_holds_up_no_other() -> None:
    stored = Stored(calls=2, cost_nanousd=600)
    stored.moving = 1
    watch = _watch(stored)
    spent = GroupState(
        rule="daily",
        scope=USER.text(),
        period=TODAY.name,
        level=0,
        value=5_000,
        basis=basis_of(DAILY),
        marks=(Mark(1_000, 1_000, hard=True, gravity=3),),
    )
    states, watch = {GroupKey("daily", USER.text()): spent}, _watch(stored)

    def value() -> int | float | None:
        seen = watch.look([DAILY], states, NOW_S * NS, everything=True)
        return next(one.value for one in seen if one.key.scope == USER.text())

    assert value() in {5_000, 600}
    eventually(lambda: value() == 600)


def test_an_edit_of_amount_name_or_owner_asks_for_nothing_again() -> None:
    stored = Stored(calls=5, cost_nanousd=1_500)
    watch = _watch(stored)
    _look(watch, NOW_S)
    eventually(lambda: _values(watch, NOW_S) == [1_500], 30)
    asked = len(stored.asked)
    other = replace(DAILY, name="other", limit=9, owner="desk")
    watch.fill([other], NOW_S * NS)
    assert [one.value for one in _look(watch, NOW_S, other)] == [1_500]
    assert len(stored.asked) == asked


def test_a_budget_counts_a_correction_within_minutes_and_again_until_it_is_written() -> None:
    stored = Stored()
    watch = _watch(stored)
    eventually(lambda: bool(stored.asked), 30)
    _later(watch, NOW_S, [600])
    watch.settled()
    stored.correct(1_700, NOW_S + 5)
    later = count(NOW_S + LOOK_EVERY_S)
    eventually(lambda: _values(watch, next(later)) == [1_700], 30)
    assert _values(watch, next(later)) == [1_700], "what could not be written is seen again"
    watch.settled()
    stored.correct(500, NOW_S + 400)
    later = count(next(later) + LOOK_EVERY_S)
    eventually(lambda: _values(watch, next(later)) == [500], 30)


def test_what_was_asked_for_other_scopes_is_not_taken_for_those_of_now() -> None:
    stored = Stored(calls=5, cost_nanousd=1_500)
    stored.answers.clear()
    watch = _watch(stored)
    _look(watch, NOW_S)
    eventually(lambda: bool(stored.asked), 30)
    other = replace(DAILY, target=Target(ScopeKind.USER, ("u-2",)))
    watch.fill([other], NOW_S * NS)
    stored.answers.set()
    for more in range(4):
        found = list(watch.look([other], {}, (NOW_S + more * AGAIN_S_MAX) * NS, everything=True))
        assert {one.key.scope for one in found} <= {USER.text()}
        assert all(one.value == 1_500 for one in found if one.key.scope != USER.text())


@dataclass
class Log:
    """Calls on the partitions of a log: statistics count a shard up to some offset, the store has all up to others."""

    rng: random.Random
    calls: list[tuple[str, int, str, int]] = field(default_factory=list)  # source, offset, user, cost

    def grow(self) -> None:
        for _ in range(self.rng.randint(1, 8)):
            source = f"t/{self.rng.randrange(3)}"
            offset = sum(1 for one in self.calls if one[0] == source)
            self.calls.append((source, offset, f"u-{self.rng.randrange(4)}", self.rng.randint(1, 50)))


@dataclass
class Shards:
    """Statistics of users: two shards, each as far as it is, which began to count at some offset."""

    log: Log
    counted: list[dict[str, int]]
    began: dict[str, int]

    def shard(self, text: str) -> int:
        return int(text[-3]) % 2

    def cell(self, user: str, fences: Mapping[str, int]) -> Cell:
        found = Cell()
        for source, offset, of, cost in self.log.calls:
            if of == user and self.began.get(source, 0) <= offset < fences.get(source, 0):
                found.add(Cell(calls=1, cost_nanousd=cost))
        return found

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        return self.cell(f"u-{scope_text[-3]}", self.counted[self.shard(scope_text)])

    def fence(self, scope_text: str) -> dict[str, int]:
        """Return the offset behind the last of a shard's own calls that is counted: all that a shard knows."""
        shard, found = self.shard(scope_text), dict[str, int]()
        for source, offset, user, _ in self.log.calls:
            if int(user[-1]) % 2 == shard and offset < self.counted[shard].get(source, 0):
                found[source] = offset + 1
        return found

    def fences(self) -> dict[str, int]:
        both = [self.fence('["","user","u-0"]'), self.fence('["","user","u-1"]')]
        return {source: max(one.get(source, 0) for one in both) for one in both for source in one}


def _stored(log: Log, below: Mapping[str, int]) -> list[Spent]:
    found = []
    for user in (f"u-{number}" for number in range(4)):
        own = [one for one in log.calls if one[2] == user and one[1] < below.get(one[0], 0)]
        last = {source: max(one[1] for one in own if one[0] == source) for source in {one[0] for one in own}}
        cost = sum(one[3] for one in own)
        found.append(Spent(Scope("", ScopeKind.USER, (user,)), len(own), 0, cost, 0, 0, 0, offsets=last))
    return found


def test_two_thousand_logs_are_counted_once_however_far_statistics_and_rows_are() -> None:
    """A fill is unknown, or what is counted with it is the log: then, and when the statistics have caught up."""
    known, unknown = 0, 0
    for seed in range(2_000):
        rng = random.Random(seed)
        log = Log(rng)
        for _ in range(rng.randint(1, 6)):
            log.grow()
        ends = {f"t/{number}": sum(1 for one in log.calls if one[0] == f"t/{number}") for number in range(3)}
        began = {source: rng.choice((0, end // 2, end)) for source, end in ends.items()}
        lag = rng.choice((0, 0, 3))
        shards = [
            {source: max(began[source], end - rng.randint(0, lag)) for source, end in ends.items()} for _ in range(2)
        ]
        statistics = Shards(log, shards, began)
        found = filled(WANT, _stored(log, statistics.fences()), statistics, {})
        # What is stored and counted goes on, and the statistics catch up.
        for _ in range(rng.randint(0, 3)):
            log.grow()
        ends = {f"t/{number}": sum(1 for one in log.calls if one[0] == f"t/{number}") for number in range(3)}
        later = Shards(log, [ends, ends], began)
        below = statistics.fences()
        for number in range(4):
            user, text = f"u-{number}", Scope("", ScopeKind.USER, (f"u-{number}",)).text()
            if text in found.unknown:
                unknown += 1
                continue
            known += 1
            total = later.figures(text, 0, 1)
            total.add(found.lack.get(text, Cell()))
            own = [one for one in log.calls if one[2] == user]
            # Calls before the beginning which lie behind all that was counted then are filled the next time.
            missed = [one for one in own if below.get(one[0], 0) <= one[1] < began.get(one[0], 0)]
            assert total.calls == len(own) - len(missed), f"seed {seed}: {user}"
            assert total.cost_nanousd == sum(one[3] for one in own) - sum(one[3] for one in missed), f"seed {seed}"
    assert min(known, unknown) > 100, (known, unknown)


def test_rows_that_are_behind_the_statistics_are_waited_for() -> None:
    assert is_stored({"t/0": 5}, {"t/0": 5, "t/1": 0})
    assert not is_stored({"t/0": 5}, {"t/0": 4})
    assert is_stored({"former/0": 5}, {"t/0": 0}), "nothing comes from a topic any more that is no more"


class Counts:
    """Statistics that know three calls."""

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        return Cell(calls=3, cost_nanousd=30)

    def fence(self, scope_text: str) -> dict[str, int]:
        return {"t/0": 9}

    def fences(self) -> dict[str, int]:
        return {"t/0": 9}


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"cost_nanousd": 50, "corrected": 1}, {USER.text(): 20}),
        ({"calls": 5, "cost_nanousd": 50}, {USER.text(): 20}),
        ({"corrected": 1}, {}),  # what it had is made up for
        ({"calls": 2, "cost_nanousd": 50, "corrected": 1}, {}),  # the statistics know more
        ({"cost_nanousd": 50}, {}),  # the same calls, at the cost at which they were counted
        ({"calls": 5, "moving": 1}, None),
        ({"calls": 5, "offsets": {"t/0": 9}}, None),
        ({"calls": 5, "cost_nanousd": 50, "offsets": {"former/0": 9}}, {USER.text(): 20}),
    ],
)
def test_the_store_is_right_where_it_has_more_calls_or_corrected_costs(
    changes: Mapping[str, Any], wanted: dict[str, int] | None
) -> None:
    spent = replace(Spent(USER, 3, 0, 30, 0, 0, 0), **changes)
    found = filled(WANT, [spent], Counts(), {USER.text(): Cell(cost_nanousd=7)})
    if wanted is None:
        assert found == Filled({USER.text(): Cell(cost_nanousd=7)}, frozenset({USER.text()}))
    else:
        assert {text: cell.cost_nanousd for text, cell in found.lack.items()} == wanted


def test_only_days_and_months_are_asked_for() -> None:
    wants = [want_of(replace(DAILY, period=period), NOW_S) for period in Period]
    assert [want is not None for want in wants] == [False, False, True, True, False]
