"""The guide tells what the tables of the code tell."""

from pathlib import Path

from llmtrail.core.gpu import Reason
from llmtrail.core.xid import XIDS

GUIDE = (Path(__file__).parents[3] / "docs/guide/gpu.md").read_text()


def test_every_xid_of_the_table_stands_in_the_guide() -> None:
    # Codes of one meaning share a row.
    codes: dict[tuple[str, str, str], list[str]] = {}
    for one in XIDS.values():
        codes.setdefault((one.kind, one.meaning, one.advice), []).append(str(one.code))
    rows = [f"| {', '.join(numbers)} | {' | '.join(told)} |" for told, numbers in codes.items()]
    assert [row for row in rows if row not in GUIDE] == []


def test_every_reason_of_a_rejection_stands_in_the_guide() -> None:
    assert [reason for reason in Reason if f"`{reason}`" not in GUIDE] == []
