"""An entry's way: what follows from each answer, how long it is tried, and what a successor makes of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_house import NOW_NS, resolved, soft_limit
from llmtrail_alerts.channels.alertmanager import AlertmanagerSender
from llmtrail_alerts.channels.port import Answer, Channel, ChannelKind, Manners, Mark, Outcome
from llmtrail_alerts.channels.slack import SlackSender
from llmtrail_alerts.lane import RESOLVES_MAX, WAITING_MAX, admit, choose, superseded
from llmtrail_alerts.outbox import (
    BACKOFF_MAX_S,
    RETRY_AFTER_MAX_S,
    Entry,
    State,
    backoff_s,
    begin,
    decode_entry,
    enqueue,
    expire,
    fall_back,
    is_entry_key,
    pause_s,
    record,
    recover,
    sending,
    settle,
)

S = 1_000_000_000
ALONE = Channel(name="alone", kind=ChannelKind.WEBHOOK)
FIRST = Channel(name="first", kind=ChannelKind.WEBHOOK, fallback="second")
SECOND = Channel(name="second", kind=ChannelKind.WEBHOOK, fallback="first")
PLAIN = Manners()
DELIVERED = Answer(Outcome.DELIVERED, "ok")
LATER = Answer(Outcome.NOT_DELIVERED, "busy")
UNKNOWN = Answer(Outcome.UNKNOWN, "no answer")
REFUSED = Answer(Outcome.REFUSED, "no")


def _tried(answer: Answer, channel: Channel = ALONE, manners: Manners = PLAIN, batch: int = 1) -> Entry:
    return settle(
        begin(enqueue(soft_limit(), channel, NOW_NS)), answer, manners, now_ns=NOW_NS, jitter=0.5, batch=batch
    )


@pytest.mark.parametrize(
    ("answer", "state", "unknown"),
    [
        (DELIVERED, State.SENT, False),
        (REFUSED, State.GIVEN_UP, False),
        (LATER, State.PENDING, False),
        (UNKNOWN, State.PENDING, True),
    ],
)
def test_each_answer_leads_to_one_state(answer: Answer, state: State, unknown: bool) -> None:
    entry = _tried(answer)
    assert (entry.state, entry.unknown, entry.detail, entry.attempt) == (state, unknown, answer.detail, 1)
    assert record(entry)[1] is None or not entry.done


def test_what_was_refused_together_is_tried_alone_before_it_is_given_up() -> None:
    entry = _tried(REFUSED, batch=3)
    assert (entry.state, entry.alone, entry.due_ns, entry.attempt) == (State.PENDING, True, NOW_NS, 0)
    assert settle(begin(entry), REFUSED, PLAIN, now_ns=NOW_NS, jitter=0).state is State.GIVEN_UP


def test_a_mark_stays_until_the_message_is_sent_and_only_for_targets_that_cannot_know() -> None:
    entry = settle(begin(_tried(UNKNOWN)), LATER, PLAIN, now_ns=NOW_NS, jitter=0)
    assert sending(entry, PLAIN).mark is Mark.POSSIBLE_REPEAT
    assert sending(entry, Manners(knows_repeats=True)).mark is Mark.FIRST


def test_what_was_being_sent_when_the_process_ended_may_have_arrived() -> None:
    entry = begin(enqueue(soft_limit(), ALONE, NOW_NS))
    found = recover(entry, NOW_NS + S)
    assert (found.state, found.unknown, found.due_ns) == (State.PENDING, True, NOW_NS + S)
    pending = enqueue(soft_limit(), ALONE, NOW_NS)
    assert recover(pending, NOW_NS + S) is pending


def test_a_message_is_tried_until_its_deadline_and_then_told_by_the_fallback_which_ends_a_circle() -> None:
    channels = {one.name: one for one in (FIRST, SECOND)}
    entry = enqueue(soft_limit(), FIRST, NOW_NS)
    now_ns = NOW_NS
    while not entry.done:
        entry = settle(begin(entry), LATER, PLAIN, now_ns=now_ns, jitter=1.0)
        now_ns = entry.due_ns
    assert 240 < (now_ns - NOW_NS) / S <= FIRST.gives_up_after_s + BACKOFF_MAX_S
    second = fall_back(entry, channels, now_ns)
    assert second is not None
    assert (second.channel, second.route, second.message) == ("second", ("first",), entry.message)
    assert fall_back(expire(second, second.deadline_ns), channels, now_ns) is None
    assert fall_back(enqueue(soft_limit(), FIRST, NOW_NS), channels, NOW_NS) is None, "it was not given up"


@given(st.integers(1, 10_000), st.floats(0, 1), st.none() | st.floats(0, 1e9))
def test_a_pause_grows_to_a_minute_and_heeds_the_target_within_reason(
    failures: int, jitter: float, asked_s: float | None
) -> None:
    assert 0.5 <= backoff_s(failures, jitter) <= BACKOFF_MAX_S
    assert backoff_s(failures, jitter) <= backoff_s(failures + 1, jitter)
    pause = pause_s(failures, replace(LATER, retry_after_s=asked_s), jitter)
    assert pause <= RETRY_AFTER_MAX_S
    assert asked_s is None or pause >= min(asked_s, RETRY_AFTER_MAX_S)


@given(
    st.builds(
        Entry,
        message=st.sampled_from([soft_limit(), resolved(soft_limit())]),
        channel=st.text(max_size=5),
        state=st.sampled_from([State.PENDING, State.SENDING, State.KEPT]),
        created_ns=st.integers(0, 2**62),
        due_ns=st.integers(0, 2**62),
        deadline_ns=st.integers(0, 2**62),
        attempt=st.integers(0, 99),
        unknown=st.booleans(),
        alone=st.booleans(),
        detail=st.text(max_size=5),
        route=st.tuples() | st.tuples(st.text(max_size=5)),
    )
)
def test_an_entry_is_the_same_after_the_journal(entry: Entry) -> None:
    key, value = record(entry)
    assert is_entry_key(key)
    assert value is not None
    assert decode_entry(value) == entry
    assert not is_entry_key('["state","outbox"]')


def _many(count: int, **changed: object) -> list[Entry]:
    made = (soft_limit(id=f"m-{one}", incident=f"i-{one}", at_ns=NOW_NS + one, **changed) for one in range(count))
    return [enqueue(message, ALONE, NOW_NS) for message in made]


def test_few_messages_to_slack_go_one_by_one_and_many_together_the_oldest_first() -> None:
    def batch(count: int) -> list[str]:
        entries = reversed(_many(count))
        chosen = choose(entries, SlackSender.manners, now_ns=NOW_NS + S, not_before_ns=0).batch
        return [entry.message.id for entry in chosen]

    assert [batch(1), batch(3)] == [["m-0"], ["m-0"]]
    assert batch(4) == ["m-0", "m-1", "m-2", "m-3"]
    assert len(batch(200)) == SlackSender.manners.batch_max


def test_nothing_is_sent_before_its_time_and_the_thread_knows_when_that_is() -> None:
    (entry,) = _many(1)
    choice = choose([entry], PLAIN, now_ns=NOW_NS, not_before_ns=NOW_NS + 7 * S)
    assert (choice.batch, choice.again_ns) == ((), NOW_NS + 7 * S)
    assert choose([], PLAIN, now_ns=NOW_NS, not_before_ns=0).again_ns is None


def test_an_incidents_end_waits_for_its_beginning_but_not_for_other_incidents() -> None:
    begun = _tried(LATER)
    end = enqueue(resolved(soft_limit()), ALONE, NOW_NS)
    (other,) = _many(1)
    assert choose([end, begun], PLAIN, now_ns=NOW_NS, not_before_ns=0).batch == ()
    assert choose([end, begun, other], PLAIN, now_ns=NOW_NS, not_before_ns=0).batch == (other,)


def test_too_many_messages_are_given_up_but_ends_of_incidents_have_a_place_of_their_own() -> None:
    held = {entry.key: entry for entry in _many(WAITING_MAX)}
    (late,) = (enqueue(soft_limit(id="late"), ALONE, NOW_NS),)
    assert admit(held, late).state is State.GIVEN_UP
    end = enqueue(resolved(soft_limit()), ALONE, NOW_NS)
    assert admit(held, end) is end
    ends = {one.key: replace_message(one) for one in _many(RESOLVES_MAX)}
    assert admit(ends, end).state is State.GIVEN_UP


def replace_message(entry: Entry) -> Entry:
    return enqueue(resolved(entry.message), ALONE, NOW_NS)


def test_what_is_kept_alive_ends_with_the_next_message_of_its_incident_and_after_a_month() -> None:
    kept = _tried(DELIVERED, manners=AlertmanagerSender.manners)
    assert kept.state is State.KEPT
    assert kept.due_ns == NOW_NS + 60 * S
    end = enqueue(resolved(soft_limit()), ALONE, NOW_NS)
    assert superseded([kept, *_many(2)], end) == [kept]
    assert superseded([end], kept) == []
    assert expire(kept, NOW_NS + 31 * 86_400 * S) is kept
    assert expire(kept, NOW_NS + 33 * 86_400 * S).state is State.SENT


def test_what_is_kept_alive_is_never_given_up_because_its_target_fails() -> None:
    kept = _tried(DELIVERED, manners=AlertmanagerSender.manners)
    for answer in [UNKNOWN, REFUSED] * 50:
        kept = settle(begin(kept), answer, AlertmanagerSender.manners, now_ns=kept.due_ns, jitter=1.0)
        assert kept.state is State.KEPT
    assert kept.attempt == 100
    well = settle(kept, DELIVERED, AlertmanagerSender.manners, now_ns=kept.due_ns, jitter=1.0)
    assert (well.attempt, well.due_ns) == (0, kept.due_ns + 60 * S)


def test_a_test_message_is_not_kept_alive() -> None:
    entry = begin(enqueue(soft_limit(test=True), ALONE, NOW_NS))
    assert settle(entry, DELIVERED, AlertmanagerSender.manners, now_ns=NOW_NS, jitter=0).state is State.SENT
