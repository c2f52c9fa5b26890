"""A diary tells each group at its time, and asks nothing of those that wait."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.decide import due_ns
from llmtrail_alerts.diary import Diary
from llmtrail_alerts.model import Budget, GroupKey, GroupState, Level, Period, Severity, Target, Unit

BUDGET = Budget(
    name="spend",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.CALLS,
    limit=1,
    period=Period.HOUR,
    levels=(Level("hard limit", 1, 1, Severity.CRITICAL, hard=True),),
)
RULES = {"spend": BUDGET}
END_NS = 3_600 * 10**9


class Counted(Mapping[GroupKey, GroupState]):
    """States that count how often they are asked for."""

    def __init__(self, states: dict[GroupKey, GroupState]) -> None:
        self.states, self.asked = states, 0

    def __getitem__(self, key: GroupKey) -> GroupState:
        self.asked += 1
        return self.states[key]

    def __iter__(self) -> Iterator[GroupKey]:
        self.asked += len(self.states)
        return iter(self.states)

    def __len__(self) -> int:
        return len(self.states)


def firing(number: int) -> tuple[GroupKey, GroupState]:
    key = GroupKey("spend", Scope("", ScopeKind.USER, (f"u-{number}",)).text())
    return key, GroupState(rule="spend", scope=key.scope, period="p", level=0, reached_ns=(1,), period_end_ns=END_NS)


def told(diary: Diary, states: Mapping[GroupKey, GroupState], now_ns: int, *, active: bool = False) -> list[GroupKey]:
    return list(diary.due(RULES, states, now_ns, active=active))


def test_groups_that_wait_are_not_asked_for_again() -> None:
    states, diary = Counted(dict(map(firing, range(1_000)))), Diary()
    assert told(diary, states, 1) == []
    states.asked = 0
    for now_ns in range(2, 100):
        assert told(diary, states, now_ns) == []
    assert states.asked == 0
    assert set(told(diary, states, END_NS)) == set(states.states)


def test_a_group_is_told_again_until_it_was_decided() -> None:
    states, diary = dict([firing(1)]), Diary()
    (key,) = states
    assert told(diary, states, END_NS) == [key]
    assert told(diary, states, END_NS + 1) == [key], "nothing was written: it is still due"
    diary.open(key)
    states[key] = replace_level(states[key])
    assert due_ns(BUDGET, states[key]) is None
    assert told(diary, states, END_NS + 2) == []


def test_a_group_whose_state_changed_is_told_at_its_new_time() -> None:
    states, diary = dict([firing(1)]), Diary()
    (key,) = states
    assert told(diary, states, 1) == []
    diary.open(key)
    states[key] = firing_until(states[key], 2 * END_NS)
    assert told(diary, states, END_NS) == []
    assert told(diary, states, 2 * END_NS) == [key]


def test_a_group_that_is_kept_quiet_is_told_while_it_is() -> None:
    key, state = firing(1)
    state.suppressed = "suppressed_by_silence"
    states, diary = {key: state}, Diary()
    assert told(diary, states, 1, active=True) == [key]
    assert told(diary, states, 2) == []
    assert told(diary, states, 3, active=True) == [key]


def test_other_rules_make_all_be_looked_at_again() -> None:
    states, diary = dict([firing(1)]), Diary()
    (key,) = states
    assert told(diary, states, 1) == []
    other = replace(BUDGET, repeat_s=10)
    states[key].told_at_ns = 1
    diary.clear(states)
    assert list(diary.due({"spend": other}, states, 11 * 10**9, active=False)) == [key]


def replace_level(state: GroupState) -> GroupState:
    return GroupState(rule=state.rule, scope=state.scope, period=state.period)


def firing_until(state: GroupState, end_ns: int) -> GroupState:
    return GroupState(
        rule=state.rule, scope=state.scope, period="p", level=0, reached_ns=state.reached_ns, period_end_ns=end_ns
    )
