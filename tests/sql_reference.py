"""Write docs/reference/sql.md from the schema itself. Run it after a migration: `python tests/sql_reference.py`."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from llmtrail.store.migrate import read_migrations

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "sql.md"

_HEAD = """<!-- Written by tests/sql_reference.py from schemas/clickhouse: change the comments there. -->

# SQL

Database `llmtrail`. Query the views: they show one row for each thing, always the latest revision. The tables behind
them (`…_data`) hold revisions that a merge has not dropped yet.

- Unknown is NULL, never 0. Sums and averages leave NULL out; `countIf(cost_nanousd IS NULL)` counts what has no price.
- Money is in nano-dollars: `sum(cost_nanousd) / 1e9` is dollars. Times are UTC.
- Every view but `dead_letters` and `ids` has `request_id`; `ids` finds the calls of any other id. The fastest way to a
  whole request is `llmtrail show`. In SQL, a bound on `ingest_day` or `started_at` spares reading the rest.
- Rows leave by the day they were ingested: bodies and dead letters after 90 days, all else after 400.
- Content stands in `bodies` as JSON text: `JSONExtractString(output, 'content')`. Join it by `call_id` and
  `ingest_day`.
- The port reads only. Refused: everything but SELECT, WITH, SHOW, DESCRIBE, EXISTS and EXPLAIN; INTO OUTFILE; functions
  that reach files, networks or the process; several statements at once; system tables that tell of other sessions.
"""


@dataclass(frozen=True)
class Column:
    """One column of a view or table."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True)
class Relation:
    """One view or table."""

    kind: str
    name: str
    comment: str
    columns: tuple[Column, ...]


_CREATE = re.compile(
    r"CREATE (?:OR REPLACE )?(TABLE|VIEW) (?:IF NOT EXISTS )?llmtrail\.(\w+)\n\(\n(.*?)\n\)\n(.*)", re.DOTALL
)
_COLUMN = re.compile(r"^  `?([\w.]+)`? (.+?) (?:DEFAULT \S+ )?COMMENT '((?:[^']|'')*)'", re.MULTILINE)
_ADD = re.compile(
    r"ALTER TABLE llmtrail\.(\w+)\s+ADD COLUMN (?:IF NOT EXISTS )?(\w+) (.+?)"
    r"(?: DEFAULT \S+)? COMMENT '((?:[^']|'')*)'.*? AFTER (\w+)$",
    re.DOTALL,
)
_TELL = re.compile(r"ALTER TABLE llmtrail\.(\w+)\s+COMMENT COLUMN IF EXISTS (\w+) '((?:[^']|'')*)'$")
_COMMENT = re.compile(r"COMMENT '((?:[^']|'')*)'$")


def relations() -> list[Relation]:
    """Return every view and table of the migrations, views first."""
    found: dict[str, Relation] = {}
    for migration in read_migrations():
        for statement in migration.statements:
            match = _CREATE.match(statement)
            if statement.startswith("ALTER"):
                _grow(found, statement)
            elif match is not None:
                kind, name, body, tail = match.groups()
                columns = tuple(Column(n, t, c.replace("''", "'")) for n, t, c in _COLUMN.findall(body))
                comment = _COMMENT.search(tail.strip())
                assert comment is not None, f"{name} has no COMMENT"
                found[name] = Relation(kind, name, comment.group(1).replace("''", "'"), columns)
    return sorted(found.values(), key=lambda one: one.kind == "TABLE")


def _grow(found: dict[str, Relation], statement: str) -> None:
    """Put an added column in its place, or another comment on one that is there."""
    if told := _TELL.match(statement.strip()):
        table, name, comment = told.groups()
        found[table] = replace(
            found[table],
            columns=tuple(
                replace(one, comment=comment.replace("''", "'")) if one.name == name else one
                for one in found[table].columns
            ),
        )
        return
    match = _ADD.match(statement.strip())
    assert match is not None, f"write it as ADD COLUMN … COMMENT '…' … AFTER …: {statement}"
    table, name, kind, comment, before = match.groups()
    columns = list(found[table].columns)
    place = [column.name for column in columns].index(before) + 1
    columns.insert(place, Column(name, kind, comment.replace("''", "'")))
    found[table] = replace(found[table], columns=tuple(columns))


def page() -> str:
    """Return the whole page."""
    lines = [_HEAD]
    for one in relations():
        lines += [f"## {one.name}\n", f"{one.kind.capitalize()}. {one.comment}\n"]
        lines += ["| column | type | what it tells |", "| --- | --- | --- |"]
        lines += [f"| `{column.name}` | {column.type} | {column.comment} |" for column in one.columns]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
