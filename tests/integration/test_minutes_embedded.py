"""`llmtrail up` writes the minutes of its statistics, and its SQL port tells them, before and after a restart."""

import json
import time
from pathlib import Path

from eventually import eventually
from house import House, running_house

STORED_S_MAX = 30.0
ASK = "SELECT sum(calls), sum(input_tokens) FROM stats_minute WHERE scope_kind = 'feature' AND feature = 'search'"


def event(number: int) -> dict[str, object]:
    # Its minute is over, so that nothing is waited for.
    return {
        "started_at": time.time_ns() - 150 * 10**9,
        "request_model": "gpt-4o",
        "request_id": f"r-{number}",
        "feature": "search",
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }


def test_minutes_are_told_by_sql_and_counted_once_over_a_restart(tmp_path: Path) -> None:
    with running_house(tmp_path) as house:
        house.post(json.dumps([event(number) for number in range(3)]))
        eventually(lambda: _told(house) == (3, 30), STORED_S_MAX)
    with running_house(tmp_path) as again:
        again.post(json.dumps([event(number) for number in range(3, 6)]))
        eventually(lambda: _told(again) == (6, 60), STORED_S_MAX)


def _told(house: House) -> tuple[int, ...]:
    # The port writes sums of 64 bits as text.
    return tuple(int(value) for value in house.sql(ASK)[0])
