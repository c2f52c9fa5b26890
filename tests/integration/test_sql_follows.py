"""SQL in processes of its own sees what is stored: each call as soon as a look-up does."""

import json
import time
from pathlib import Path

import pytest

from house import running_house
from llmtrail.cli.folder import sql_result
from llmtrail.store.handle import open_chdb
from llmtrail.store.migrate import migrate

TABLES = ("calls", "calls_data", "ids_data", "bodies_data")


def test_a_statement_sees_every_call_that_a_look_up_sees(tmp_path: Path) -> None:
    with running_house(tmp_path) as house:
        assert house.sql("SELECT count() FROM llmtrail.calls") == [[0]]
        for number in range(1, 6):
            event = {"started_at": time.time_ns(), "request_model": "gpt-4o", "request_id": f"r-{number}"}
            assert house.post(json.dumps(event)).status == 200
            house.request(f"r-{number}")
            counts = [house.sql(f"SELECT count() FROM llmtrail.{table}") for table in TABLES]
            assert counts == [[[number]]] * len(TABLES)


def test_a_store_by_a_relative_path_is_found_from_the_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_chdb(Path("store"))
    migrate(store)
    assert sql_result(store, "SELECT count() FROM calls", "TSV") == b"0\n"
    store.close()
