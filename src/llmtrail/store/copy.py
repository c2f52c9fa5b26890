"""Copy tables of one store to another, a range of the sorting key at a time. Knows no order of work and no progress.

Rows are read as they stand (`FINAL`): merges, which may come at any time, change nothing of what is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle

# Rows whose sizes are told in one sum: of the largest rows, 8 MB each, so many are 500 MB.
SEGMENT_ROWS = 64
# Rows that the engine holds at once where it makes text of whole rows: its usual 65,000 of 30 kB would be 2 GB.
_BLOCK_ROWS = 1_024
# Native is ClickHouse's own: every type arrives as it left.
_FORMAT = "Native"
# What cannot be read back, or is made from other columns.
_NOT_STORED = frozenset({"EPHEMERAL", "ALIAS", "MATERIALIZED"})
_UNKNOWN_TABLE = frozenset({60, 81})  # no such table, no such database

# Tables to which a store adds rows by itself, whoever asks it for anything, with the column that tells them apart: what
# is copied there stands among others.
_SHARED = {"audit_data": "audit_id"}

# Values of a key, as they are bound to a query.
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that holds data: its partition's day ("" for none), its sorting key below the day, with types."""

    name: str
    day: str
    key: tuple[tuple[str, str], ...]

    @property
    def is_shared(self) -> bool:
        """Whether rows of the other store's own may stand beside those that are copied."""
        return self.name in _SHARED

    @property
    def key_sql(self) -> str:
        """Return the key as one expression."""
        return f"tuple({', '.join(expression for expression, _ in self.key)})"


@dataclass(frozen=True, slots=True)
class Range:
    """Rows of one table and day between two keys, both within. `day` is None where the table has none."""

    table: Table
    day: date | None
    first: Key
    last: Key
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class DayCount:
    """What a table holds of one day."""

    table: str
    day: date | None
    rows: int
    digest: int  # of every row's every column, in no order


def tables(handle: Handle) -> list[Table]:
    """Return every table that holds data, `calls_data` last: a call that stands there has all its other rows."""
    rows = handle.query(
        "SELECT name, partition_key, sorting_key FROM system.tables "
        "WHERE database = 'llmtrail' AND engine LIKE '%MergeTree' AND name != 'schema_migrations'"
    )
    found = [_table(handle, *row) for row in rows]
    return sorted(found, key=lambda table: (table.name == "calls_data", table.name))


def _table(handle: Handle, name: str, day: str, sorting_key: str) -> Table:
    expressions = [expression for expression in _split(sorting_key) if expression != day]
    told = handle.query(f"DESCRIBE (SELECT {', '.join(expressions)} FROM llmtrail.{name})")  # noqa: S608 - its own words
    return Table(name, day, tuple(_bindable(one, str(row[1])) for one, row in zip(expressions, told, strict=True)))


def _bindable(expression: str, kind: str) -> tuple[str, str]:
    """Return an expression of the same order whose values can be bound, and their type."""
    bare = kind.removeprefix("LowCardinality(").removesuffix(")") if kind.startswith("LowCardinality(") else kind
    if bare.startswith("DateTime64"):
        return f"toUnixTimestamp64Nano({expression})", "Int64"
    if bare.startswith("DateTime"):
        return f"toUnixTimestamp({expression})", "UInt32"
    return expression, bare


def _split(sorting_key: str) -> list[str]:
    """Return the expressions of a key: commas within brackets are theirs."""
    parts, depth = [""], 0
    for character in sorting_key:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def day_counts(handle: Handle, table: Table, *, digest: bool) -> list[DayCount]:
    """Return what a table holds, day by day; nothing where the store has no such table."""
    day = table.day or "NULL"
    sums = f"sum(cityHash64(toString(tuple({_columns(handle, table)}))))" if digest else "0"
    try:
        rows = handle.query(
            f"SELECT {day} AS day, count(), {sums} FROM llmtrail.{table.name} FINAL "  # noqa: S608
            f"GROUP BY day ORDER BY day SETTINGS max_block_size = {_BLOCK_ROWS}"
        )
    except StoreError as error:
        if error.code in _UNKNOWN_TABLE:
            return []
        raise
    return [DayCount(table.name, day, int(count), int(total)) for day, count, total in rows if count]


def segments(handle: Handle, table: Table, day: date | None) -> list[Range]:
    """Return the rows of one day as short ranges in order, with their sizes in memory."""
    where, bound = _of_day(table, day)
    # Sizes are taken before rows are sorted, so that keys are sorted and not whole rows.
    sized = f"SELECT {table.key_sql} AS key, byteSize(*) AS size FROM llmtrail.{table.name} FINAL WHERE {where}"  # noqa: S608
    numbered = f"SELECT key, size, row_number() OVER (ORDER BY key) AS number FROM ({sized})"  # noqa: S608
    rows = handle.query(
        f"SELECT min(key), max(key), count(), sum(size) FROM ({numbered}) "  # noqa: S608
        f"GROUP BY intDiv(number - 1, {SEGMENT_ROWS}) ORDER BY min(key) SETTINGS max_block_size = {_BLOCK_ROWS}",
        bound,
    )
    return [Range(table, day, tuple(first), tuple(last), int(count), int(size)) for first, last, count, size in rows]


def read_range(handle: Handle, wanted: Range) -> bytes:
    """Return the rows of a range, packed."""
    where, bound = _of_range(wanted)
    sql = f"SELECT {_columns(handle, wanted.table)} FROM llmtrail.{wanted.table.name} FINAL WHERE {where} "  # noqa: S608
    return handle.query_bytes(f"{sql} ORDER BY {wanted.table.key_sql}", _FORMAT, bound)


def write_range(handle: Handle, written: Range, columns: Sequence[str], packed: bytes, token: str) -> None:
    """Insert the packed rows of a range; the same token again adds nothing. Durable when it returns."""
    table = f"llmtrail.{written.table.name} ({', '.join(columns)})"
    handle.insert_packed(table, _FORMAT, packed, settings={"insert_deduplication_token": token})


def count_copied(here: Handle, there: Handle, wanted: Range) -> int:
    """Return how many rows of a range that stands in one store another one holds; in a shared table, no others."""
    where, bound = _of_range(wanted)
    if (name := _SHARED.get(wanted.table.name)) is not None:
        ids = here.query(f"SELECT DISTINCT {name} FROM llmtrail.{wanted.table.name} FINAL WHERE {where}", bound)  # noqa: S608
        where, bound = f"{where} AND {name} IN {{ids:Array(String)}}", bound | {"ids": [row[0] for row in ids]}
    return int(there.query(f"SELECT count() FROM llmtrail.{wanted.table.name} FINAL WHERE {where}", bound)[0][0])  # noqa: S608


def stored_columns(handle: Handle, table: Table) -> list[str]:
    """Return the names of the columns that are stored, quoted, in the table's order."""
    rows = handle.query(
        "SELECT name, default_kind FROM system.columns WHERE database = 'llmtrail' AND table = {table:String} "
        "ORDER BY position",
        {"table": table.name},
    )
    return [f"`{name}`" for name, kind in rows if kind not in _NOT_STORED]


def _columns(handle: Handle, table: Table) -> str:
    return ", ".join(stored_columns(handle, table)) or "1"


def _of_day(table: Table, day: date | None) -> tuple[str, dict[str, Any]]:
    return ("1", {}) if day is None else (f"{table.day} = {{day:Date}}", {"day": day})


def _of_range(wanted: Range) -> tuple[str, dict[str, Any]]:
    where, bound = _of_day(wanted.table, wanted.day)
    for name, values in (("first", wanted.first), ("last", wanted.last)):
        bound |= {f"{name}{place}": value for place, value in enumerate(values)}
    first, last = (
        f"tuple({', '.join(f'{{{name}{place}:{kind}}}' for place, (_, kind) in enumerate(wanted.table.key))})"
        for name in ("first", "last")
    )
    return f"{where} AND {wanted.table.key_sql} >= {first} AND {wanted.table.key_sql} <= {last}", bound
