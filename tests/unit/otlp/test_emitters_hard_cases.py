"""What emitters really send where it is easy to count twice, to miss a part, or to lose a call.

The cases stand in `tests/fixtures/otlp/counted_once`, one file an emitter, each with the source that says what is sent
and the right values of each call that it is, in order of start (`*`: any value that is not empty).
"""

import json
from pathlib import Path
from typing import Any

import pytest

from field_cases import is_right
from llmtrail_ingest.pricebook import load_pricebook
from otlp_recordings import Recorded
from stored_spans import a_log_request, a_request, stored

FIXTURES = Path(__file__).parents[2] / "fixtures" / "otlp" / "counted_once"
BOOK = load_pricebook(None)
CASES: dict[str, dict[str, Any]] = {
    f"{file.stem}: {case['case']}": case
    for file in sorted(FIXTURES.glob("*.json"))
    for case in json.loads(file.read_text())
}


def requests_of(case: dict[str, Any]) -> list[Recorded]:
    return [
        a_request(told["scope"], told["spans"]) if "spans" in told else a_log_request(told["scope"], told["logs"])
        for told in case["requests"]
    ]


def rows_of(requests: list[Recorded]) -> list[dict[str, Any]]:
    rows = stored(requests, BOOK)
    for row in rows:
        row["reported_by"] = row["attributes"].get("llmtrail.reported_by")
    return sorted(rows, key=lambda row: int(row["started_at"]))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_an_emitters_spans_and_logs_become_the_right_calls(case: dict[str, Any]) -> None:
    rows = rows_of(requests_of(case))
    assert len(rows) == len(case["right"]), ([(row.get("request_model"), row.get("usage")) for row in rows], case)
    for row, right in zip(rows, case["right"], strict=True):
        wrong = {name: (row.get(name), value) for name, value in right.items() if not is_right(value, row.get(name))}
        assert not wrong, (wrong, row.get("usage"), case["source"])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_order_of_requests_makes_no_difference(case: dict[str, Any]) -> None:
    requests = requests_of(case)
    assert rows_of(requests) == rows_of(requests[::-1])
