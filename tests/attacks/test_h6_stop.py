"""A statement that never ends does not keep its owner from stopping."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eventually import eventually
from sql_world import sql_world


@pytest.mark.attack("H6", "a statement keeps the process from stopping")
def test_a_process_stops_at_once_whatever_a_statement_computes(tmp_path: Path) -> None:
    attacker = ThreadPoolExecutor(1)
    with sql_world(tmp_path) as world:
        assert world.ask("SELECT 1").text == "1\n"
        attacker.submit(world.ask, "SELECT arrayLevenshteinDistance(range(100000), range(100000))")
        eventually(lambda: world.ask("SELECT 1").text == "1\n")
        began = time.monotonic()
    assert time.monotonic() - began < 15
    attacker.shutdown(wait=True)
