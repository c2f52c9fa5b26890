"""Parse statements with the engine, judge them, and print what runs. Remembers what it judged.

What runs is what was judged: the text itself where it is taken whole; else the tree as the engine prints it, after the
engine parsed that print back to the same tree.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle
from llmtrail_web import sql_functions
from llmtrail_web.sql_nodes import DATABASE, Node
from llmtrail_web.sql_settings import Filter, RefusedSettingError
from llmtrail_web.sql_viewer import Viewer, rows_sql
from llmtrail_web.sql_wall import Admitted, RefusedSqlError, admit, check_table

# Statements that are remembered: dashboards ask the same ones again and again.
REMEMBERED_MAX: Final = 512
# Longer texts are parsed each time.
_REMEMBERED_CHARS_MAX: Final = 65_536
# A format at the end, as drivers append it.
_FORMAT_AT_END: Final = re.compile(r"(?P<sql>.*\S)\s+FORMAT\s+(?P<fmt>\w+)", re.IGNORECASE | re.DOTALL)
# What may hide where a statement ends from whoever appends to it: such a text is printed anew.
_COMMENTED: Final = re.compile(r";|--|/\*|#|//")
# Statements that the engine does not write as a tree: only these forms are read, as wholes.
_OF_TABLE: Final = re.compile(
    r"\s*(?P<verb>DESCRIBE|DESC|EXISTS|SHOW\s+CREATE)(?:\s+(?P<what>TABLE|VIEW))?\s+"
    r"(?:(?P<dq>[`\"]?)(?P<database>llmtrail|system|information_schema)(?P=dq)\s*\.\s*)?"
    r"(?P<tq>[`\"]?)(?P<table>\w+)(?P=tq)"
    r"(?:\s+FORMAT\s+(?P<fmt>\w+))?[\s;]*",
    re.IGNORECASE,
)
_OF_DATABASE: Final = re.compile(r"\s*SHOW\s+CREATE\s+DATABASE\s+([`\"]?)llmtrail\1[\s;]*", re.IGNORECASE)
_DESCRIBED: Final = re.compile(
    r"\s*DESC(?:RIBE)?(?:\s+TABLE)?\s*(?P<rows>\(.*\)|\w+\s*\(.*\))(?:\s+FORMAT\s+(?P<fmt>\w+))?[\s;]*",
    re.IGNORECASE | re.DOTALL,
)
_PARSE: Final = "SELECT {nonce:String}, parseQueryToJSON({sql:String})"
_PARSE_BOTH: Final = "SELECT {nonce:String}, parseQueryToJSON({sql:String}), parseQueryToJSON({bare:String})"
_PRINT: Final = (
    "WITH formatQueryFromJSON({tree:String}) AS printed SELECT {nonce:String}, printed, parseQueryToJSON(printed)"
)
_FUNCTIONS: Final = "SELECT {nonce:String}, groupArray(lower(name)) FROM system.functions"
_COLUMNS: Final = (
    "SELECT {nonce:String}, groupArray((name, type)) FROM (SELECT name, type FROM system.columns "
    "WHERE lower(database) = {database:String} AND lower(table) = {table:String} ORDER BY position)"
)
_TABLES: Final = "SELECT {nonce:String}, groupArray(name) FROM system.tables WHERE database = {database:String}"
# How a node's sign is written says nothing of what it means: `a ? b : c` is printed as if(a, b, c).
_OPERATOR: Final = b',"is_operator":true'
_NOT_WRITTEN: Final = re.compile(r"AST node of type '(?P<kind>[A-Za-z ]+)")
_SCOPE: Final = re.compile(r":? In scope SELECT .*", re.DOTALL)
_BAD_ARGUMENTS: Final = 36
_UNKNOWN_FUNCTION: Final = 46
_UNKNOWN_TABLE: Final = 60
_TOO_DEEP: Final = "The statement is nested too deeply, or holds bytes that are no text."


# Who sees all there is: the tables stand in the statement as they are.
EVERYTHING: Final = Viewer(None)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that may run: the text without FORMAT and SETTINGS at its end, and what these asked for."""

    sql: str
    fmt: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


class Statements:
    """The judge of one endpoint's statements. Safe for use from several threads."""

    def __init__(self, session: Callable[[], Handle], make_random: Callable[[int], bytes]) -> None:
        """Take a way to a read-only session, in which text is parsed as a value and never run."""
        self._session = session
        self._random = make_random
        self._judged: OrderedDict[tuple[str, Viewer], Statement] = OrderedDict()
        self._columns: dict[tuple[str, str], Mapping[str, str]] = {}
        self._judging = threading.Lock()

    def admitted(self, sql: str, viewer: Viewer = EVERYTHING) -> Statement:
        """Return the statement as it may run. Raises RefusedSqlError, and StoreError where the engine cannot parse."""
        key = (sql, viewer)
        with self._judging:
            known = self._judged.get(key)
            if known is not None:
                self._judged.move_to_end(key)
                return known
        try:
            statement = self._judge(sql, viewer)
        except RecursionError as error:
            raise RefusedSqlError(_TOO_DEEP) from error
        if max(len(sql), len(statement.sql)) <= _REMEMBERED_CHARS_MAX:
            with self._judging:
                self._judged[key] = statement
                while len(self._judged) > REMEMBERED_MAX:
                    self._judged.popitem(last=False)
        return statement

    def filters(self, filters: Iterable[Filter]) -> tuple[tuple[str, str], ...]:
        """Return the views and conditions of filters, judged where they are read. Raises RefusedSettingError."""
        tables = self.tables()
        for one in filters:
            if one.table not in tables:
                raise RefusedSettingError(f"additional_table_filters is refused: there is no table {one.table!r}.")
        return tuple((one.table, one.condition) for one in filters)

    def condition(self, condition: str, viewer: Viewer) -> str:
        """Return a filter's condition as it may run: what it reads itself is what the viewer may see."""
        tree = self._parsed(f"SELECT ({condition}\n)")
        selects = tree.get("list_of_selects", {}).get("children", [{}])
        is_one = len(selects) == 1 and selects[0].keys() == {"type", "select"}
        if not is_one or len(selects[0]["select"]["children"]) != 1:
            raise RefusedSqlError("A filter is one condition.")
        rows = None if viewer == EVERYTHING else _ViewerRows(self, viewer)
        printed = self._printed(admit(tree, self._known, rows)).removeprefix("SELECT ")
        return printed if rows is None else rows.put_into(printed)

    def tables(self) -> frozenset[str]:
        """The names of the database's tables and views."""
        return frozenset(str(name) for name in self._ask(_TABLES, database=DATABASE)[0])

    def _judge(self, sql: str, viewer: Viewer) -> Statement:
        if matched := _OF_TABLE.fullmatch(sql):
            return _of_table(matched)
        if _OF_DATABASE.fullmatch(sql):
            return Statement(f"SHOW CREATE DATABASE {DATABASE}")
        if described := _DESCRIBED.fullmatch(sql):
            return self._described(described, viewer)
        whole = sql.rstrip(" \t\r\n;")
        if viewer == EVERYTHING:
            return self._judged_formatted(whole) or self._judged_whole(whole)
        rows = _ViewerRows(self, viewer)
        admitted = admit(self._parsed(whole), self._known, rows)
        return Statement(rows.put_into(self._printed(admitted)), admitted.fmt, admitted.settings)

    def _judged_whole(self, sql: str) -> Statement:
        admitted = admit(self._parsed(sql), self._known)
        if admitted.fmt is None and not admitted.settings and not _COMMENTED.search(sql):
            return Statement(sql)
        return Statement(self._printed(admitted), admitted.fmt, admitted.settings)

    def _judged_formatted(self, sql: str) -> Statement | None:
        """Judge a statement with a format at its end, as drivers append it, in one step; None where it is none such."""
        matched = _FORMAT_AT_END.fullmatch(sql)
        if matched is None or _COMMENTED.search(sql):
            return None
        try:
            trees = self._ask(_PARSE_BOTH, sql=sql, bare=matched["sql"])
        except StoreError:
            return None  # those words are no clause, or belong to another statement
        whole, bare = (admit(_decoded(tree), self._known) for tree in trees)
        is_same = whole.fmt == matched["fmt"] and not whole.settings and whole.tree == bare.tree
        return Statement(matched["sql"], whole.fmt) if is_same and bare == Admitted(bare.tree) else None

    def _described(self, matched: "re.Match[str]", viewer: Viewer) -> Statement:
        rows = matched["rows"]
        inner = self._judge(rows if rows.startswith("(") else f"SELECT * FROM {rows}", viewer)  # noqa: S608 - judged.
        if inner.fmt or inner.settings:
            raise RefusedSqlError("FORMAT and SETTINGS stand behind the brackets of DESCRIBE.")
        return Statement(f"DESCRIBE TABLE ({inner.sql}\n)", matched["fmt"])

    @cached_property
    def _known(self) -> frozenset[str]:
        """The engine's functions, its own and those that somebody added."""
        return frozenset(self._ask(_FUNCTIONS)[0]) | sql_functions.REFUSED.keys()

    def _parsed(self, sql: str) -> Node:
        if not sql.strip():
            raise RefusedSqlError("There is no statement.")
        try:
            return _decoded(self._ask(_PARSE, sql=sql)[0])
        except StoreError as error:
            raise _why_unparsed(error) from error

    def _printed(self, admitted: Admitted) -> str:
        wanted = msgspec.json.encode(admitted.tree)
        printed, back = self._ask(_PRINT, tree=wanted.decode())
        if _decoded(_bare(back.encode())) != _decoded(_bare(wanted)):
            raise RefusedSqlError("The engine prints this statement in another sense; write it more plainly.")
        return str(printed)

    def _ask(self, question: str, **values: str) -> Sequence[Any]:
        """Ask the engine; its answer bears what only this question knew, so it is no other's."""
        nonce = self._random(16).hex()
        answer = self._session().query(question, {"nonce": nonce, **values})
        if len(answer) != 1 or answer[0][0] != nonce:
            raise StoreError("The engine answered another question; try again.")
        return answer[0][1:]

    def columns(self, database: str, table: str) -> Mapping[str, str]:
        """The columns of a table with their types. Raises StoreError where there is none."""
        place = (database.lower(), table.lower())
        with self._judging:
            if place in self._columns:
                return self._columns[place]
        columns = dict(self._ask(_COLUMNS, database=place[0], table=place[1])[0])
        if not columns:
            raise StoreError(f"Unknown table {database}.{table}.", _UNKNOWN_TABLE)
        with self._judging:
            self._columns[place] = columns
        return columns

    def name_for_rows(self) -> str:
        """A name that no statement holds."""
        return f"rows_{self._random(16).hex()}"


class _ViewerRows:
    """What one viewer's statement reads: the names that it holds for now, and what stands in their place."""

    def __init__(self, statements: Statements, viewer: Viewer) -> None:
        self._statements = statements
        self._viewer = viewer
        self.tenants = viewer.tenant is not None
        self._texts: dict[str, str] = {}

    @cached_property
    def _names(self) -> frozenset[str]:
        return self._statements.tables()

    def names(self) -> frozenset[str]:
        return self._names

    def of(self, database: str, table: str, named: frozenset[str] | None) -> str | None:
        plain = replace(self._viewer, filters=())
        filters = [
            (view, self._statements.condition(condition, plain))
            for view, condition in self._viewer.filters
            if (DATABASE, view) == (database, table)
        ]
        viewer = replace(plain, filters=tuple(filters))
        text = rows_sql(viewer, database, table, self._statements.columns(database, table), named)
        if not text:
            return None
        name = self._statements.name_for_rows()
        self._texts[name] = f"({text})"
        return name

    def put_into(self, printed: str) -> str:
        """Put the rows in the place of their names."""
        for name, text in self._texts.items():
            printed = printed.replace(name, text)
        return printed


def _of_table(matched: "re.Match[str]") -> Statement:
    """DESCRIBE, EXISTS and SHOW CREATE of one table, written anew from its parts."""
    database, table = (matched["database"] or DATABASE).lower(), matched["table"]
    check_table(database, table)
    verb = " ".join(matched["verb"].upper().split()).removesuffix("RIBE")
    verb = "DESCRIBE" if verb == "DESC" else verb
    what = "TABLE" if verb == "DESCRIBE" else (matched["what"] or "TABLE").upper()
    return Statement(f"{verb} {what} {database}.`{table}`", matched["fmt"])


def _bare(tree: bytes) -> bytes:
    """A tree without what says only how it was written."""
    return tree.replace(_OPERATOR, b"")


def _decoded(tree: str | bytes) -> Node:
    try:
        return json_decode.decode(tree, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise RefusedSqlError(_TOO_DEEP) from error


def _why_unparsed(error: StoreError) -> Exception:
    """Say what cannot be parsed without what we wrapped around it."""
    text = _SCOPE.sub("", str(error))
    if error.code == _UNKNOWN_FUNCTION and "parseQueryToJSON" in text:
        return StoreError("SQL needs ClickHouse 26.4 or later, which parses statements before they run; update it.")
    if error.code == _BAD_ARGUMENTS and (kind := _NOT_WRITTEN.search(text)):
        spoken = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind["kind"]).removesuffix(" Query").upper()
        return RefusedSqlError(f"{spoken} cannot run here, or not in this form; see docs/guide/sql.md.")
    if error.code == _BAD_ARGUMENTS:
        return RefusedSqlError("This statement cannot run here: this endpoint only reads.")
    return StoreError(text, error.code)
