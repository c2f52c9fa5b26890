"""What the SQL port shows of a store that goes on: what was stored before, each row once, merges or not."""

import json
import time
from pathlib import Path

import pytest

from house import running_house
from llmtrail.cli.folder import sql_result
from llmtrail.store.handle import open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.migrate import migrate
from sql_world import CALLS, sql_world
from stored_calls import a_full_call, a_row

_COUNT = "SELECT count(), uniqExact(call_id) FROM calls"


def test_a_statement_sees_what_was_stored_before_it_each_row_once(tmp_path: Path) -> None:
    with sql_world(tmp_path) as world:
        assert world.ask(_COUNT).text == f"{CALLS}\t{CALLS}\n"
        for batch in range(1, 6):
            numbers = range(1000 * batch, 1000 * batch + 10)
            insert_calls(world.store, [a_row(a_full_call(number)) for number in numbers], f"more-{batch}")
            there = CALLS + 10 * batch
            assert world.ask(_COUNT).text == f"{there}\t{there}\n"
            world.store.command("OPTIMIZE TABLE llmtrail.calls_data FINAL")
            assert world.ask(_COUNT).text == f"{there}\t{there}\n"
            assert world.ask("SELECT count() FROM bodies").text == f"{there}\n"


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
