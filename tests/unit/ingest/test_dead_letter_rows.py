"""Whatever stands on llm.dead_letters becomes a row that the table holds: the topic of poison has no poison itself."""

import base64
import json
from typing import Any

import pyarrow as pa
import pytest

from hostile_inputs import JSON
from llmtrail.log.port import Records
from llmtrail.store.insert import insert_dead_letters
from llmtrail_ingest.dead_letter import letter_rows, place_of

APPENDED_NS = 1_700_000_000 * 10**9
PLACE = {"topic": "llm.calls", "topic_id": "t", "partition": 0, "offset": 1, "received_at_ns": APPENDED_NS}
NUMBERS = (2**63, 2**64, 10**400, -1, 1.5, None, "1", True)


class Blocks:
    """A store that keeps the blocks it is given."""

    def __init__(self) -> None:
        self.rows = 0

    def insert_arrow(self, _table: str, block: pa.Table, _token: str) -> None:
        """Keep a block."""
        self.rows += block.num_rows


def letter(**fields: Any) -> bytes:
    told = {"reason": "r", "detail": "d", "source": "log", "value_base64": base64.b64encode(b"x").decode()}
    return json.dumps(told | fields).encode()


POISONS: dict[str, bytes] = {
    **JSON,
    **{f"{name} {str(number)[:8]}": letter(origin=PLACE | {name: number}) for name in PLACE for number in NUMBERS},
    **{f"replayed_at_ns {str(number)[:8]}": letter(replayed_at_ns=number) for number in NUMBERS},
    "a lone surrogate": letter(reason="\ud800"),
    "NUL": letter(reason="\0", detail="\0"),
    "base64 of no letters": letter(value_base64="\xe9"),
    "base64 cut short": letter(value_base64="abc"),
    "a reason of 3 MB": letter(reason="x" * 3_000_000),
    "nothing": b"",
    "8 MB of nothing": b"\n" * 8_000_000,
}


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("appended_at_ns", [APPENDED_NS, -1, (2**63 - 1) * 1_000_000], ids=["now", "never", "far"])
def test_any_record_and_its_neighbours_are_rows_of_the_table(poison: bytes, appended_at_ns: int) -> None:
    values = [letter(origin=PLACE), poison, letter(origin=PLACE | {"offset": 2})]
    records = Records("llm.dead_letters", "t", 0, 0, values, [b"", b"\xff", b"k"], [appended_at_ns] * 3, [{}] * 3)
    store = Blocks()
    insert_dead_letters(store, letter_rows(records), "token")  # type: ignore[arg-type]
    assert store.rows == 3


def test_what_is_no_letter_is_kept_whole_under_its_own_place() -> None:
    poison = letter(origin=PLACE | {"offset": 2**63})
    (row,) = letter_rows(Records("llm.dead_letters", "t", 3, 7, [poison], [b""], [APPENDED_NS], [{}]))
    assert (row.reason, row.value, row.topic, row.partition, row.offset) == (
        "not_a_letter", poison, "llm.dead_letters", 3, 7,
    )  # fmt: skip


def test_a_header_names_no_place_that_the_table_cannot_hold() -> None:
    assert place_of(f"llm.calls/t/0/{2**63 - 1}/0/5") is not None
    assert place_of(f"llm.calls/t/0/{2**63}/0/5") is None
