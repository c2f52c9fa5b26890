"""Decide which rows and columns a statement reads in place of each table, by who asks. Pure: returns SQL, runs none.

A tenant's rows are filtered, and what is not the tenant's is masked besides: `if(tenant = 'acme', column, default)`.
The filter alone would do where it is always first; but the engine may move a condition of the statement below it, and
a condition that fails on a row of another tenant tells of it. Of a masked row it sees defaults, whatever the order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from llmtrail.core.access.grant import CONTENT_COLUMNS, CONTENT_TABLES
from llmtrail_web.sql_nodes import DATABASE
from llmtrail_web.sql_wall import RefusedSqlError

# The views that tell whose each row is, each with its day: the partition, which stays bare so that days are skipped.
_OWNED: Final[Mapping[str, str]] = {
    "calls": "ingest_day",
    "attempts": "ingest_day",
    "bodies": "ingest_day",
    "ids": "ingest_day",
    "dead_letters": "received_day",
    "stats_minute": "day",
    "alerts": "decided_day",
    "budget_events": "decided_day",
    "price_corrections": "corrected_day",
}
_AUDIT: Final = frozenset({"audit", "audit_data"})
# Tables that describe the schema; of these columns the first two count rows and bytes of all tenants.
_COUNTS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("system", "tables"): (
        *("total_rows", "total_bytes", "total_bytes_uncompressed", "parts", "active_parts", "total_marks"),
        *("lifetime_rows", "lifetime_bytes", "data_paths", "metadata_path", "metadata_modification_time"),
    ),
    ("system", "columns"): ("data_compressed_bytes", "data_uncompressed_bytes", "marks_bytes", "statistics"),
    ("information_schema", "tables"): ("table_rows", "TABLE_ROWS", "data_length", "DATA_LENGTH"),
}
_PLAIN: Final = frozenset(
    {("system", name) for name in ("one", "numbers", "numbers_mt", "zeros", "zeros_mt", "databases", "settings")}
    | {("system", name) for name in ("functions", "formats", "data_type_families", "table_functions", "keywords")}
    | {("system", name) for name in ("table_engines", "build_options", "time_zones", "collations", "documentation")}
    | {("system", name) for name in ("aggregate_function_combinators", "codecs", "licenses", "contributors")}
    | {("information_schema", name) for name in ("columns", "schemata", "views", "key_column_usage", "engines")}
    | {("information_schema", name) for name in ("referential_constraints", "character_sets", "collations")}
)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who asks: the tenant whose rows are shown (None: every tenant's), and whether texts are shown."""

    tenant: str | None
    sees_content: bool = True
    # Whether who did, read and was refused what may be seen: `core/access/rights.py` says so.
    sees_audit: bool = True
    # Conditions on views that the client asks for besides.
    filters: tuple[tuple[str, str], ...] = ()


def rows_sql(
    viewer: Viewer, database: str, table: str, columns: Mapping[str, str], named: frozenset[str] | None = None
) -> str:
    """The statement that stands for a table of these columns and types; "" where it may be read as it is.

    Only columns that are `named` are in it, all where that is None. Raises RefusedSqlError.
    """
    if database == DATABASE:
        if table in _AUDIT and not viewer.sees_audit:
            raise RefusedSqlError(f"{DATABASE}.{table} says what everybody did: read it with a token of no tenant.")
        own = _of_database(viewer, table, columns, named if not viewer.filters else None)
        conditions = [condition for view, condition in viewer.filters if view == table]
        return f"SELECT * FROM ({own}) AS {table} {_where(conditions)}" if conditions else own  # noqa: S608 - judged.
    return "" if viewer.tenant is None else _of_schema(database, table, columns)


def _of_schema(database: str, table: str, columns: Mapping[str, str]) -> str:
    """What describes the database, as a tenant sees it."""
    place = (database.lower(), table.lower())
    if place in _COUNTS:
        nothing = ", ".join(f"NULL AS {name}" for name in _COUNTS[place] if name in columns)
        return f"SELECT * REPLACE ({nothing}) FROM {database}.{table}"  # noqa: S608 - names of our own.
    if place in _PLAIN:
        return ""
    raise RefusedSqlError(f"{database}.{table} cannot be read with a tenant's token: it describes data of all tenants.")


def _of_database(viewer: Viewer, table: str, columns: Mapping[str, str], named: frozenset[str] | None) -> str:
    seen = columns if viewer.sees_content else _without_texts(table, columns)
    # The first column is the day, which costs least where a statement only counts.
    first = next(iter(seen))
    shown = seen if named is None else {name: kind for name, kind in seen.items() if name in named or name == first}
    if viewer.tenant is None:
        names = ", ".join(f"t.`{name}` AS `{name}`" for name in shown)
        return f"SELECT {names} FROM {DATABASE}.`{table}` AS t"  # noqa: S608 - names of our own.
    name = quoted(viewer.tenant)
    if table not in _OWNED:
        raise RefusedSqlError(
            f"{DATABASE}.{table} cannot be read with a tenant's token: it holds rows of all tenants. "
            f"Your own rows are in {', '.join(sorted(_OWNED))}."
        )
    return _masked(table, shown, f"t.tenant = {name}", _OWNED[table])


def _without_texts(table: str, columns: Mapping[str, str]) -> Mapping[str, str]:
    texts = CONTENT_COLUMNS.get(table, frozenset())
    shown = {name: kind for name, kind in columns.items() if name not in texts}
    if table in CONTENT_TABLES or not shown:
        raise RefusedSqlError(f"{DATABASE}.{table} holds texts: read it with a token that has the scope content.")
    return shown


def _masked(table: str, columns: Mapping[str, str], is_own: str, day: str) -> str:
    shown = ", ".join(
        f"{f't.`{name}`' if name == day else _mask(name, kind, is_own)} AS `{name}`" for name, kind in columns.items()
    )
    return f"SELECT {shown} FROM {DATABASE}.{table} AS t WHERE {is_own}"  # noqa: S608 - names of our own, text quoted.


def _mask(name: str, kind: str, is_own: str) -> str:
    masked = f"if({is_own}, t.`{name}`, defaultValueOfArgumentType(t.`{name}`))"
    # A condition takes the dictionary off a column; its type stays what the reference says.
    return f"CAST({masked}, {quoted(kind)})" if "LowCardinality" in kind else masked


def _where(conditions: Sequence[str]) -> str:
    return "WHERE " + " AND ".join(f"({condition}\n)" for condition in conditions)


def quoted(text: str) -> str:
    """A text as a literal of the engine."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
