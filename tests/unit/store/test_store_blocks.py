"""How rows become Arrow blocks and events, without any engine."""

import uuid

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from llmtrail.core.call import Attempt
from llmtrail.store import arrow
from llmtrail.store.ids import named_ids, tells_its_day
from llmtrail.store.insert import bodies_block, calls_block, ids_block
from llmtrail.store.records import Place, encode_record, places_sql
from stored_calls import NOW_NS, a_call, a_full_call, a_row


@given(st.lists(st.text()))
def test_raw_texts_are_the_texts_and_empty_is_null(texts: list[str]) -> None:
    column = arrow.raw_texts([Raw(text.encode()) for text in texts])
    column.validate(full=True)
    assert column.to_pylist() == [text or None for text in texts]


@given(st.lists(st.tuples(st.none() | st.text(), st.integers(0, 9))))
def test_the_pieces_of_a_block_are_the_block_as_a_file(rows: list[tuple[str | None, int]]) -> None:
    texts, numbers = [text for text, _ in rows], [number for _, number in rows]
    block = pa.table({"text": pa.array(texts, pa.string()), "number": pa.array(numbers, pa.int64())})
    pieces = arrow.Pieces(block)
    written = b"".join(iter(pieces.read, b""))
    assert pa.ipc.open_file(written).read_all() == block
    assert pieces.read() == b""


def test_pieces_are_where_the_columns_are() -> None:
    text = arrow.raw_texts([Raw(b"x" * 100_000)])
    content = text.buffers()[2]
    assert content is not None
    pieces = arrow.Pieces(pa.table({"text": text}))
    addresses = {pa.py_buffer(piece).address for piece in iter(pieces.read, b"")}
    assert content.address in addresses


@given(st.lists(st.uuids()))
def test_uuids_keep_their_bytes(ids: list[uuid.UUID]) -> None:
    assert arrow.uuids([one.int for one in ids]).to_pylist() == [one.bytes for one in ids]


@given(st.lists(st.integers(min_value=-(2**70), max_value=2**70)))
def test_times_are_clamped_to_what_the_column_holds(instants_ns: list[int]) -> None:
    wanted = [min(max(ns, 0), arrow.TIME_MAX_NS) for ns in instants_ns]
    assert arrow.times(instants_ns).cast(pa.int64()).to_pylist() == wanted
    assert arrow.optional_times([None, *instants_ns]).cast(pa.int64()).to_pylist() == [None, *wanted]


def test_each_id_is_named_once_and_the_first_kind_wins() -> None:
    call = a_call(
        request_id="same",
        trace_id="same",
        session_id="s",
        provider_request_id="p",
        attempts=(Attempt(number=1, provider_request_id="p1"), Attempt(number=2, provider_request_id="p")),
        attributes=Raw(b'{"ticket":"T-1","ticket_id":17}'),
    )
    assert named_ids(call) == {
        "same": "request",
        "s": "session",
        "p": "provider_request",
        "p1": "provider_request",
        "T-1": "ticket",
        "17": "ticket",
    }


def test_a_ticket_that_is_no_text_names_nothing() -> None:
    assert named_ids(a_call(attributes=Raw(b'{"ticket":{"a":1}}'))) == {}
    assert named_ids(a_call(attributes=Raw(b'{"x":"\\"ticket\\""}'))) == {}


def test_only_a_call_id_that_tells_its_day_has_no_entry() -> None:
    near = a_row(a_call())
    assert tells_its_day(near.call_key, near.first_ingested_at_ns)
    assert not tells_its_day(near.call_key, NOW_NS + 2 * arrow.DAY_NS)
    assert not tells_its_day(uuid.UUID(int=5, version=4).int, NOW_NS)
    assert ids_block([near]).num_rows == 0
    assert ids_block([a_row(a_call(), first_ingested_at_ns=NOW_NS + 9 * arrow.DAY_NS)]).column("kind").to_pylist() == [
        "call"
    ]


def test_the_record_holds_no_content_and_no_random_id() -> None:
    record = encode_record(a_row(a_full_call(77)))
    for absent in (b"because", b"why", b"a prompt", b"no closing brace}", b"T-177", f"{77:032x}".encode(), b'"r-77"'):
        assert absent not in record, absent
    assert b'"u-7"' in record


def test_blocks_of_one_and_of_many_rows_have_a_row_for_each() -> None:
    rows = [a_row(a_full_call(number)) for number in range(1, 40)]
    assert calls_block(rows).num_rows == bodies_block(rows).num_rows == len(rows)
    assert 0 not in calls_block(rows).column("content_bytes").to_pylist()


def test_whatever_is_no_uuid_never_reaches_sql() -> None:
    try:
        places_sql([Place("x') OR 1=1 --", "2026-11-18", 0, "")])
    except ValueError:
        return
    raise AssertionError("text that is no UUID became SQL")
