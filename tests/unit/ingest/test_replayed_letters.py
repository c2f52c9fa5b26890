"""Letters that are sent again: whose calls they become, by which ids, and what marks them. Pure."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.outcome import BadEventError
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import CALLS, DEAD_LETTERS, Append, Records
from llmtrail.store.rows import DeadLetterRow
from llmtrail_ingest.dead_letter import LETTER_HEADER, Origin, letter_rows, place_of, place_text
from llmtrail_ingest.gateway.replayed import Again, Replayed, read_replay, replayed
from llmtrail_ingest.pricebook import load_pricebook
from llmtrail_ingest.writer.seen import SeenIds
from llmtrail_ingest.writer.step import Batch, StepContext, step

NOW_NS = 1_795_000_000_000_000_000
EVENT: dict[str, Any] = {"started_at": "2026-11-30T10:00:00Z", "request_model": "gpt-4o"}
BOOK = load_pricebook()


def again(value: object, offset: int = 7, tenant: str = "acme") -> Again:
    return Again(
        topic="llm.calls",
        topic_id="t1",
        partition=2,
        offset=offset,
        received_at_ns=NOW_NS - 5,
        reason="unknown_schema_version",
        detail="newer",
        tenant=tenant,
        value_base64=base64.b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode(),
    )


def sent(*letters: Again) -> Replayed:
    return replayed(letters, ContentPolicy.REDACTED, lambda _, value, key: (value, key), NOW_NS)


def of(result: Replayed, topic: str) -> list[Append]:
    return [append for append in [*result.calls, *result.marks] if append.topic == topic]


def rows(result: Replayed) -> list[DeadLetterRow]:
    """The rows that the marks become."""
    found: list[DeadLetterRow] = []
    for append in of(result, DEAD_LETTERS):
        count = len(append.values)
        records = Records(
            DEAD_LETTERS, "d", 0, 99, append.values, append.keys, [NOW_NS] * count, [append.headers] * count
        )
        found += letter_rows(records)
    return found


def stepped(append: Append, known: Batch | None = None, *, checked: bool = True) -> Batch:
    count = len(append.values)
    records = Records(CALLS, "t1", 0, 500, append.values, append.keys, [NOW_NS] * count, [append.headers] * count)
    return step(
        records, StepContext(SeenIds(2**62), [known.known] if known else (), lambda _: {}, BOOK, checked=checked)
    )


def test_a_letter_becomes_a_call_of_its_own_tenant_and_is_marked_at_its_place() -> None:
    result = sent(again(EVENT))
    [call] = of(result, CALLS)
    assert (call.headers["tenant"], result.accepted) == ("acme", 1)
    [row] = rows(result)
    assert (row.topic_id, row.partition, row.offset, row.received_at_ns) == ("t1", 2, 7, NOW_NS - 5)
    assert (row.outcome, row.replayed_at_ns, row.reason, row.tenant) == (
        "accepted", NOW_NS, "unknown_schema_version", "acme",
    )  # fmt: skip
    assert json.loads(row.value) == EVENT


def test_what_fails_again_is_the_same_letter_with_the_reason_of_today() -> None:
    result = sent(again(EVENT | {"request_model": [17]}))
    assert not of(result, CALLS)
    [row] = rows(result)
    assert (row.offset, row.outcome, row.reason) == (7, "rejected", "wrong_type")
    assert result.outcomes[0].reason == "wrong_type"


def test_a_letter_of_several_events_keeps_the_good_ones_and_says_which_is_bad() -> None:
    body = "\n".join(json.dumps(event) for event in (EVENT, EVENT | {"request_model": [1]}, EVENT)).encode()
    result = sent(again(body))
    assert (result.accepted, len(result.rejected)) == (2, 1)
    assert "event 2 of 3" in result.outcomes[0].detail


def test_what_only_the_writer_rejects_is_the_same_letter_too() -> None:
    [call] = of(sent(again(EVENT)), CALLS)
    [row] = stepped(replace(call, values=[b"{"])).dead_letters
    assert (row.topic_id, row.partition, row.offset, row.received_at_ns) == ("t1", 2, 7, NOW_NS - 5)
    assert (row.reason, row.outcome, row.tenant) == ("not_json", "rejected", "acme")
    assert row.replayed_at_ns > rows(sent(again(EVENT)))[0].replayed_at_ns


def test_a_letter_sent_again_for_its_tenant_revises_no_other_tenants_call() -> None:
    named = EVENT | {"call_id": "01935d6e-0000-7000-8000-000000000001"}
    [first] = of(sent(again(named, tenant="other")), CALLS)
    [call] = of(sent(again(named | {"revision": 2}, tenant="acme")), CALLS)
    batch = stepped(call, stepped(first))
    assert ([row.tenant for row in batch.rows], batch.revisions, batch.dead_letters) == (["acme"], set(), [])


def test_where_others_write_to_the_log_a_header_names_no_letter() -> None:
    place = Origin(topic="llm.calls", topic_id="t1", partition=2, offset=7, received_at_ns=NOW_NS)
    forged = Append(CALLS, [b"{}"], [b""], {LETTER_HEADER: place_text(place)})
    [row] = stepped(forged, checked=False).dead_letters
    assert (row.partition, row.offset, row.outcome, row.replayed_at_ns) == (0, 500, "", 0)


def test_each_event_of_a_letter_that_the_writer_rejects_is_a_letter_of_its_own() -> None:
    [call] = of(sent(again(json.dumps([EVENT, EVENT]).encode())), CALLS)
    found = stepped(replace(call, values=[b"{", b"["])).dead_letters
    assert [(row.reason, row.offset) for row in found] == [("not_json", 500), ("not_json", 501)]


@given(st.lists(st.sampled_from([EVENT, EVENT | {"request_model": [1]}, EVENT | {"request_id": "r"}]), min_size=1))
def test_the_same_letters_become_the_same_calls_however_often_they_are_sent(events: list[dict[str, Any]]) -> None:
    letters = [again(event, offset) for offset, event in enumerate(events)]
    once, twice = sent(*letters), sent(*letters)
    assert [append.values for append in of(once, CALLS)] == [append.values for append in of(twice, CALLS)]
    ids = [json.loads(value)["call_id"] for append in of(once, CALLS) for value in append.values]
    assert len(set(ids)) == len(ids)
    assert once.received == once.accepted + len(once.rejected)
    assert [row.offset for row in rows(once)] == list(range(len(letters)))


@given(st.builds(
    Origin,
    topic=st.just("llm.calls"), topic_id=st.text("abc-_", min_size=1), partition=st.integers(0, 9),
    offset=st.integers(0, 10**15), received_at_ns=st.integers(0, 2**62), item=st.integers(0, 9),
))  # fmt: skip
def test_a_place_goes_through_a_header_and_back(origin: Origin) -> None:
    assert place_of(place_text(origin)) == origin


@pytest.mark.parametrize("text", ["", "a/b", "llm.calls/t/0/1/2/-3", "llm.calls/t/x/1/2/3", "a/b/1/2/3/4/5"])
def test_a_header_that_is_no_place_names_no_letter(text: str) -> None:
    assert place_of(text) is None
    append = Append(CALLS, [b"{}"], [b""], {LETTER_HEADER: text})
    [row] = stepped(append).dead_letters
    assert (row.offset, row.outcome) == (500, "")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"letters":[{}]}', b'{"letters":[{"topic":1}]}', b"\xff"])
def test_a_body_that_holds_no_letters_is_refused(body: bytes) -> None:
    with pytest.raises(BadEventError):
        read_replay(body)
