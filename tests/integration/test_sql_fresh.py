"""What the SQL port shows of a store that goes on: what was stored before, each row once, merges or not."""

from pathlib import Path

from llmtrail.store.insert import insert_calls
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
