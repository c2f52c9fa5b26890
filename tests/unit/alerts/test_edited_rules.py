"""What an edit of a rule does to what is decided, told and stopped: each way in which it once went wrong."""

from collections.abc import Sequence
from dataclasses import replace

from edited_house import DAILY, FAILING, HOUR_S, TOKYO_NS, Calm, House, hard, soft
from engine_world import CHANNELS, NS, Process, World, rules_of, states_of
from llmtrail.core.limit import LimitLevel, decode_limit
from llmtrail.core.scope import ScopeKind
from llmtrail.log.journal import Record
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.model import Period, Reason, Target
from llmtrail_alerts.owners import ChannelSpec, Owner
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.rule_changes import renames, snapshot


def test_a_limit_that_was_raised_and_is_reached_again_is_told_again() -> None:
    house = House(DAILY)
    house.call(100)
    house.edit(rules_of([replace(DAILY, limit=120, levels=(soft(96), hard(120)))]))
    assert house.limits() == [(LimitLevel.SOFT, 120, "day")]
    house.call(21)
    assert house.limits() == [(LimitLevel.HARD, 120, "day")]
    assert house.told() == [(Reason.FIRST, "100"), (Reason.LEVEL_CHANGED, "120")]


def test_a_limit_that_is_raised_and_lowered_again_tells_nothing_new() -> None:
    house = House(DAILY)
    house.call(105)
    house.edit(rules_of([replace(DAILY, limit=120, levels=(soft(96), hard(120)))]))
    house.edit(rules_of([DAILY]), restarts=True)
    assert house.limits() == [(LimitLevel.HARD, 100, "day")]
    assert house.told() == [(Reason.FIRST, "100")]


def test_soft_levels_that_become_one_and_a_hard_one_stop_nobody_before_the_limit() -> None:
    house = House(replace(DAILY, levels=(soft(50), soft(80))))
    house.call(86)
    published: list[LimitLevel] = []
    put = house.world.put

    def noting(records: Sequence[Record], shown: Sequence[Record] = ()) -> None:
        published.extend(decode_limit(value).state for _, value in shown if value is not None)
        put(records, shown)

    house.world.put = noting  # type: ignore[method-assign]
    house.edit(rules_of([DAILY]))
    assert set(published) == {LimitLevel.SOFT}
    house.call(14)
    assert house.told() == [(Reason.FIRST, "80"), (Reason.LEVEL_CHANGED, "100")]


def test_a_lower_limit_that_stops_spend_is_told_though_a_soft_level_beyond_it_was() -> None:
    house = House(DAILY)
    house.call(85)
    house.edit(rules_of([replace(DAILY, limit=60, levels=(hard(60),))]))
    assert house.told() == [(Reason.FIRST, "80"), (Reason.LEVEL_CHANGED, "60")]
    assert house.limits() == [(LimitLevel.HARD, 60, "day")]


def test_a_day_that_moves_to_another_zone_is_decided_at_once() -> None:
    # Just after Tokyo's midnight it is the day before in Los Angeles: its name is the lesser one.
    house = House(DAILY)
    house.call(81)
    assert house.limits() == [(LimitLevel.SOFT, 100, "day")]
    house.edit(rules_of([replace(DAILY, zone="America/Los_Angeles")]))
    house.call(40)
    assert house.limits() == [(LimitLevel.HARD, 100, "day")]
    assert house.told() == [(Reason.FIRST, "80"), (Reason.LEVEL_CHANGED, "100")]


def test_a_group_that_is_stopped_in_one_period_is_free_in_another_that_has_seen_less() -> None:
    house = House(DAILY)
    house.call(150)
    house.decide(7_200)
    house.edit(rules_of([replace(DAILY, period=Period.HOUR)]))
    assert house.limits() == []
    house.decide(400)
    assert house.told() == [(Reason.FIRST, "100"), (Reason.RESOLVED, "")]
    assert not house.world.pager


def test_a_minute_that_becomes_an_hour_is_decided_before_the_hour_ends() -> None:
    house = House(replace(DAILY, period=Period.MINUTE))
    house.call(81)
    house.edit(rules_of([replace(DAILY, period=Period.HOUR)]))
    house.decide(90)
    house.call(30)
    assert house.limits() == [(LimitLevel.HARD, 100, "hour")]


def test_a_process_whose_clock_is_behind_the_former_one_decides_at_once() -> None:
    house = House(replace(DAILY, period=Period.MINUTE), at_ns=TOKYO_NS + 150 * NS)
    house.call(81)
    # When another process goes on, two minutes behind
    house.world.now_ns = TOKYO_NS + 35 * NS
    house.process = Process(house.world, house.rules)
    house.call(120)
    assert house.limits() == [(LimitLevel.HARD, 100, "minute")]
    # And the minute that was ahead comes
    house.world.now_ns = TOKYO_NS + 152 * NS
    house.call(120)
    incidents = [row.incident for row in house.world.stored.values() if row.reason == Reason.FIRST]
    assert len(incidents) == len(set(incidents)) == 3
    assert len(house.world.opened) == len(set(house.world.opened))


def test_a_budget_that_moves_to_another_feature_leaves_the_first_one_also_after_a_restart() -> None:
    for restarts in (False, True):
        house = House(replace(DAILY, target=Target(ScopeKind.FEATURE, ("search",))))
        house.call(120)
        house.edit(rules_of([replace(DAILY, target=Target(ScopeKind.FEATURE, ("chat",)))]), restarts=restarts)
        assert house.limits() == []
        house.decide(400)
        house.decide(400)
        assert not house.world.pager
        assert house.told() == [(Reason.FIRST, "100"), (Reason.RESOLVED, "")]


def test_a_rule_of_one_tenant_leaves_the_others() -> None:
    house = House(DAILY)
    house.call(120, tenant="acme")
    house.call(120, tenant="other")
    house.edit(rules_of([replace(DAILY, target=replace(DAILY.target, tenant="acme"))]))
    assert [decode_limit(one).scope for one in house.world.shown.values()] == ['["acme","feature","search"]']
    house.decide(400)
    assert len(house.world.pager) == 1


def test_an_alarm_that_moves_to_another_feature_repeats_nothing_of_the_first() -> None:
    house = House(alarms=[FAILING])
    house.call(9, failure="timeout")
    house.edit(rules_of((), [replace(FAILING, target=Target(ScopeKind.FEATURE, ("chat",)))]))
    house.decide(700)
    house.decide(700)
    assert house.told() == [(Reason.FIRST, "critical"), (Reason.RESOLVED, "")]
    assert not house.world.pager


def test_a_rule_of_another_name_goes_on_with_its_incident_and_its_limit() -> None:
    for restarts in (False, True):
        house = House(DAILY)
        house.call(120)
        house.edit(rules_of([replace(DAILY, name="a day's calls")]), restarts=restarts)
        house.decide(400)
        assert [decode_limit(one).rule for one in house.world.shown.values()] == ["a day's calls"]
        assert house.told() == [(Reason.FIRST, "100")]
        assert (len(house.world.opened), len(house.world.pager)) == (1, 1)
        house.decide(86_400)
        house.decide(400)
        assert not house.world.pager


def test_two_rules_that_are_alike_are_not_taken_for_renamed() -> None:
    twice = snapshot(rules_of([replace(DAILY, name="one"), replace(DAILY, name="two")]))
    assert renames(twice, snapshot(rules_of([replace(DAILY, name="three")]))) == {}
    assert renames(snapshot(rules_of([DAILY])), twice) == {}
    assert renames(snapshot(rules_of([DAILY])), snapshot(rules_of([replace(DAILY, name="n", limit=1)]))) == {}


def test_a_new_owner_hears_of_what_is_open_and_the_former_one_that_it_is_over() -> None:
    rules = rules_of([DAILY])
    specs = {name: ChannelSpec(name=name, kind=channel.kind) for name, channel in CHANNELS.items()}
    owners = {"team": Owner(name="team", channels=("slack",)), "night": Owner(name="night", channels=("pager",))}
    house = House(DAILY)
    house.rules = replace(rules, owners=owners, channels=specs)
    house.process = Process(house.world, house.rules)
    house.call(120)
    assert (len(house.world.slack), len(house.world.pager)) == (1, 0)
    house.edit(replace(house.rules, budgets=(replace(DAILY, owner="night"),)))
    assert (len(house.world.slack), len(house.world.pager)) == (1, 1)
    house.edit(house.rules)
    assert len(house.world.opened) == 1
    house.decide(86_400)
    house.decide(400)
    assert (len(house.world.slack), len(house.world.pager)) == (2, 0)


def test_an_alarm_that_another_process_decides_since_inhibits_was_edited_leaves_nothing_open() -> None:
    # Given two processes with a partition each, and an alarm in one of them
    outage = replace(
        FAILING, name="an outage", target=Target(ScopeKind.TENANT, ()), levels=(replace(FAILING.levels[0], at=50),)
    )
    apart, tied = rules_of((), [FAILING, outage]), rules_of((), [FAILING, replace(outage, inhibits=("failing",))])
    first = World(Calm(), kafka=True, now_ns=TOKYO_NS, kill_share=0.0)
    second = World(Calm(), kafka=True, now_ns=TOKYO_NS, kill_share=0.0)
    second.statistics, second.pager, second.opened = CaseStatistics(), first.pager, first.opened
    worlds = (first, second)
    homes = [Process(world, apart, home=str(number)) for number, world in enumerate(worlds)]
    for world in worlds:
        world.statistics.add(Event(at_ns=TOKYO_NS, feature="search", failure="timeout"), TOKYO_NS, 9)

    def decide(later_s: int) -> None:
        for world, home in zip(worlds, homes, strict=True):
            world.now_ns += later_s * NS
            home.engine.turn()
            while any(home.deliver(name) == 0.0 for name in CHANNELS):
                pass

    decide(1)
    assert len(first.pager) == 1
    # When they are tied, and untied again
    for rules in (tied, apart, tied):
        for home in homes:
            home.engine.take_rules(rules, ())
        decide(1)
        # Then one incident is open, that of the process which decides
        decide(400)
        decide(400)
        assert len(first.pager) == 1
    assert len(set(first.opened)) == len(first.opened) > 1
    decide(2 * HOUR_S)
    decide(2 * HOUR_S)
    decide(400)
    assert not first.pager
    assert not [state for world in worlds for state in states_of(world).values() if state.level >= 0]
