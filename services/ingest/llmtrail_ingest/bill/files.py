"""Which format a file is in, and its lines. Reads a stream as it comes; knows no path."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, TextIO

from llmtrail_ingest.bill.lines import BillError, BillLine
from llmtrail_ingest.bill.reports import report_lines
from llmtrail_ingest.bill.tables import table_lines

# A JSON document is held whole; one page a line (NDJSON) and CSV are read line by line, however long.
JSON_CHARS_MAX: Final = 64 * 1024 * 1024
# The last for a number that no Decimal holds.
_NO_JSON: Final = (ValueError, RecursionError, ArithmeticError)


def bill_lines(file: TextIO, provider: str = "") -> Iterator[BillLine]:
    """Yield the lines of an export: JSON pages (one, an array, or one a line) or CSV. Raises BillError."""
    first = file.readline(JSON_CHARS_MAX)
    start = first.lstrip("\ufeff \t\r\n")
    if not start:
        rest = file.readline(JSON_CHARS_MAX)
        if not first:
            raise BillError("the file is empty")
        first, start = rest, rest.lstrip()
    if start[:1] not in {"{", "["}:
        yield from table_lines(_lines(first, file), provider)
        return
    if start[:1] == "{" and (page := _json(start)) is not None:
        yield from _numbered(page, 1)
        for number, line in enumerate(file, 2):
            if line.strip():
                yield from _numbered(_whole(line), number)
        return
    text = start + file.read(JSON_CHARS_MAX)
    if len(text) >= JSON_CHARS_MAX:
        raise BillError(f"the JSON is over {JSON_CHARS_MAX} characters; save one page a line")
    pages = _whole(text)
    for page in pages if isinstance(pages, list) else [pages]:
        yield from _numbered(page, 0)


def _lines(first: str, file: TextIO) -> Iterator[str]:
    yield first
    yield from file


def _numbered(page: Any, number: int) -> Iterator[BillLine]:
    try:
        yield from report_lines(page if isinstance(page, dict) else {})
    except BillError as cause:
        raise BillError(f"line {number}: {cause}" if number > 1 else str(cause)) from cause


def _json(text: str) -> Any | None:
    try:
        return json.loads(text, parse_float=Decimal)
    except _NO_JSON:
        return None


def _whole(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except _NO_JSON as cause:
        raise BillError(f"this is no JSON: {cause}") from cause
