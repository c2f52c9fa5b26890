"""A test beside the rules passes when what it wants comes in its time, and nothing else; else it says what differs."""

from collections.abc import Iterable, Mapping, Sequence

import pytest

from llmtrail.core.calendar import day_end_s, day_start_s
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.model import Budget, GroupKey, GroupState, Rule, Sighting
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.rule_tests import CaseResult, run_cases
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.rules_file import parse_rules

NS = 1_000_000_000
OWNERS = """
fallback_owner = "o"
[owner.o]
channels = ["c"]
[channel.c]
kind = "slack_webhook"
url = "env:U"
"""
BUDGET = """
[[budget]]
name = "calls"
user = "*"
limit_calls = 10
per = "day"
soft = ["50 %"]
hard = "refuse"
"""


class CallsOfDays:
    """Sees what budgets of calls a day come to, and nothing else."""

    def __init__(self, _: Rules, statistics: CaseStatistics) -> None:
        self._statistics = statistics

    def look(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> Iterable[Sighting]:
        """Return a sighting of each scope that has calls today."""
        del states, everything
        for rule in rules:
            assert isinstance(rule, Budget)
            start_s, end_s = day_start_s(now_ns // NS, rule.zone), day_end_s(now_ns // NS, rule.zone)
            for scope in self._statistics.scopes(rule.target.kind, start_s, end_s):
                yield Sighting(
                    key=GroupKey(rule.name, scope),
                    at_ns=now_ns,
                    value=self._statistics.figures(scope, start_s, end_s).calls,
                    period=f"{start_s:011d}",
                    period_start_ns=start_s * NS,
                    period_end_ns=end_s * NS,
                )

    def settled(self) -> None:
        """Have nothing to note."""


def run(case: str, owners: str = OWNERS) -> CaseResult:
    """Return how one test ends beside a budget of ten calls a day for each user."""
    text = f'{BUDGET}\n[[test]]\nname = "t"\n{case}'
    loaded = parse_rules({"budgets.toml": text, "owners.toml": owners})
    (result,) = run_cases(loaded.rules, loaded.cases, CallsOfDays)
    return result


SIX = 'events = [{ at = "10:00:00", count = 6, every = "2s", user = "u-1" }]\n'


@pytest.mark.parametrize(
    "want",
    [
        '[{ at = "10:00:08", rule = "calls" }]',
        '[{ at = "10:00:08", rule = "calls", user = "u-1", level = "50 %", reason = "first" }]',
        '[{ between = ["10:00:00", "10:00:08"], rule = "calls", user = "*", level = "warning" }]',
    ],
)
def test_what_comes_as_wanted_passes(want: str) -> None:
    assert run(f"{SIX}want = {want}").differences == ()


@pytest.mark.parametrize(
    ("want", "told"),
    [
        ("[]", "not wanted: 10:00:08 calls, user u-1, first, 50 %"),
        ('[{ at = "10:00:07", rule = "calls" }]', "wanted calls, first, 10:00:07; came: 10:00:08 calls, user u-1"),
        ('[{ at = "10:00:09", rule = "calls" }]', "wanted calls, first, 10:00:09; came: 10:00:08 calls, user u-1"),
        ('[{ at = "10:00:08", rule = "calls", user = "u-2" }]', "wanted calls, first, 10:00:08"),
        ('[{ at = "10:00:08", rule = "calls", level = "hard limit" }]', "wanted calls, first, hard limit, 10:00:08"),
        ('[{ at = "10:00:08", rule = "calls", reason = "resolved" }]', "wanted calls, resolved, 10:00:08"),
        ('[{ at = "10:00:08", rule = "calls", count = 2 }]', "wanted 2 times calls, first, 10:00:08; came 1 times."),
    ],
)
def test_what_differs_is_told(want: str, told: str) -> None:
    result = run(f"{SIX}want = {want}")
    assert not result.passed
    assert told in "\n".join(result.differences)


def test_what_never_comes_is_told() -> None:
    result = run('events = [{ at = "10:00", user = "u" }]\nwant = [{ at = "10:00", rule = "calls" }]')
    assert "nothing came of it." in result.differences[0]


def test_a_want_that_takes_anything_leaves_the_exact_one_its_own() -> None:
    events = 'events = [{ at = "10:00", count = 5, user = "a" }, { at = "10:00", count = 5, user = "b" }]\n'
    wants = 'want = [{ at = "10:00", rule = "calls" }, { at = "10:00", rule = "calls", user = "a" }]'
    assert run(events + wants).passed


def test_both_levels_of_a_day_are_told_and_a_new_day_begins_anew_in_its_own_zone() -> None:
    events = """events = [
      { at = "23:00:00", count = 12, user = "u" },
      { at = "+1 00:30:00", count = 5, user = "u" },
    ]
    zone = "Asia/Kolkata"
    """
    wants = """want = [
      { at = "23:00:00", rule = "calls", level = "hard limit" },
      { between = ["+1 00:00:00", "+1 00:30:00"], rule = "calls", reason = "resolved" },
      { at = "+1 00:30:00", rule = "calls", level = "50 %" },
    ]
    """
    zoned = run(events + wants)
    assert not zoned.passed, "the budget's day is UTC's, which does not end at 00:00 in Kolkata"
    assert run((events + wants).replace('zone = "Asia/Kolkata"', "")).differences == ()


def test_what_a_silence_hides_may_be_wanted_by_its_reason() -> None:
    silence = """
    [[silence]]
    who = "ana"
    why = "load test"
    from = 2026-01-05T10:00:00Z
    until = 2026-01-05T11:00:00Z
    """
    hidden = '[{ at = "10:00:08", rule = "calls", reason = "suppressed_by_silence" }]'
    assert run(f"{SIX}want = {hidden}", OWNERS + silence).differences == ()
    assert run(f"{SIX}want = []", OWNERS + silence).differences == ()


def test_statistics_count_a_call_for_all_its_scopes_and_only_those() -> None:
    statistics = CaseStatistics()
    event = Event(at_ns=0, tenant='a","user"', feature="f", user="u", failure="timeout", attempts=3, cost_nanousd=None)
    statistics.add(event, 25 * NS, count=2)
    assert statistics.scopes(ScopeKind.USER, 20, 30) == [Scope('a","user"', ScopeKind.USER, ("u",)).text()]
    assert statistics.scopes(ScopeKind.USER, 30, 40) == []
    assert statistics.scopes(ScopeKind.MODEL, 0, 100) == []
    (scope,) = statistics.scopes(ScopeKind.FEATURE_USER, 20, 30)
    cell = statistics.figures(scope, 20, 30)
    assert (cell.calls, cell.errors, cell.unpriced, cell.attempts, cell.retries) == (2, 2, 2, 6, 4)
    assert cell.failures == {"timeout": 2}
    assert len(statistics.changed()) == 4
    assert statistics.changed() == []
