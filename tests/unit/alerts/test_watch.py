"""Watching looks at what changed, at what time alone may change, and at nothing else."""

from collections.abc import Iterable, Sequence

from llmtrail.core.cell import Cell
from llmtrail.core.scope import Scope, ScopeKind, kind_of
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.decide import decide_all
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
)
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.watch import StatisticsWatch

NS = 1_000_000_000
HOUR_S = 1_795_000_000 // 3_600 * 3_600
HARD = Level("hard limit", 100, 100, Severity.CRITICAL, hard=True)
BUDGET = Budget(
    name="spend",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.NANOUSD,
    limit=100,
    period=Period.HOUR,
    levels=(HARD,),
    unpriced_ceiling_nanousd=7,
)


def user(number: int) -> str:
    return Scope("", ScopeKind.USER, (f"u-{number}",)).text()


class Told:
    """Statistics that are told what to say, and count what they are asked."""

    def __init__(self) -> None:
        self.cells: dict[str, dict[int, Cell]] = {}
        self.news: set[str] = set()
        self.asked = 0

    def call(self, scope_text: str, at_s: int, cell: Cell) -> None:
        self.cells.setdefault(scope_text, {}).setdefault(at_s // 10 * 10, Cell(failures={})).add(cell)
        self.news.add(scope_text)

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        self.asked += 1
        total = Cell(failures={})
        for at_s, cell in self.cells.get(scope_text, {}).items():
            if start_s <= at_s < end_s:
                total.add(cell)
        return total

    def frozen(self) -> CaseStatistics:
        return CaseStatistics()

    def spent(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        return self.figures(scope_text, start_s, end_s)

    def scopes(self, kind: ScopeKind, start_s: int, end_s: int) -> Sequence[str]:
        return [
            text
            for text, slots in self.cells.items()
            if kind_of(text) is kind and any(start_s <= at_s < end_s for at_s in slots)
        ]

    def changed(self) -> Iterable[str]:
        news, self.news = self.news, set()
        return news


def look(watch: StatisticsWatch, rules: list[Rule], states: dict[GroupKey, GroupState], now_s: int) -> list[Sighting]:
    seen = list(watch.look(rules, states, now_s * NS, everything=False))
    watch.settled()
    return seen


def test_a_hundred_thousand_idle_users_cost_nothing() -> None:
    statistics = Told()
    watch = StatisticsWatch(statistics)
    for number in range(100_000):
        statistics.cells[user(number)] = {HOUR_S: Cell(calls=1, cost_nanousd=50)}
    statistics.call(user(7), HOUR_S + 100, Cell(calls=1, cost_nanousd=60))
    seen = look(watch, [BUDGET], {}, HOUR_S + 101)
    assert [(one.key.scope, one.value) for one in seen] == [(user(7), 110)]
    statistics.asked = 0
    assert look(watch, [BUDGET], {}, HOUR_S + 102) == []
    assert statistics.asked == 0


def test_news_that_was_not_settled_is_seen_again() -> None:
    statistics = Told()
    watch = StatisticsWatch(statistics)
    statistics.call(user(1), HOUR_S + 100, Cell(calls=1, cost_nanousd=60))
    first = list(watch.look([BUDGET], {}, (HOUR_S + 101) * NS, everything=False))
    again = list(watch.look([BUDGET], {}, (HOUR_S + 101) * NS, everything=False))
    assert first == again != []


def test_a_call_without_a_price_counts_as_its_ceiling() -> None:
    statistics = Told()
    statistics.call(user(1), HOUR_S + 100, Cell(calls=3, cost_nanousd=60, unpriced=2))
    (sighting,) = look(StatisticsWatch(statistics), [BUDGET], {}, HOUR_S + 101)
    assert sighting.value == 60 + 2 * 7


def test_a_call_counted_just_after_its_hour_ended_is_told_of_in_its_own_hour() -> None:
    statistics, key = Told(), GroupKey("spend", user(1))
    watch = StatisticsWatch(statistics)
    statistics.call(user(1), HOUR_S + 3_595, Cell(calls=1, cost_nanousd=150))
    state, reasons = None, []
    for sighting in look(watch, [BUDGET], {}, HOUR_S + 3_602):
        state, verdicts = decide_all(BUDGET, state, sighting, Quiet(), (HOUR_S + 3_602) * NS)
        reasons += [(verdict.reason, verdict.sighting.period_end_ns) for verdict in verdicts]
    end_ns = (HOUR_S + 3_600) * NS
    assert reasons == [(Reason.FIRST, end_ns), (Reason.RESOLVED, end_ns)]
    assert state is not None
    # Looked at again, it is not told again.
    statistics.news.add(user(1))
    for sighting in look(watch, [BUDGET], {key: state}, HOUR_S + 3_605):
        state, verdicts = decide_all(BUDGET, state, sighting, Quiet(), (HOUR_S + 3_605) * NS)
        assert verdicts == []


def test_an_alarm_that_fires_is_looked_at_while_its_window_slides_without_news() -> None:
    statistics = Told()
    watch = StatisticsWatch(statistics)
    alarm = Alarm(
        name="failing",
        target=Target(ScopeKind.USER, ("*",)),
        measure=Measure.ERROR_RATE,
        window_s=60,
        levels=(Level("error", 0.5, 0.4, Severity.ERROR),),
        unit=Unit.SHARE,
    )
    statistics.call(user(1), HOUR_S + 100, Cell(calls=2, errors=2))
    states: dict[GroupKey, GroupState] = {}
    told = []
    for now_s in range(HOUR_S + 101, HOUR_S + 4_000):
        for sighting in look(watch, [alarm], states, now_s):
            states[sighting.key], verdicts = decide_all(alarm, states.get(sighting.key), sighting, Quiet(), now_s * NS)
            told += [(verdict.reason, now_s - HOUR_S) for verdict in verdicts]
    assert [reason for reason, _ in told] == [Reason.FIRST, Reason.RESOLVED]
    assert told[0][1] == 101
    # The window is a minute, its far edge ten seconds fine, and it is looked at each ten seconds: it is empty then.
    # That nobody calls is no sign that all is well, so it fires on, and ends an hour later.
    assert 160 + 3_600 <= told[1][1] <= 180 + 3_600


FAILING = Alarm(
    name="failing",
    target=Target(ScopeKind.FEATURE, ("*",)),
    measure=Measure.ERROR_RATE,
    window_s=60,
    levels=(Level("critical", 0.9, 0.5, Severity.CRITICAL),),
)


def test_a_share_that_rises_because_good_calls_leave_the_window_is_seen() -> None:
    told, search = Told(), Scope("", ScopeKind.FEATURE, ("search",)).text()
    watch = StatisticsWatch(told)
    told.call(search, HOUR_S, Cell(calls=8, failures={}))
    told.call(search, HOUR_S + 30, Cell(calls=2, errors=2, failures={}))
    (before,) = look(watch, [FAILING], {}, HOUR_S + 31)
    assert before.value == 0.2

    seen = [one.value for second in range(32, 150) for one in look(watch, [FAILING], {}, HOUR_S + second)]
    assert 1.0 in seen  # only the failed ones are left
    assert seen[-1] is None  # and then none, which says nothing
    assert look(watch, [FAILING], {}, HOUR_S + 400) == []  # who is silent costs nothing


def test_what_was_kept_quiet_is_looked_at_again_without_any_call() -> None:
    told = Told()
    watch = StatisticsWatch(told)
    told.call(user(1), HOUR_S + 5, Cell(calls=1, cost_nanousd=200, failures={}))
    (seen,) = [one for one in look(watch, [BUDGET], {}, HOUR_S + 60) if one.value == 200]
    quiet = Quiet(Reason.SUPPRESSED_BY_SILENCE, "deploy")
    state, (verdict,) = decide_all(BUDGET, None, seen, quiet, (HOUR_S + 60) * NS)
    assert not verdict.told
    again = look(watch, [BUDGET], {seen.key: state}, HOUR_S + 120)
    assert [one.value for one in again] == [200]
