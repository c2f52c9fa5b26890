"""A courier goes on whatever happens: rules change, the journal fails or moves, the channel is slow."""

import logging
from itertools import pairwise

import pytest

from alert_house import MemoryJournal, channel, delivering, resolved, soft_limit
from eventually import eventually
from llmtrail.clock import SystemClock
from llmtrail.log.journal import JournalLostError
from llmtrail.metrics import ALERTS_DELIVERIES, ALERTS_OLDEST_WAITING_SECONDS, ALERTS_WAITING
from llmtrail.testing import recorders
from llmtrail.testing.recorders import Fault
from llmtrail_alerts.channels.port import Channel, ChannelKind, Sender
from llmtrail_alerts.outbox import Entry, State, begin, enqueue, record

HOOK = ChannelKind.WEBHOOK


def test_slack_gets_one_message_a_second_and_what_waits_comes_as_one() -> None:
    with (
        recorders.slack_webhook() as slack,
        delivering([channel(ChannelKind.SLACK_WEBHOOK, slack.url, "talk")]) as house,
    ):
        for number in range(30):
            house.tell(soft_limit(id=f"m-{number}", incident=f"i-{number}"), "talk")
        eventually(lambda: house.metrics.value(ALERTS_DELIVERIES, channel="talk", fate="sent") == 30)
        times = [one.at_ns for one in slack.received]
        assert len(times) <= 4
        assert all(later - sooner >= 1_000_000_000 for sooner, later in pairwise(times))
        assert slack.breaches == []


def test_a_journal_that_fails_delays_messages_and_loses_none(caplog: pytest.LogCaptureFixture) -> None:
    journal = MemoryJournal()
    with recorders.webhook("a-key") as target, delivering([channel(HOOK, target.url, "hook")], journal) as house:
        entry = enqueue(soft_limit(), house.channels["hook"], SystemClock().now_ns())
        with caplog.at_level(logging.CRITICAL, "llmtrail_alerts.courier"):
            journal.broken = OSError("disk full")
            house.delivery.offer([entry])
            eventually(lambda: journal.refused > 0)
            assert target.received == []
            journal.broken = None
            eventually(lambda: len(target.received) == 1)
        eventually(lambda: not journal.held)
        assert target.bodies()[0]["possible_repeat"] is False


def test_messages_that_another_process_owns_now_are_not_sent_here() -> None:
    journal = MemoryJournal()
    with recorders.webhook("a-key") as target, delivering([channel(HOOK, target.url, "hook")], journal) as house:
        journal.broken = JournalLostError("another's")
        house.delivery.offer([enqueue(soft_limit(), house.channels["hook"], SystemClock().now_ns())])
        eventually(lambda: house.delivery.waiting() == 0)
        journal.broken = None
        house.tell(soft_limit(id="mine"), "hook")
        eventually(lambda: [body["id"] for body in target.bodies()] == ["mine"])


def test_what_is_forgotten_stays_in_the_journal_and_is_not_sent() -> None:
    with recorders.webhook("a-key") as target, delivering([channel(HOOK, target.url, "hook")]) as house:
        target.always = Fault.RATE_LIMIT
        entry = house.tell(soft_limit(), "hook")
        eventually(lambda: target.requests == 1)
        house.delivery.forget(lambda one: one.key == entry.key)
        eventually(lambda: house.delivery.waiting() == 0)
        assert list(house.journal.held) == [entry.key]


def test_a_changed_channel_goes_on_with_what_waits() -> None:
    with recorders.webhook("a-key") as dead, recorders.webhook("a-key") as well:
        dead.always = Fault.DROP
        with delivering([channel(HOOK, dead.url, "hook")]) as house:
            house.tell(soft_limit(), "hook")
            eventually(lambda: dead.requests >= 1)
            house.delivery.configure({"hook": channel(HOOK, well.url, "hook")})
            eventually(lambda: len(well.received) == 1)
            eventually(lambda: not house.journal.held)


def test_a_channel_that_goes_hands_what_waits_to_its_fallback() -> None:
    with recorders.webhook("a-key") as dead, recorders.webhook("a-key") as well:
        dead.always = Fault.RATE_LIMIT
        second = channel(HOOK, well.url, "second")
        with delivering([channel(HOOK, dead.url, "first", fallback="second"), second]) as house:
            house.tell(soft_limit(), "first")
            eventually(lambda: dead.requests >= 1)
            house.delivery.configure({"second": second})
            eventually(lambda: len(well.received) == 1)
            eventually(lambda: not house.journal.held)


@pytest.mark.parametrize("together", [True, False], ids=["waits already", "comes later"])
def test_the_fallback_that_opened_an_incident_is_told_of_its_end(together: bool) -> None:
    with recorders.webhook("a-key") as first, recorders.pagerduty() as second:
        first.faults.append(Fault.REFUSE)
        channels = [
            channel(HOOK, first.url, "first", fallback="second"),
            channel(ChannelKind.PAGERDUTY, second.url, "second"),
        ]
        message = soft_limit()
        with delivering(channels) as house:
            if together:
                now_ns = SystemClock().now_ns()
                both = [enqueue(one, channels[0], now_ns) for one in (resolved(message), message)]
                house.journal.put([record(entry) for entry in both])
                house.delivery.offer(both)
            else:
                house.tell(message, "first")
                eventually(lambda: len(second.received) == 1)
                eventually(lambda: len(house.journal.held) == 1)  # that the second is to hear of the end
                assert house.delivery.waiting() == 0
        # Across a restart, too.
        with delivering(channels, house.journal) as house:
            house.delivery.offer(house.delivery.recovered(house.journal.held.items()))
            if not together:
                house.tell(resolved(message), "first")
            eventually(lambda: [event["event_action"] for event in second.bodies()] == ["trigger", "resolve"])
            eventually(lambda: [body["action"] for body in first.bodies()] == ["resolve"])
            eventually(lambda: not house.journal.held)


def test_what_waited_for_a_channel_of_earlier_rules_is_given_up_and_said(caplog: pytest.LogCaptureFixture) -> None:
    journal = MemoryJournal()
    left = enqueue(soft_limit(), Channel(name="gone", kind=HOOK), SystemClock().now_ns())
    journal.put([record(left)])
    with delivering([], journal) as house, caplog.at_level(logging.ERROR):
        recovered = house.delivery.recovered(journal.held.items())
        assert len(recovered) == 1
        house.delivery.offer(recovered)
        eventually(lambda: not journal.held)
        eventually(lambda: house.ended)
    assert [entry.state for entry in house.ended] == [State.GIVEN_UP]
    assert "owners.toml names no channel 'gone' any more" in caplog.text
    assert "nobody was told" in caplog.text


def test_a_restart_takes_up_what_waits_and_marks_what_was_being_sent() -> None:
    journal = MemoryJournal()
    with recorders.webhook("a-key") as target:
        hook = channel(HOOK, target.url, "hook")
        now_ns = SystemClock().now_ns()
        waiting: Entry = enqueue(soft_limit(id="waiting", incident="i-1"), hook, now_ns)
        cut = begin(enqueue(soft_limit(id="cut", incident="i-2"), hook, now_ns))
        journal.put([record(waiting), record(cut), ('["state",1]', b"{}")])
        with delivering([hook], journal) as house:
            recovered = house.delivery.recovered(journal.held.items())
            assert len(recovered) == 2
            house.delivery.offer(recovered)
            eventually(lambda: len(target.received) == 2)
            assert {body["id"]: body["possible_repeat"] for body in target.bodies()} == {"waiting": False, "cut": True}
            eventually(lambda: list(journal.held) == ['["state",1]'])


def test_a_channel_that_cannot_be_made_refuses_at_once() -> None:
    def broken(one: Channel) -> Sender:
        raise ImportError("pip install 'llmtrail[apprise]'")

    with delivering([Channel(name="mail", kind=ChannelKind.APPRISE)], make=broken) as house:
        house.tell(soft_limit(), "mail")
        eventually(lambda: house.ended)
        assert house.ended[0].detail == "the channel cannot be used: pip install 'llmtrail[apprise]'"
        assert house.metrics.value(ALERTS_DELIVERIES, channel="mail", fate="given_up") == 1


def test_metrics_tell_how_many_wait_and_for_how_long() -> None:
    with recorders.webhook("a-key") as target, delivering([channel(HOOK, target.url, "hook")]) as house:
        target.always = Fault.RATE_LIMIT
        house.tell(soft_limit(), "hook")
        eventually(lambda: house.metrics.value(ALERTS_OLDEST_WAITING_SECONDS, channel="hook") > 0)
        assert house.metrics.value(ALERTS_WAITING, channel="hook") == 1
        eventually(lambda: house.metrics.value(ALERTS_DELIVERIES, channel="hook", fate="failed") >= 1)
        target.always = None
        eventually(lambda: house.metrics.value(ALERTS_WAITING, channel="hook") == 0)
        assert house.metrics.value(ALERTS_OLDEST_WAITING_SECONDS, channel="hook") == 0
