"""What real emitters send, by emitter: which spans are calls, and what is stored of them (`fixtures/otlp/emitters`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from field_cases import is_right
from llmtrail_ingest.otlp.profiles import PROFILES
from llmtrail_ingest.otlp.profiles.profile import FIELDS
from llmtrail_ingest.otlp.profiles.shared import SHARED
from llmtrail_ingest.pricebook import load_pricebook
from stored_spans import a_log_request, a_request, stored

EMITTERS = Path(__file__).parents[2] / "fixtures" / "otlp" / "emitters"
SUMS = json.loads((EMITTERS.parent / "sums.json").read_text())["rows"]
CASES = sorted(path.stem for path in EMITTERS.glob("*.json"))
BOOK = load_pricebook()


def read(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((EMITTERS / f"{name}.json").read_text())
    return case


@pytest.mark.parametrize("name", CASES)
def test_what_an_emitter_sends_is_stored_as_the_right_calls_with_the_right_values(name: str) -> None:
    case = read(name)
    requests = [a_request(case["scope"], case["spans"], case.get("resource"))] if "spans" in case else []
    requests += [a_log_request(case["scope"], case["logs"])] if "logs" in case else []
    rows = stored(requests, BOOK)
    assert len(rows) == case["calls"], [row.get("operation") for row in rows]
    wrong = {
        column: ([row.get(column) for row in rows], right)
        for column, right in case["right"].items()
        if not all(is_right(right, row.get(column)) for row in rows)
    }
    assert not wrong, case.get("right_by", "")


@pytest.mark.parametrize("profile", [SHARED, *PROFILES], ids=lambda profile: profile.name)
def test_a_profile_names_only_what_is_read_and_says_where_its_names_come_from(profile: Any) -> None:
    assert profile.names.keys() <= FIELDS
    assert profile.source
    assert all(word == word.lower() for word in profile.operations)


def test_every_case_has_a_source() -> None:
    assert [name for name in CASES if not read(name)["source"]] == []


@pytest.mark.parametrize("case", SUMS, ids=lambda case: case["case"])
def test_a_call_that_several_spans_tell_of_counts_once_and_costs_what_it_cost(case: dict[str, Any]) -> None:
    requests = [a_request(case["scope"], case["spans"])] if "spans" in case else []
    requests += [a_log_request(case["scope"], case["logs"])] if "logs" in case else []
    rows = stored(requests, BOOK)
    assert (len(rows), sum(row["cost_nanousd"] for row in rows)) == (case["calls"], case["cost_nanousd"])
