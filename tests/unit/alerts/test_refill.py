"""A decider that runs on learns what corrections of stored costs came to, and waits for no store."""

import threading
from collections.abc import Iterable
from dataclasses import replace

import pytest

from eventually import eventually
from llmtrail.core.cell import Cell
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.spent import Spent
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.model import Budget, Level, Period, Severity, Sighting, Target, Unit
from llmtrail_alerts.periods import period_of
from llmtrail_alerts.refill import LOOK_EVERY_S, Answer, Refill, refilled
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
    levels=(Level("hard limit", 100, 1_000, Severity.CRITICAL, hard=True),),
    owner="team",
)
TODAY = period_of(DAILY, NOW_S)


class Stored:
    """A store whose costs are corrected, and which may be slow or away."""

    def __init__(self) -> None:
        self.cost_nanousd = 600
        self.corrected = 0
        self.at_ns: int | None = 0
        self.asked: list[ScopeKind] = []
        self.answers = threading.Event()
        self.answers.set()
        self.fails = False

    def correct(self, cost_nanousd: int, at_s: int) -> None:
        self.cost_nanousd, self.corrected, self.at_ns = cost_nanousd, 2, at_s * NS

    def spent(self, kind: ScopeKind, values: tuple[str, ...], since_ns: int, until_ns: int) -> Iterable[Spent]:
        self.asked.append(kind)
        assert self.answers.wait(30)
        if self.fails:
            raise RuntimeError("away")
        return [Spent(Scope("", kind, ("u-1",)), 2, 0, self.cost_nanousd, 0, 0, 0, self.corrected)]

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


def _look(watch: StatisticsWatch, at_s: int) -> list[Sighting]:
    return list(watch.look([DAILY], {}, at_s * NS, everything=False))


def _values(watch: StatisticsWatch, at_s: int) -> list[int | float | None]:
    return [sighting.value for sighting in _look(watch, at_s)]


def test_a_budget_counts_a_correction_within_minutes_and_again_until_it_is_written() -> None:
    stored = Stored()
    watch = _watch(stored)
    assert _values(watch, NOW_S) == [600]
    watch.settled()
    stored.correct(1_700, NOW_S + 5)
    assert _values(watch, NOW_S + LOOK_EVERY_S - 1) == [], "it is not looked for yet"
    assert _later(watch, NOW_S + LOOK_EVERY_S) == [1_700]
    assert _values(watch, NOW_S + LOOK_EVERY_S) == [1_700], "what could not be written is seen again"
    watch.settled()
    assert _values(watch, NOW_S + LOOK_EVERY_S) == []
    stored.correct(500, NOW_S + 400)
    assert _later(watch, NOW_S + 2 * LOOK_EVERY_S) == [500], "cheaper than they were written"


def test_nobody_waits_for_a_slow_store() -> None:
    stored = Stored()
    watch = _watch(stored)
    assert _values(watch, NOW_S) == [600]
    watch.settled()
    stored.answers.clear()
    stored.correct(700, NOW_S)
    asked = len(stored.asked)
    for more in range(5):
        assert _values(watch, NOW_S + (1 + more) * LOOK_EVERY_S) == []
    eventually(lambda: len(stored.asked) > asked, 30)
    assert len(stored.asked) == asked + 1, "one question at a time"
    stored.answers.set()
    assert _later(watch, NOW_S + 5 * LOOK_EVERY_S) == [700]


def test_without_a_correction_and_without_a_store_nothing_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    stored = Stored()
    refill = Refill(stored)
    for at_ns in (0, None):
        stored.at_ns = at_ns
        refill.begin(NOW_S)
        refill.ask([DAILY], NOW_S + LOOK_EVERY_S)
        _ended(refill)
        assert (refill.take(), stored.asked) == ([], [])
    stored.at_ns, stored.fails = NOW_S * NS, True
    refill.ask([DAILY], NOW_S + 2 * LOOK_EVERY_S)
    _ended(refill)
    assert refill.take() == []
    assert "not counted by budgets yet" in caplog.text
    stored.fails = False
    refill.ask([DAILY], NOW_S + 3 * LOOK_EVERY_S)
    _ended(refill)
    assert [answer.rule for answer in refill.take()] == ["daily"], "it is looked for again"


def test_only_long_budgets_of_money_are_asked_for() -> None:
    stored = Stored()
    refill = Refill(stored)
    refill.begin(NOW_S)
    stored.correct(1, NOW_S + 1)
    others = [replace(DAILY, unit=Unit.TOKENS), replace(DAILY, period=Period.HOUR)]
    refill.ask([*others, replace(DAILY, name="monthly", period=Period.MONTH)], NOW_S + LOOK_EVERY_S)
    _ended(refill)
    assert [answer.rule for answer in refill.take()] == ["monthly"]


def test_what_was_asked_for_former_rules_is_not_taken_for_those_of_now() -> None:
    # Given a question under way while the rule of that name comes to be about something else
    stored = Stored()
    watch = _watch(stored)
    assert _values(watch, NOW_S) == [600]
    watch.settled()
    stored.correct(1_700, NOW_S + 5)
    stored.answers.clear()
    assert _values(watch, NOW_S + LOOK_EVERY_S) == []
    eventually(lambda: len(stored.asked) > 1, 30)
    asking = [thread for thread in threading.enumerate() if thread.name == "llmtrail-refill"]
    stored.answers.set()
    other = replace(DAILY, target=Target(ScopeKind.FEATURE, ("*",)))
    watch.fill([other], (NOW_S + LOOK_EVERY_S) * NS)
    for thread in asking:
        thread.join(30)
    # When it is answered, then none of it counts
    seen = list(watch.look([other], {}, (NOW_S + LOOK_EVERY_S) * NS, everything=True))
    assert [(sighting.key.scope, sighting.value) for sighting in seen] == [
        (Scope("", ScopeKind.FEATURE, ("u-1",)).text(), 1_700)
    ]


class Counted:
    """Statistics that know three calls."""

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        return Cell(calls=3, cost_nanousd=30)


@pytest.mark.parametrize(
    ("calls", "cost_nanousd", "corrected", "lack"),
    [
        (3, 50, 1, {USER.text(): 20}),
        (5, 50, 0, {USER.text(): 20}),
        (3, 30, 1, {}),  # what it had is made up for
        (2, 50, 1, {USER.text(): 7}),  # the store is behind: what was known stays
    ],
)
def test_what_is_known_now_replaces_what_was(
    calls: int, cost_nanousd: int, corrected: int, lack: dict[str, int]
) -> None:
    former = {("daily", TODAY.name): {USER.text(): Cell(cost_nanousd=7)}}
    answer = Answer("daily", TODAY, NOW_S, [Spent(USER, calls, 0, cost_nanousd, 0, 0, 0, corrected)])
    found = refilled(former, [answer, Answer("away", TODAY, NOW_S, [])], Counted())
    assert {key: {text: cell.cost_nanousd for text, cell in some.items()} for key, some in found.items()} == {
        ("daily", TODAY.name): lack
    }


def test_of_scopes_without_corrections_the_statistics_are_not_asked() -> None:
    class Unasked:
        def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
            raise AssertionError(scope_text)

    others = [Spent(Scope("", ScopeKind.USER, (f"u-{number}",)), 9, 0, 9, 0, 0, 0) for number in range(3)]
    assert refilled({}, [Answer("daily", TODAY, NOW_S, others)], Unasked()) == {("daily", TODAY.name): {}}


def _later(watch: StatisticsWatch, at_s: int) -> list[int | float | None]:
    """Return what is seen once anything is."""
    found: list[int | float | None] = []

    def has_seen() -> bool:
        found.extend(_values(watch, at_s))
        return bool(found)

    eventually(has_seen, 30)
    return found


def _ended(refill: Refill) -> None:
    eventually(lambda: not refill.is_asking, 30)
