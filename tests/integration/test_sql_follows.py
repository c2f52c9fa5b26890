"""SQL in processes of its own sees what is stored: each call as soon as a look-up does."""

import json
import time
from pathlib import Path

from house import running_house

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
