"""What is advised fits what is measured: a budget stops spend, and nothing else."""

import pytest

from alert_house import NOW_NS
from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.compose import message_of
from llmtrail_alerts.decide import decide_all
from llmtrail_alerts.message import MEANING_CHARS_MAX, Action, Message, act_command, act_words
from llmtrail_alerts.model import Alarm, GroupKey, Level, Measure, Severity, Sighting, Target, Unit
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.try_out import trial

KEY = GroupKey("watched", '["acme","feature","search"]')
SPENDS = {
    Measure.COST,
    Measure.COST_TIMES_BASELINE,
    Measure.ATTEMPTS_PER_REQUEST,
    Measure.ATTEMPTS_PER_PROMPT,
    Measure.ATTEMPTS_TIMES_BASELINE,
}


def told(measure: Measure) -> Message:
    alarm = Alarm(
        name="watched",
        target=Target(ScopeKind.FEATURE, ("*",)),
        measure=measure,
        levels=(Level("critical", 1, 1, Severity.CRITICAL),),
        unit=Unit.COUNT,
        window_s=300,
    )
    _, (verdict,) = decide_all(alarm, None, Sighting(key=KEY, at_ns=NOW_NS, value=5), Quiet(), NOW_NS)
    return message_of(verdict, Rules(alarms=(alarm,)))


@pytest.mark.parametrize("measure", [measure for measure in Measure if measure is not Measure.GPU])
def test_each_measure_is_told_with_advice_of_its_own(measure: Measure) -> None:
    message = told(measure)
    words = act_words(message)
    assert message.advice
    assert len(message.advice) <= MEANING_CHARS_MAX
    assert words.endswith("To be told of it otherwise, change watched:")
    assert ("spend" in words) is (measure in SPENDS)
    assert act_command(message) == '"$EDITOR" rules.toml && llmtrail check'


def test_a_test_asks_for_nothing() -> None:
    assert act_words(trial("slack", "", Action.TRIGGER, NOW_NS)).startswith("This is a test, and nothing is to be done")
