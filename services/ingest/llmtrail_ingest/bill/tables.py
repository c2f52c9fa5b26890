"""CSV exports as lines: the consoles' own, and a plain one of day, model, amount. One table of formats. Pure.

Sources: OpenAI's dashboard (Usage, Export: costs and activity), Anthropic's Console (Usage and Cost, Export).
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from llmtrail_ingest.bill.lines import BillError, BillLine, added, day_of, in_dollars, nanousd, whole
from llmtrail_ingest.bill.reports import ANTHROPIC, OPENAI, openai_model

# A field beyond this is no cell of an export.
_FIELD_CHARS_MAX: Final = 131_072


@dataclass(frozen=True, slots=True)
class Table:
    """One format: by which columns it is known, and which column holds what."""

    name: str
    provider: str
    known_by: frozenset[str]
    day: str
    model: str = ""
    item: str = ""
    amount: str = ""
    currency: str = ""
    requests: str = ""
    input_tokens: tuple[str, ...] = ()
    output_tokens: tuple[str, ...] = ()


# The first whose columns are all there; a plain one comes last.
TABLES: Final = (
    Table(
        "OpenAI's costs",
        OPENAI,
        frozenset({"start_time", "amount_value", "amount_currency"}),
        day="start_time",
        item="line_item",
        amount="amount_value",
        currency="amount_currency",
    ),
    Table(
        "OpenAI's activity",
        OPENAI,
        frozenset({"start_time", "num_model_requests", "input_tokens"}),
        day="start_time",
        model="model",
        requests="num_model_requests",
        input_tokens=("input_tokens", "input_audio_tokens"),
        output_tokens=("output_tokens", "output_audio_tokens"),
    ),
    Table(
        "Anthropic's costs",
        ANTHROPIC,
        frozenset({"usage_date_utc", "model", "cost_usd"}),
        day="usage_date_utc",
        model="model",
        item="cost_type",
        amount="cost_usd",
    ),
    Table(
        "Anthropic's usage",
        ANTHROPIC,
        frozenset({"usage_date_utc", "model_version", "usage_output_tokens"}),
        day="usage_date_utc",
        model="model_version",
        input_tokens=(
            "usage_input_tokens_no_cache",
            "usage_input_tokens_cache_write_5m",
            "usage_input_tokens_cache_write_1h",
            "usage_input_tokens_cache_read",
        ),
        output_tokens=("usage_output_tokens",),
    ),
    Table(
        "day, model, amount",
        "",
        frozenset({"day", "model", "amount"}),
        day="day",
        model="model",
        amount="amount",
        currency="currency",
        requests="requests",
        input_tokens=("input_tokens",),
        output_tokens=("output_tokens",),
    ),
)


def table_lines(text: Iterable[str], provider: str = "") -> Iterator[BillLine]:
    """Yield the lines of a CSV file, as they are read. Raises BillError, with the number of the line."""
    lines = iter(text)
    header = next(lines, "").lstrip("\ufeff")
    rows = csv.reader(_with_header(header, lines), delimiter=_delimiter(header))
    try:
        names = [name.strip().strip('"').lower() for name in next(rows, [])]
    except csv.Error as cause:
        raise BillError(f"line 1: {cause}") from cause
    table = next((table for table in TABLES if table.known_by <= set(names)), None)
    if table is None:
        known = "; ".join(f"{table.name} ({', '.join(sorted(table.known_by))})" for table in TABLES)
        raise BillError(f"line 1: no export known here has the columns {', '.join(names)[:200]!r}. Known: {known}")
    try:
        for row in rows:
            if any(cell.strip() for cell in row):
                line = _line(table, dict(zip(names, row, strict=False)), provider)
                if line is not None:
                    yield line
    except (BillError, csv.Error) as cause:
        raise BillError(f"line {rows.line_num}: {cause}") from cause


def _with_header(header: str, lines: Iterator[str]) -> Iterator[str]:
    yield header
    yield from lines


def _delimiter(header: str) -> str:
    return max(",;\t", key=header.count)


def _line(table: Table, row: Mapping[str, str], provider: str) -> BillLine | None:
    amount = row.get(table.amount, "").strip() if table.amount else ""
    if table.amount and not amount:
        return None  # OpenAI prints days without costs as rows without an amount.
    in_dollars(row.get(table.currency))
    item = row.get(table.item, "").strip() if table.item else ""
    model = row.get(table.model, "").strip() if table.model else openai_model(item)
    return BillLine(
        day_of(row[table.day]),
        table.provider or row.get("provider", "").strip().lower() or provider,
        model,
        item,
        nanousd(amount) if amount else None,
        whole(row.get(table.requests)) if table.requests else None,
        added(row, table.input_tokens),
        added(row, table.output_tokens),
    )


csv.field_size_limit(_FIELD_CHARS_MAX)
