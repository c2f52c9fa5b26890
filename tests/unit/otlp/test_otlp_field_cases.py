"""The field cases of spans and logs by the pure way: what they store, and what it costs."""

import pytest

from field_cases import is_right, sent_cases
from llmtrail_ingest.gateway.body import BodyLimits, decompress
from llmtrail_ingest.pricebook import load_pricebook
from otlp_recordings import Recorded
from stored_spans import stored

BOOK = load_pricebook(None)
CASES = {case.name: case for case in sent_cases("or")}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_field_case_of_spans_is_stored_as_the_right_calls_with_the_right_values(name: str) -> None:
    case = CASES[name]
    body = decompress(case.body, case.headers.get("content-encoding", ""), BodyLimits())
    rows = stored([Recorded(case.path, dict(case.headers), body)], BOOK)
    assert len(rows) == case.calls, case.why
    wrong = {
        column: [row.get(column) for row in rows]
        for column, right in case.right.items()
        if not all(is_right(right, row.get(column)) for row in rows)
    }
    assert not wrong, (wrong, case.right, case.why)
