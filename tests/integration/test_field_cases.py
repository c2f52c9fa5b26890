"""Each field case that is one request, sent to a running process as its HOW.md says, its values read back by SQL.

One case: `pytest tests/integration/test_field_cases.py -k o13`.
"""

from collections.abc import Iterator

import pytest

from field_cases import FieldCase, is_right, sent_cases
from house import House, running_house

CONTENT = ("input", "messages", "prompt", "output", "tool_calls")
CASES = sent_cases("nopr")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    # Each case is one request, so nothing else of its trace is waited for.
    with running_house(tmp_path_factory.mktemp("house"), "[ingest]\nsettle_ms = 10\nbatch_ms = 10\n") as running:
        yield running


def call_ids(house: House) -> set[str]:
    return {call_id for (call_id,) in house.sql("SELECT call_id FROM llmtrail.calls")}


def stored(house: House, call_id: str, column: str) -> object:
    """Return one column of a call, or of its content."""
    view = "bodies" if column in CONTENT else "calls"
    rows = house.sql(f"SELECT `{column}` FROM llmtrail.{view} WHERE call_id = '{call_id}'")
    return rows[0][0] if rows else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_field_case_is_stored_as_the_right_calls_with_the_right_values(house: House, case: FieldCase) -> None:
    before = call_ids(house)
    answer = house.ask("POST", case.path, case.body, dict(case.headers))
    house.settle()
    made = sorted(call_ids(house) - before)
    assert len(made) == case.calls, (answer.status, answer.body, case.why)
    seen = {column: [stored(house, call_id, column) for call_id in made] for column in case.right}
    wrong = {
        column: values
        for column, values in seen.items()
        if not all(is_right(case.right[column], value) for value in values)
    }
    assert not wrong, (wrong, {column: case.right[column] for column in wrong}, case.why)
