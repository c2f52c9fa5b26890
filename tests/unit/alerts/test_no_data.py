"""No traffic is no recovery: what too few calls say anything of holds, and ends as unknown after an hour."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.compose import message_of
from llmtrail_alerts.decide import NO_DATA, NO_DATA_AFTER_S, decide_all, due_ns
from llmtrail_alerts.measures import UNTOLD_BY_SILENCE
from llmtrail_alerts.message import Action
from llmtrail_alerts.model import Alarm, GroupKey, GroupState, Level, Measure, Reason, Severity, Sighting, Target, Unit
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.rules_file import parse_rules
from llmtrail_alerts.watch import StatisticsWatch

NS = 1_000_000_000
BEGAN_S = 1_795_000_000
KEY = GroupKey("failing", Scope("", ScopeKind.FEATURE, ("search",)).text())
FAILING = Alarm(
    name="failing",
    target=Target(ScopeKind.FEATURE, ("*",)),
    measure=Measure.ERROR_RATE,
    window_s=300,
    levels=(Level("warning", 0.1, 0.08, Severity.WARNING), Level("error", 0.5, 0.4, Severity.ERROR)),
    unit=Unit.SHARE,
    min_calls=20,
)
OWNERS = """
fallback_owner = "p"
[owner.p]
channels = ["c"]
[channel.c]
kind = "webhook"
url = "http://127.0.0.1:9/"
secret = "env:X"
"""
RULES = """
[[alarm]]
name = "failing"
measure = "error_rate"
window = "5m"
feature = "*"
error = "50 %"
"""
Told = list[tuple[Reason, float | None]]


def lived(
    alarm: Alarm, values: list[tuple[int, float | None]], state: GroupState | None = None
) -> tuple[GroupState, Told]:
    """Return the state after values were seen at their seconds, and what was decided."""
    told: Told = []
    for at_s, value in values:
        now_ns = (BEGAN_S + at_s) * NS
        state, verdicts = decide_all(alarm, state, Sighting(key=KEY, at_ns=now_ns, value=value), Quiet(), now_ns)
        told += [(verdict.reason, verdict.sighting.value) for verdict in verdicts]
    assert state is not None
    return state, told


def test_a_firing_outlives_its_traffic_and_ends_unknown_after_an_hour() -> None:
    state, told = lived(FAILING, [(0, 0.6), *((at_s, None) for at_s in range(10, 3_600, 10))])
    assert (state.level, told) == (1, [(Reason.FIRST, 0.6)])
    assert due_ns(FAILING, state) == (BEGAN_S + 10 + NO_DATA_AFTER_S) * NS
    state, told = lived(FAILING, [(10 + NO_DATA_AFTER_S, None)], state)
    assert (state.level, state.unheard_ns, told) == (-1, 0, [(Reason.RESOLVED, None)])


def test_a_call_now_and_then_is_too_few_to_say_more_and_enough_calls_are_news() -> None:
    quiet: list[tuple[int, float | None]] = [(at_s, None) for at_s in range(10, 3_000, 10)]
    state, told = lived(FAILING, [(0, 0.6), *quiet, (3_000, 0.6), *((3_000 + at_s, None) for at_s, _ in quiet)])
    assert (state.level, told) == (1, [(Reason.FIRST, 0.6)])
    state, told = lived(FAILING, [(6_100, 0.01)], state)
    assert (state.level, told) == (-1, [(Reason.RESOLVED, 0.01)])


def test_what_is_unknown_does_not_hold_for_long_enough() -> None:
    state, told = lived(replace(FAILING, for_s=60), [(0, 0.6), (10, None), (70, None), (80, 0.6), (130, 0.6)])
    assert (state.level, told) == (-1, [])
    assert lived(replace(FAILING, for_s=60), [(140, 0.6)], state)[1] == [(Reason.FIRST, 0.6)]


def test_what_is_unknown_is_not_well_for_long_enough() -> None:
    slow = replace(FAILING, resolve_after_s=60)
    state, told = lived(slow, [(0, 0.6), (10, 0.01), (20, None), (80, None), (90, 0.01), (140, 0.01)])
    assert (state.level, told) == (1, [(Reason.FIRST, 0.6)])
    assert lived(slow, [(150, 0.01)], state)[1] == [(Reason.RESOLVED, 0.01)]


def test_its_message_says_that_nothing_is_known_and_shows_no_zero() -> None:
    rules = parse_rules({"owners.toml": OWNERS, "rules.toml": RULES}).rules
    alarm = rules.rule("failing")
    assert isinstance(alarm, Alarm)
    state, _ = lived(alarm, [(0, 0.6), (10, None)])
    at_ns = (BEGAN_S + 10 + NO_DATA_AFTER_S) * NS
    _, (verdict,) = decide_all(alarm, state, Sighting(key=KEY, at_ns=at_ns, value=None), Quiet(), at_ns)
    message = message_of(verdict, rules)
    assert (message.action, message.value) == (Action.RESOLVE, None)
    assert message.title == f"feature search: error rate: {NO_DATA}"
    assert " 0 " not in message.title


@given(st.lists(st.tuples(st.integers(1, 900), st.one_of(st.none(), st.floats(0, 1))), min_size=1, max_size=40))
def test_no_firing_ends_by_silence_before_its_hour(steps: list[tuple[int, float | None]]) -> None:
    state, at_s, silent_since = lived(FAILING, [(0, 0.6)])[0], 0, None
    for later_s, value in steps:
        at_s += later_s
        former = state.level
        state, told = lived(FAILING, [(at_s, value)], state)
        if value is not None:
            silent_since = None
            continue
        silent_since = at_s if silent_since is None else silent_since
        assert Reason.FIRST not in {reason for reason, _ in told}
        if former >= 0:
            assert (state.level < 0) == (at_s - silent_since >= NO_DATA_AFTER_S)
        assert all(shown is None for _, shown in told)


class _Silent(CaseStatistics):
    """Statistics of scopes that nobody calls."""

    def changed(self) -> list[str]:
        return [KEY.scope]


@pytest.mark.parametrize("measure", sorted(UNTOLD_BY_SILENCE))
def test_without_a_call_a_measure_of_what_goes_wrong_is_unknown(measure: Measure) -> None:
    alarm = replace(FAILING, measure=measure)
    (seen,) = StatisticsWatch(_Silent()).look([alarm], {}, BEGAN_S * NS, everything=False)
    assert (seen.value, seen.calls) == (None, 0)


@pytest.mark.parametrize("measure", [Measure.COST])
def test_without_a_call_nothing_is_spent(measure: Measure) -> None:
    alarm = replace(FAILING, measure=measure, unit=Unit.NANOUSD)
    (seen,) = StatisticsWatch(_Silent()).look([alarm], {}, BEGAN_S * NS, everything=False)
    assert seen.value == 0
