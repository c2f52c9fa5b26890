"""Rows as bytes, rows in memory: the pure parts of the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.log.port import CALLS, SPANS, Append
from llmtrail.log.recent import Recent
from llmtrail.log.rows import ROW_BYTES_MAX, Row, chunks_of, decode, encode

pairs = st.lists(st.tuples(st.binary(max_size=50), st.binary(max_size=9)), min_size=1, max_size=30)


@given(pairs, st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_a_row_is_decoded_to_what_was_encoded(records: list[tuple[bytes, bytes]], headers: dict[str, str]) -> None:
    values, keys = [value for value, _ in records], [key for _, key in records]
    (chunk,) = chunks_of(Append(CALLS, values, keys, headers))
    row = decode(encode(chunk), 7, 9)
    assert (list(row.values), list(row.keys), row.headers) == (values, keys, headers)
    assert (row.first_offset, row.next_offset, row.appended_at_ns, row.bytes) == (7, 7 + len(values), 9, chunk.bytes)


@given(pairs, st.data())
def test_a_row_cut_short_is_no_row(records: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    (chunk,) = chunks_of(Append(CALLS, [value for value, _ in records], [key for _, key in records]))
    blob = encode(chunk)
    with pytest.raises(ValueError, match="row"):
        decode(blob[: data.draw(st.integers(9, len(blob) - 1))] if len(blob) > 9 else b"", 0, 0)


def test_a_large_append_is_cut_into_rows_without_loss() -> None:
    values = [bytes([number]) * 1_500_000 for number in range(7)]
    chunks = chunks_of(Append(CALLS, values, [b""] * 7))
    assert [value for chunk in chunks for value in chunk.values] == values
    assert all(chunk.bytes <= ROW_BYTES_MAX for chunk in chunks)


def row(first: int, size: int = 1_000) -> Row:
    return Row(first, 1, [bytes(size)], [b""], {}, size)


def test_recent_rows_are_bounded_over_all_topics_and_oldest_go_first() -> None:
    recent = Recent(bytes_max=5_000)
    for number in range(4):
        recent.add(CALLS, row(number))
        recent.add(SPANS, row(number))
    assert [kept.first_offset for kept in recent.rows(CALLS, 2)] == [2, 3]
    assert recent.rows(CALLS, 0) == []
    assert recent.rows(CALLS, 4) == []
    recent.forget(CALLS, 4)
    assert recent.start(CALLS) is None
    assert recent.start(SPANS) == 2
    recent.add(SPANS, row(4))
    recent.add(SPANS, row(5))
    assert [kept.first_offset for kept in recent.rows(SPANS, 2)] == [2, 3, 4, 5]
