"""The schema, the event and the reference page tell the same, and every column tells what it means."""

from collections.abc import Iterator

import pytest

from llmtrail.core.columns import ATTEMPT_COLUMNS, BODIES, BODY_COLUMNS, CALL_COLUMNS
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.migrate import migrate
from sql_reference import PAGE, page, relations


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    handle = open_chdb(tmp_path_factory.mktemp("documented"))
    migrate(handle)
    yield handle
    handle.close()


def _columns(table: str) -> set[str]:
    return {column.name for one in relations() if one.name == table for column in one.columns}


def test_the_reference_page_is_the_schemas_own() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/sql_reference.py"


def test_the_engine_shows_the_same_columns_with_the_same_comments(store: Handle) -> None:
    rows = store.query("SELECT table, name, comment FROM system.columns WHERE database = 'llmtrail'")
    shown = {(str(table), str(name)): str(comment) for table, name, comment in rows}
    told = {(one.name, column.name): column.comment for one in relations() for column in one.columns}
    ours = {place: comment for place, comment in shown.items() if place[0] != "schema_migrations"}
    assert ours == told
    assert [place for place, comment in shown.items() if not comment.strip()] == []


def test_every_field_of_the_event_is_a_column_of_the_views() -> None:
    assert set(CALL_COLUMNS.values()) - {BODIES} <= _columns("calls")
    assert set(BODY_COLUMNS.values()) <= _columns("bodies")


def test_every_field_of_an_attempt_is_a_column_of_the_view() -> None:
    assert {*ATTEMPT_COLUMNS.values(), "request_id", "call_id"} <= _columns("attempts")


def test_no_user_chosen_text_of_many_values_is_a_dictionary() -> None:
    # A dictionary of a million ids is slower than the ids themselves.
    for one in relations():
        for column in one.columns:
            if column.name.endswith(("_id", "user_id", "message")) and column.name not in {
                "price_id",
                "old_price_id",
                "new_price_id",
                "book_id",
                "topic_id",
                "src_topic_id",
            }:
                assert "LowCardinality" not in column.type, f"{one.name}.{column.name}"
