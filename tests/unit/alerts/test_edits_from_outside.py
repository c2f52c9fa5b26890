"""What went wrong elsewhere when rules or budgets were edited, and what is right here.

Each case is a public report about LiteLLM's budgets, Prometheus, Alertmanager, Cortex or Grafana.
"""

from dataclasses import replace

from edited_house import DAILY, FAILING, House, hard, soft
from engine_world import NS, rules_of
from llmtrail.core.limit import LimitLevel, decode_limit
from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.model import Level, Period, Reason, Severity, Target

DAY_S = 86_400
MONTHLY = replace(DAILY, period=Period.MONTH)


def test_a_window_that_is_put_on_a_budget_counts_what_was_spent_in_it_alone() -> None:
    """BerriAI/litellm#34270, #34492: the spend of before is held against a window that has just begun."""
    house = House(MONTHLY)
    house.call(150)
    house.decide(2 * DAY_S)
    house.edit(rules_of([DAILY]))
    assert house.limits() == []
    house.call(99)
    assert house.limits() == [(LimitLevel.SOFT, 100, "day")]
    house.call(1)
    assert house.limits() == [(LimitLevel.HARD, 100, "day")]


def test_a_limit_of_a_day_is_lifted_when_the_day_ends_though_nobody_calls() -> None:
    """BerriAI/litellm#5651, #7129: who was refused once is refused for ever."""
    house = House(DAILY)
    house.call(150)
    house.edit(rules_of([replace(DAILY, limit=120, levels=(hard(120),))]))
    assert house.limits() == [(LimitLevel.HARD, 120, "day")]
    house.decide(DAY_S)
    assert house.limits() == []


def test_a_new_window_forgets_nothing_that_was_spent_in_it() -> None:
    """BerriAI/litellm#22013: a new budget sets what was spent back to nothing."""
    house = House(MONTHLY)
    house.call(150)
    house.edit(rules_of([MONTHLY, replace(DAILY, name="new")]))
    assert sorted(house.limits()) == [(LimitLevel.HARD, 100, "day"), (LimitLevel.HARD, 100, "month")]


def test_a_raised_budget_lifts_the_limit_at_once() -> None:
    """BerriAI/litellm#25760, #35247: an increase does not count for whom the former limit was kept for."""
    house = House(DAILY)
    house.call(150)
    house.edit(rules_of([replace(DAILY, limit=1_000, levels=(soft(800), hard(1_000)))]))
    assert house.limits() == []
    house.decide(400)
    assert not house.world.pager


def test_rules_that_say_the_same_tell_nothing_again() -> None:
    """prometheus/alertmanager#627, #3410; cortexproject/cortex#493: each reload tells of all that fires."""
    house = House(DAILY, alarms=[FAILING])
    house.call(120, failure="timeout")
    told = len(house.told())
    for restarts in (False, True, False):
        house.edit(rules_of([DAILY], [FAILING]), restarts=restarts)
        house.decide(31)
    assert (len(house.told()), len(house.world.opened)) == (told, 2)


def test_other_levels_do_not_end_and_begin_what_fires_all_along() -> None:
    """prometheus/alertmanager#2417, #3407: alerts go off and on with each change."""
    house = House(alarms=[FAILING])
    house.call(9, failure="timeout")
    for at in (4, 6, 3):
        level = Level("critical", at, at, Severity.CRITICAL)
        house.edit(rules_of((), [replace(FAILING, levels=(level,), window_s=300)]))
        house.edit(rules_of((), [replace(FAILING, levels=(level,))]))
    # More than was told of is told, once: six after four, and no less.
    assert [reason for reason, _ in house.told()] == [Reason.FIRST, Reason.LEVEL_CHANGED]
    assert len(house.world.pager) == 1


def test_what_ends_as_rules_are_changed_is_closed_where_it_was_opened() -> None:
    """prometheus/alertmanager#2146: what ends during a reload stays open."""
    house = House(DAILY, alarms=[FAILING])
    house.call(120, failure="timeout")
    assert len(house.world.pager) == 2
    house.edit(rules_of([replace(DAILY, limit=500, levels=(hard(500),))]))
    house.decide(400)
    house.decide(400)
    assert not house.world.pager


def test_a_condition_that_waits_goes_on_waiting_while_rules_change() -> None:
    """prometheus/prometheus#820, #3376: a reload lets `for` begin anew; #15175: so does a restart."""
    waiting = replace(FAILING, for_s=300)
    for restarts in (False, True):
        house = House(alarms=[waiting])
        house.call(9, failure="timeout")
        house.decide(200)
        house.edit(rules_of((), [replace(waiting, min_calls=1)]), restarts=restarts)
        assert house.told() == []
        house.decide(100)
        assert house.told() == [(Reason.FIRST, "critical")]


def test_a_restart_does_not_set_a_firing_alarm_back_to_waiting() -> None:
    """prometheus/prometheus#19166."""
    waiting = replace(FAILING, for_s=300)
    house = House(alarms=[waiting])
    house.call(9, failure="timeout")
    house.decide(400)
    for _ in range(3):
        house.edit(rules_of((), [waiting]), restarts=True)
        house.decide(10)
    assert house.told() == [(Reason.FIRST, "critical")]
    assert len(house.world.pager) == 1


def test_a_rule_that_is_taken_out_is_out_and_one_that_is_changed_is_changed() -> None:
    """prometheus/prometheus#2182: removed and updated rules go on as they were."""
    house = House(DAILY, replace(DAILY, name="other", limit=50, levels=(hard(50),)))
    house.call(120)
    house.edit(rules_of([replace(DAILY, limit=200, levels=(hard(200),))]))
    assert house.limits() == []
    house.decide(DAY_S)
    assert not house.world.pager


def test_a_condition_that_no_longer_holds_is_resolved_and_one_that_holds_again_is_told_again() -> None:
    """grafana/grafana#56752: an edited rule is stuck, and tells neither its end nor its next firing."""
    house = House(alarms=[FAILING])
    house.call(9, failure="timeout")
    house.edit(rules_of((), [replace(FAILING, levels=(replace(FAILING.levels[0], at=50, clear=50),))]))
    house.decide(400)
    assert not house.world.pager
    house.edit(rules_of((), [FAILING]))
    house.decide(400)
    assert [reason for reason, _ in house.told()] == [Reason.FIRST, Reason.RESOLVED, Reason.FIRST]
    assert len(house.world.pager) == 1


def test_a_scope_that_a_rule_no_longer_names_is_resolved_and_not_forgotten() -> None:
    """grafana/grafana#49095, #103996: of a dimension that is gone nothing is heard any more."""
    house = House(DAILY)
    house.call(120, feature="search")
    house.call(120, feature="chat")
    house.edit(rules_of([replace(DAILY, target=Target(ScopeKind.FEATURE, ("chat",)))]), restarts=True)
    house.decide(400)
    house.decide(400)
    assert [decode_limit(one).scope for one in house.world.shown.values()] == ['["","feature","chat"]']
    assert len(house.world.pager) == 1


def test_a_day_of_another_zone_is_that_zones_day() -> None:
    """BerriAI/litellm#34896: days are reset at UTC's midnight whatever zone is set."""
    house = House(replace(DAILY, zone="UTC"))
    house.world.now_ns -= 3_600 * NS
    house.call(150)
    house.decide(7_200)
    house.edit(rules_of([DAILY]))
    assert house.limits() == [], "it was spent before Tokyo's midnight"
