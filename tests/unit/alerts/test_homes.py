"""A rule has one home, the same in every process; those that speak for each other share it."""

from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.homes import home_of
from llmtrail_alerts.model import Alarm, Level, Measure, Severity, Target
from llmtrail_alerts.rules import Rules


def alarm(name: str, *inhibits: str) -> Alarm:
    return Alarm(
        name=name,
        target=Target(ScopeKind.FEATURE, ("*",)),
        measure=Measure.ERROR_RATE,
        window_s=300,
        levels=(Level("warning", 0.5, 0.4, Severity.WARNING),),
        inhibits=inhibits,
    )


NAMES = [f"rule-{number}" for number in range(60)]


def test_rules_are_spread_over_all_partitions_and_stay_where_they_are() -> None:
    rules = Rules(alarms=tuple(alarm(name) for name in NAMES))
    homes = [home_of(rules, name, 3) for name in NAMES]
    assert set(homes) == {0, 1, 2}
    assert homes == [home_of(rules, name, 3) for name in NAMES]
    fewer = Rules(alarms=tuple(alarm(name) for name in NAMES[:5]))
    assert homes[:5] == [home_of(fewer, name, 3) for name in NAMES[:5]]


def test_whoever_speaks_for_others_is_decided_where_they_are() -> None:
    chained = [alarm("outage", "failing", "slow"), alarm("failing", "retries"), alarm("slow"), alarm("retries")]
    rules = Rules(alarms=(*chained, *(alarm(name) for name in NAMES)))
    assert len({home_of(rules, one.name, 64) for one in chained}) == 1
    assert len({home_of(rules, name, 64) for name in NAMES}) > 1
