"""Messages reach their channels, whatever those answer; a dead channel delays no other."""

from collections.abc import Callable

import pytest

from alert_house import channel, delivering, resolved, soft_limit
from eventually import eventually
from llmtrail.metrics import ALERTS_DELIVERIES, ALERTS_WAITING
from llmtrail.testing import recorders
from llmtrail.testing.recorders import Fault, Recorder
from llmtrail_alerts.channels.port import ChannelKind
from llmtrail_alerts.outbox import State

KINDS: dict[ChannelKind, Callable[[], Recorder]] = {
    ChannelKind.SLACK_WEBHOOK: recorders.slack_webhook,
    ChannelKind.SLACK_BOT: recorders.slack_bot,
    ChannelKind.PAGERDUTY: recorders.pagerduty,
    ChannelKind.ALERTMANAGER: recorders.alertmanager,
    ChannelKind.WEBHOOK: lambda: recorders.webhook("a-key"),
}


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> ChannelKind:
    found: ChannelKind = request.param
    return found


def test_each_kind_of_channel_takes_a_message_and_its_end(kind: ChannelKind) -> None:
    with KINDS[kind]() as target, delivering([channel(kind, target.url)]) as house:
        message = soft_limit()
        house.tell(message, kind)
        house.tell(resolved(message), kind)
        eventually(lambda: len(target.received) == 2)
        eventually(lambda: not house.journal.held)
        assert target.breaches == []
        assert house.delivery.waiting() == 0
        assert house.metrics.value(ALERTS_DELIVERIES, channel=kind, fate="sent") == 2


def _text(target: Recorder) -> list[str]:
    return [str(body) for body in target.bodies()]


@pytest.mark.parametrize("fault", [Fault.RATE_LIMIT, Fault.ERROR, Fault.CLOSE, Fault.DROP])
def test_a_failure_is_followed_by_another_try_and_marked_only_where_it_may_have_arrived(
    kind: ChannelKind, fault: Fault
) -> None:
    with KINDS[kind]() as target, delivering([channel(kind, target.url)]) as house:
        target.faults.append(fault)
        house.tell(soft_limit(), kind)
        eventually(lambda: house.metrics.value(ALERTS_DELIVERIES, channel=kind, fate="sent") == 1)
        marks = ["(possible repeat)" in text or "'possible_repeat': True" in text for text in _text(target)]
        knows = kind in {ChannelKind.PAGERDUTY, ChannelKind.ALERTMANAGER}
        assert marks[-1] is (fault is not Fault.RATE_LIMIT and not knows)
        assert not any(marks[:-1])
        assert target.breaches == []


def test_a_dead_channel_delays_no_other() -> None:
    with recorders.slack_webhook() as dead, recorders.pagerduty() as well:
        dead.always = Fault.HANG
        channels = [channel(ChannelKind.SLACK_WEBHOOK, dead.url), channel(ChannelKind.PAGERDUTY, well.url)]
        with delivering(channels) as house:
            for number in range(20):
                message = soft_limit(id=f"m-{number}", incident=f"i-{number}")
                house.tell(message, ChannelKind.SLACK_WEBHOOK)
                house.tell(message, ChannelKind.PAGERDUTY)
            eventually(lambda: len(well.received) == 20)
            assert house.metrics.value(ALERTS_WAITING, channel="slack_webhook") > 0
            assert len(dead.received) <= 2


def test_what_a_channel_refuses_for_good_is_told_by_its_fallback() -> None:
    with recorders.slack_webhook() as broken, recorders.webhook("a-key") as second:
        broken.always = Fault.REFUSE
        channels = [
            channel(ChannelKind.SLACK_WEBHOOK, broken.url, "first", fallback="second"),
            channel(ChannelKind.WEBHOOK, second.url, "second"),
        ]
        with delivering(channels) as house:
            house.tell(soft_limit(), "first")
            eventually(lambda: len(second.received) == 1)
            eventually(lambda: [entry.state for entry in house.ended] == [State.GIVEN_UP, State.SENT])
            assert broken.requests == 1


def test_a_redirect_is_not_followed() -> None:
    with recorders.webhook("a-key") as target, delivering([channel(ChannelKind.WEBHOOK, target.url)]) as house:
        target.always = Fault.REDIRECT
        house.tell(soft_limit(), ChannelKind.WEBHOOK)
        eventually(lambda: house.ended)
        assert target.requests == 1
        assert house.ended[0].state is State.GIVEN_UP
