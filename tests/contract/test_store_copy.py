"""Tables read as chunks and written again are the tables that were: every type, every key, each row once."""

import uuid
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from llmtrail.roles.move_plan import chunks, mismatches, token_of
from llmtrail.store import copy
from llmtrail.store.copy import DayCount, Range, Table, count_copied, day_counts, read_range, segments, stored_columns
from llmtrail.store.copy import tables as tables_of
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.insert import insert_calls, insert_corrections, insert_dead_letters
from llmtrail.store.migrate import migrate
from llmtrail.store.rows import Correction, DeadLetterRow
from stored_calls import NOW_NS, a_call_id, a_full_call, a_row

CALLS = 150
NS_PER_DAY = 86_400 * 1_000_000_000
FIRST_DAY = date(2026, 11, 18)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Handle]:
    """A store of two days with revisions, repeats, letters of several topics and corrected costs."""
    monkeypatch.setattr(copy, "SEGMENT_ROWS", 16)
    handle = open_chdb(tmp_path)
    migrate(handle)
    rows = [a_row(a_full_call(number)) for number in range(CALLS)]
    insert_calls(handle, rows, "first")
    insert_calls(handle, [a_row(with_fields(a_full_call(number), revision=9)) for number in range(40)], "revised")
    insert_calls(handle, rows[:60], "repaired")
    letters = [
        DeadLetterRow("llm.calls", f"topic-{number % 3}", number % 2, number // 4, NOW_NS, "not_json", "'", b"x", b"")
        for number in range(100)
    ]
    insert_dead_letters(handle, letters, "letters")
    for at in range(2):
        insert_corrections(handle, [_correction(number, NOW_NS + at * 5_000_000) for number in range(50, 90)], f"c{at}")
    yield handle
    handle.close()


def _correction(number: int, at_ns: int) -> Correction:
    return Correction(
        tenant="acme",
        call_key=uuid.UUID(a_call_id(number)).int,
        ingest_day=NOW_NS // NS_PER_DAY,
        revision=3,
        old_cost_nanousd=1,
        new_cost_nanousd=number,
        old_price_id=None,
        new_price_id="mine",
        new_cost_source="computed",
        new_unpriced_reason=None,
        reason="contract",
        corrected_at_ns=at_ns,
        book_id="book",
    )


def all_counts(store: Handle, tables: list[Table]) -> list[DayCount]:
    return [one for table in tables for one in day_counts(store, table, digest=True)]


def all_chunks(store: Handle, tables: list[Table]) -> list[Range]:
    return [
        chunk
        for table in tables
        for day in ([one.day for one in day_counts(store, table, digest=False)] if table.day else [None])
        for segment in segments(store, table, day)
        for chunk in chunks([segment])
    ]


def test_every_row_stands_in_exactly_one_range_whose_count_it_tells(store: Handle) -> None:
    tables = tables_of(store)
    found = all_chunks(store, tables)
    for table in tables:
        mine = [one for one in found if one.table == table]
        assert sum(one.rows for one in mine) == sum(one.rows for one in day_counts(store, table, digest=False))
        assert all(count_copied(store, store, one) == one.rows for one in mine)
        assert all(one.rows <= 16 for one in mine)
    assert {one.table: one.rows for one in all_counts(store, tables)} | {"ids_data": 0} == {
        "calls_data": CALLS,
        "bodies_data": CALLS,
        "dead_letters_data": 100,
        "price_corrections": 80,
        "ids_data": 0,
    }


def test_chunks_written_into_empty_tables_make_the_same_tables_however_often(store: Handle) -> None:
    tables = tables_of(store)
    before = all_counts(store, tables)
    packed = [(chunk, read_range(store, chunk)) for chunk in all_chunks(store, tables)]
    columns = {table.name: stored_columns(store, table) for table in tables}
    for table in tables:
        store.command(f"TRUNCATE TABLE llmtrail.{table.name}")
    assert all_counts(store, tables) == []

    for token in ("once", "once", "again"):
        for chunk, rows in packed:
            copy.write_range(store, chunk, columns[chunk.table.name], rows, token_of(chunk, token))
        assert mismatches(before, all_counts(store, tables)) == []


def test_another_value_in_one_column_of_one_row_is_a_difference(store: Handle) -> None:
    tables = tables_of(store)
    before = all_counts(store, tables)
    insert_calls(store, [a_row(with_fields(a_full_call(7), revision=9, feature="another"))], "changed")
    (differs,) = mismatches(before, all_counts(store, tables))
    assert (differs.table, differs.day, differs.source_rows) == ("calls_data", str(FIRST_DAY), CALLS)


def test_a_store_without_tables_holds_nothing(tmp_path: Path) -> None:
    handle = open_chdb(tmp_path)
    try:
        assert tables_of(handle) == []
        assert day_counts(handle, Table("calls_data", "ingest_day", (("call_id", "UUID"),)), digest=True) == []
    finally:
        handle.close()
