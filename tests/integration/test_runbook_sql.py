"""The statements of the runbooks run as they stand there, over tables as migrations make them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrail.store.handle import Handle, Limits, open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from stored_calls import a_full_call, a_row

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
STATEMENTS = [
    (path.stem, block)
    for path in sorted(FOLDER.glob("*.md"))
    for block in re.findall(r"```sql\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    handle = open_chdb(tmp_path_factory.mktemp("runbooks"))
    migrate(handle)
    insert_calls(handle, [a_row(a_full_call(number)) for number in range(1, 4)], "calls")
    yield handle.reader(Limits(), {"database": "llmtrail"})
    handle.close()


@pytest.mark.parametrize(("runbook", "statement"), STATEMENTS, ids=[runbook for runbook, _ in STATEMENTS])
def test_statements_of_a_runbook_run(store: Handle, runbook: str, statement: str) -> None:
    store.query(statement)


def test_where_each_topic_begins_and_ends_is_told(store: Handle) -> None:
    (statement,) = (statement for runbook, statement in STATEMENTS if runbook == "topic-recreated")
    assert len(store.query(statement)) >= 1
