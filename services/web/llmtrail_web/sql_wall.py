"""Decide whether a statement may run on the read-only SQL endpoint. Pure; judges the engine's own tree of it.

`readonly = 1` alone is not enough (tried on the engine): it still writes files by INTO OUTFILE, reads any file by the
scalar function `file`, runs KILL QUERY, and looks Python objects up. So the tree that the engine's parser makes of the
text (`parseQueryToJSON`) is walked whole, and only what is listed here passes: kinds of nodes with their fields,
functions wherever their name stands, tables, table functions. What is not listed is refused, also what a newer engine
adds. Of a tenant's statement each table is replaced by the rows that the tenant may see (`sql_viewer`).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from llmtrail_web import sql_functions as functions
from llmtrail_web import sql_nodes as nodes
from llmtrail_web.sql_nodes import DATABASE, Node


class RefusedSqlError(ValueError):
    """The statement may not run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A statement that may run: its tree without the clauses of its end, and what these asked for."""

    tree: Node
    fmt: str | None = None
    settings: tuple[tuple[str, str], ...] = ()


class Rows(Protocol):
    """What a statement reads in place of each table, by who asks."""

    @property
    def tenants(self) -> bool:
        """Whether a tenant asks, who may not learn how many rows of others there are."""

    def names(self) -> frozenset[str]:
        """The names of all tables of the database, the tenant's or not."""

    def of(self, database: str, table: str, named: frozenset[str] | None) -> str | None:
        """The name that stands for a table's rows; None: the table as it is. Raises RefusedSqlError.

        `named` are the columns that the statement may read of it; None: any.
        """


def admit(tree: Node, known: frozenset[str], rows: Rows | None = None) -> Admitted:
    """Admit the tree of a statement, which is changed in place. Raises RefusedSqlError.

    `known` are the engine's functions in lower case: a bare name that is one of them may stand for a call. With
    `rows` every table is replaced by what the viewer may see of it.
    """
    kind = tree.get("type")
    if kind not in nodes.STATEMENTS:
        raise RefusedSqlError(f"{_spoken(str(kind))} cannot run here: this endpoint only reads ({nodes.READS}).")
    fmt, settings = _clauses(tree)
    _Walk(known, rows).walk(tree)
    return Admitted(tree, fmt, settings)


def _spoken(kind: str) -> str:
    """Say a node's kind as the statement is called: DropQuery is DROP."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.removesuffix("Query")).upper() or "This statement"


def _clauses(tree: Node) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Take FORMAT and SETTINGS off a statement's end."""
    fmt: str | None = None
    changes: list[Node] = []
    inner = tree.get("query") if tree["type"] == "ExplainQuery" else None
    for node in (tree, inner):
        if isinstance(node, dict):
            name = node.pop("format_ast", None)
            fmt = str(name["name"]) if name and fmt is None else fmt
            changes += _changes(node.pop("settings_ast", None))
            changes += _changes(_last_select(node).pop("settings", None))
    return fmt, tuple((str(change["name"]), _text(change["value"])) for change in changes)


def _changes(clause: Node | None) -> list[Node]:
    if clause is None:
        return []
    if set(clause) - {"type", "changes"}:
        raise RefusedSqlError("SETTINGS takes name = value here, neither DEFAULT nor parameters.")
    changes: list[Node] = clause["changes"]
    return changes


def _last_select(node: Node) -> Node:
    """The SELECT behind which the statement's own SETTINGS stand; an empty node where there is none."""
    while node.get("type") == "SelectWithUnionQuery":
        node = (_listed(node.get("list_of_selects")) or [{}])[-1]
    return node if node.get("type") == "SelectQuery" else {}


def _text(field: Node) -> str:
    """A setting's value as text, as the engine reads settings."""
    value = field.get("value")
    if field.get("field_type") == "Map":
        pairs = (f"{_quoted(pair['value'][0])}:{_quoted(pair['value'][1])}" for pair in value or ())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise RefusedSqlError("SETTINGS takes numbers, words and maps of text here.")


def _quoted(field: Node) -> str:
    text = str(field.get("value"))
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class _Walk:
    """One walk over a tree: every node and field is looked at, none is passed over."""

    def __init__(self, known: frozenset[str], rows: Rows | None) -> None:
        self._known = known
        self._rows = rows
        self._of_tenant = rows is not None and rows.tenants
        # Names that the statement itself gives, and those of functions among them: WITH (x -> x + 1) AS f.
        self._aliases: frozenset[str] = frozenset()
        self._lambdas: frozenset[str] = frozenset()
        self._named: frozenset[str] | None = None
        # Nodes to look at, each with the names that WITH gives to it.
        self._open: list[tuple[Node, frozenset[str]]] = []
        self._checks: Mapping[str, Callable[[Node, frozenset[str]], None]] = {
            "SelectWithUnionQuery": self._no_file,
            "SelectIntersectExceptQuery": self._no_file,
            "SelectQuery": self._select,
            "ExplainQuery": self._explain,
            "ShowTablesQuery": self._show,
            "ShowColumnsQuery": self._show,
            "ShowIndexesQuery": self._show,
            "Identifier": self._identifier,
            "TableIdentifier": self._misplaced,
            "Function": self._function,
            "QueryParameter": self._parameter,
            "TableExpression": self._table_expression,
            "ColumnsApplyTransformer": self._apply,
            "SetQuery": self._options,
        }

    def walk(self, tree: Node) -> None:
        self._named = _named_columns(tree) if self._rows is not None else None
        named = [node for node in _all(tree) if "alias" in node]
        self._aliases = frozenset(str(node["alias"]) for node in named)
        self._lambdas = frozenset(str(node["alias"]) for node in named if node.get("is_lambda_function"))
        self._open.append((tree, frozenset()))
        while self._open:
            node, names = self._open.pop()
            kind = str(node.get("type"))
            fields = nodes.KINDS.get(kind)
            if fields is None:
                raise RefusedSqlError(f"{_spoken(kind)} cannot be used here.")
            unlisted = node.keys() - fields - {"type"}
            if unlisted:
                raise RefusedSqlError(_unlisted(node, sorted(unlisted)))
            check = self._checks.get(kind)
            if check is not None:
                check(node, names)
            if kind not in {"SelectWithUnionQuery", "SelectQuery", "TableExpression", "Function"}:
                self._push(_children(node), names)

    def _push(self, nodes: Iterator[Node], names: frozenset[str]) -> None:
        self._open.extend((node, names) for node in nodes)

    def _no_file(self, node: Node, names: frozenset[str]) -> None:
        if any(node.get(flag) for flag in nodes.OUTPUT.split()):
            raise RefusedSqlError("INTO OUTFILE cannot run here: results go to the client, never to a file.")
        if node["type"] == "SelectWithUnionQuery":
            # The engine lets every SELECT of a UNION see what the first one's WITH names.
            selects = _listed(node.get("list_of_selects"))
            first = _with_names(selects[0]) if selects else frozenset()
            self._push(iter(selects), names | first)

    def _select(self, node: Node, names: frozenset[str]) -> None:
        outer = names
        for element in _listed(node.get("with")):
            if element.get("type") != "WithElement":
                self._push(iter([element]), outer)
                continue
            self._with_name(str(element.get("name")))
            seen = outer | {element["name"]} if node.get("recursive_with") else outer
            self._push(iter([element]), seen)
            outer |= {element["name"]}
        self._push((child for field, child in _fields(node) if field != "with"), outer)

    def _with_name(self, name: str) -> None:
        """Refuse a name that hides a table from a tenant's statement: which of the two is meant must never be open."""
        if self._rows is not None and name in self._rows.names():
            raise RefusedSqlError(f"WITH {name} hides the table {name}; give it another name.")

    def _explain(self, node: Node, _: frozenset[str]) -> None:
        if node.get("kind") not in nodes.EXPLAINS or "query" not in node:
            raise RefusedSqlError(f"{node.get('kind')} cannot run here.")
        if self._of_tenant and node["kind"] not in nodes.TENANTS_EXPLAINS:
            raise RefusedSqlError(f"{node['kind']} counts rows of all tenants; EXPLAIN SYNTAX and AST can be used.")
        if node["query"].get("type") not in {"SelectWithUnionQuery", "SelectIntersectExceptQuery"}:
            raise RefusedSqlError("EXPLAIN of anything but a SELECT cannot run here.")

    def _options(self, node: Node, _: frozenset[str]) -> None:
        """Options of EXPLAIN: the SETTINGS of a statement's end are off the tree by now."""
        for change in node["changes"]:
            if change["name"] not in nodes.EXPLAIN_OPTIONS or not isinstance(change["value"].get("value"), int):
                raise RefusedSqlError(f"EXPLAIN {change['name']} = … cannot be used here.")

    def _show(self, node: Node, _: frozenset[str]) -> None:
        where = node.get("from", {}).get("name") if node["type"] == "ShowTablesQuery" else node.get("database")
        if where not in {None, "", DATABASE, "system", "information_schema", "INFORMATION_SCHEMA"}:
            raise RefusedSqlError(f"There is no database {where!r} here, only {DATABASE}.")

    def _identifier(self, node: Node, _: frozenset[str]) -> None:
        """A bare name may stand for a function: arrayMap(file, …)."""
        name = str(node["name"]).lower()
        if "name_parts" in node or functions.is_admitted(name):
            return
        if name in self._known or name in functions.REFUSED:
            raise RefusedSqlError(
                f"{node['name']} names a function that cannot run here ({_reason(name)}). "
                "Where a column is meant, write the table's name before it, or another alias."
            )

    def _misplaced(self, node: Node, _: frozenset[str]) -> None:
        raise RefusedSqlError(f"The table {node['name']} cannot stand here; write (SELECT ...) with its rows.")

    def _parameter(self, node: Node, _: frozenset[str]) -> None:
        if node["param_type"] == "Identifier":
            raise RefusedSqlError(f"{{{node['name']}:Identifier}} cannot be used here: write the name.")

    def _apply(self, node: Node, _: frozenset[str]) -> None:
        if "func_name" in node:
            self._bare_call(str(node["func_name"]))

    def _bare_call(self, name: str) -> None:
        if name.lower() in functions.MEMBERSHIP:
            raise RefusedSqlError(f"{name} cannot be passed by its name here; write x -> x IN …")
        self._call(name)

    def _call(self, name: str) -> None:
        if not functions.is_admitted(name) and name not in self._lambdas:
            raise RefusedSqlError(f"The function {name[:80]} cannot run here: it {_reason(name)}.")
        if self._of_tenant and name.lower() in functions.POSITIONAL:
            raise RefusedSqlError(f"The function {name} cannot run here: it counts rows as they are stored, of all.")

    def _function(self, node: Node, names: frozenset[str]) -> None:
        name = str(node["name"])
        if node.get("kind", "ORDINARY_FUNCTION") not in nodes.FUNCTION_KINDS:
            raise RefusedSqlError(f"{name} cannot be used as {node['kind']} here.")
        self._call(name)
        arguments = _listed(node.get("arguments"))
        if name.lower() in functions.MEMBERSHIP and len(arguments) == 2 and arguments[1]["type"] in nodes.NAMED:
            member = self._member_of(arguments[1], names)
            # The name of what replaces a table is not judged: it is ours.
            arguments, node["arguments"] = [arguments[0]], {**node["arguments"], "children": [arguments[0], member]}
            self._push(iter(arguments), names)
            self._push((child for field, child in _fields(node) if field != "arguments"), names)
            return
        self._push(_children(node), names)

    def _member_of(self, node: Node, names: frozenset[str]) -> Node:
        """What stands behind IN as a bare name: a name that the statement gives, or a table."""
        parts = [str(part) for part in node.get("name_parts", [node["name"]])]
        is_table = self._rows is None or parts[0] in self._rows.names()
        if len(parts) == 1 and (parts[0] in names or (parts[0] in self._aliases and not is_table)):
            return node
        if len(parts) > 1 and parts[0].lower() not in {DATABASE, "system", "information_schema"}:
            cure = f"write (SELECT ...) with its rows, or the column in brackets: [{parts[-1]}]"
            raise RefusedSqlError(f"{node['name']} behind IN may be a table: {cure}.")
        rows = self._table(parts, names, None)
        return node if rows is None else {"type": "Identifier", "name": rows}

    def _table_expression(self, node: Node, names: frozenset[str]) -> None:
        named = node.get("database_and_table_name")
        if named is not None:
            if named["type"] != "TableIdentifier" or named.keys() - nodes.KINDS["TableIdentifier"] - {"type"}:
                raise RefusedSqlError("A table's name cannot be a parameter here: write the name.")
            self._replace(node, named, names)
        function = node.get("table_function")
        if function is not None:
            self._table_function(function, names)
        skipped = {"database_and_table_name", "table_function"}
        self._push((child for field, child in _fields(node) if field not in skipped), names)

    def _replace(self, node: Node, named: Node, names: frozenset[str]) -> None:
        parts = [str(part) for part in named.get("name_parts", [named["name"]])]
        rows = self._table(parts, names, self._named)
        if rows is None:
            return
        if "sample_size" in node or node.get("final"):
            raise RefusedSqlError("SAMPLE and FINAL need a table; with this token read views, which show the latest.")
        alias = named.get("alias", parts[-1])
        node["database_and_table_name"] = {"type": "TableIdentifier", "name": rows, "alias": alias}

    def _table(self, parts: list[str], names: frozenset[str], named: frozenset[str] | None) -> str | None:
        """Check a table's name; return the name of what replaces it, None where nothing does."""
        if len(parts) == 1 and parts[0] in names:
            return None
        database, table = (DATABASE, parts[0]) if len(parts) == 1 else (parts[0], parts[-1])
        if len(parts) > 2 or not nodes.NAME.fullmatch(table):
            raise RefusedSqlError(f"{'.'.join(parts)[:200]} is no table here.")
        check_table(database, table)
        return None if self._rows is None else self._rows.of(database, table, named)

    def _table_function(self, node: Node, names: frozenset[str]) -> None:
        name = str(node.get("name")).lower()
        if name not in functions.TABLE_FUNCTIONS:
            raise RefusedSqlError(
                f"The function {node.get('name')} cannot run here: it reaches outside the database (files, network, "
                f"process) or past it. Table functions here are {', '.join(sorted(functions.TABLE_FUNCTIONS))}."
            )
        if node["type"] != "Function" or node.keys() - nodes.TABLE_FUNCTION:
            raise RefusedSqlError(f"{node['name']} takes arguments alone here.")
        arguments = _listed(node.get("arguments"))
        if name == "format" and not (arguments and nodes.TEXT_FORMATS.fullmatch(_word(arguments[0]))):
            raise RefusedSqlError("format() reads JSON, CSV, TSV, Values, LineAsString and RawBLOB here.")
        # format(name, data) has no text of columns.
        place = nodes.STRUCTURED.get(name) if name != "format" or len(arguments) > 2 else None
        if place is not None and place < len(arguments):
            _check_structure(name, arguments[place])
        self._push(iter(arguments), names)


def check_table(database: str, table: str) -> None:
    """Raise RefusedSqlError for a table that nobody may read here."""
    if database == DATABASE:
        return
    known = {"system": nodes.SYSTEM_TABLES, "information_schema": nodes.INFORMATION_TABLES}.get(
        database.lower(), frozenset()
    )
    if table.lower() not in known:
        raise RefusedSqlError(f"{database}.{table} cannot be read here; see docs/reference/sql.md.")


def _check_structure(function: str, argument: Node) -> None:
    """Refuse columns of a table function that are described by more than names and types."""
    field = argument.get("value", {}) if argument["type"] == "Literal" else {}
    text = str(field.get("value")) if field.get("field_type") == "String" else ""
    is_column = argument["type"] == "Literal" or (function == "values" and argument["type"] == "Function")
    if not is_column or nodes.DESCRIBES_MORE.search(text):
        raise RefusedSqlError(f"{function}() takes its columns as a text of names and types here, without DEFAULT.")


def _word(argument: Node) -> str:
    if argument["type"] == "Literal":
        return str(argument["value"].get("value"))
    return str(argument.get("name", ""))


def _reason(name: str) -> str:
    return functions.REFUSED.get(name.lower(), "is none that this endpoint knows to be harmless")


def _unlisted(node: Node, fields: list[str]) -> str:
    if "settings" in fields or "settings_ast" in fields:
        changes = (node.get("settings") or node.get("settings_ast") or {}).get("changes") or [{}]
        return f"SETTINGS {changes[0].get('name', '')} cannot stand in an inner query here; put it at the end."
    if "out_file" in fields:
        return "INTO OUTFILE cannot run here: results go to the client, never to a file."
    if "children" in fields:
        return f"{_spoken(str(node['type']))} cannot be a parameter here: write the name."
    return f"{', '.join(fields).replace('_', ' ')} of {_spoken(str(node['type']))} cannot be used here."


def _fields(node: Node) -> Iterator[tuple[str, Node]]:
    """The nodes in a node, each with the name of its field."""
    for field, value in node.items():
        if isinstance(value, dict) and "type" in value:
            yield field, value
        elif isinstance(value, list):
            yield from ((field, one) for one in value if isinstance(one, dict) and "type" in one)


def _listed(node: Node | None) -> list[Node]:
    """The nodes of a list, of which nothing else is looked at."""
    if node is None:
        return []
    if node.keys() - nodes.KINDS["ExpressionList"] - {"type"} or node["type"] != "ExpressionList":
        raise RefusedSqlError(f"{_spoken(str(node['type']))} cannot be used here.")
    children: list[Node] = node.get("children", [])
    return children


def _children(node: Node) -> Iterator[Node]:
    return (child for _, child in _fields(node))


def _with_names(select: Node) -> frozenset[str]:
    elements = _listed(select.get("with"))
    return frozenset(str(one["name"]) for one in elements if one.get("type") == "WithElement")


def _all(tree: Node) -> Iterator[Node]:
    open_nodes = [tree]
    while open_nodes:
        node = open_nodes.pop()
        yield node
        open_nodes.extend(_children(node))


def _named_columns(tree: Node) -> frozenset[str] | None:
    """The names that a statement may mean columns by; None where it means all that there are, as `*` does."""
    found: set[str] = set()
    for node in _all(tree):
        if node["type"] in nodes.ALL_COLUMNS:
            return None
        if node["type"] == "Identifier":
            parts = [str(part) for part in node.get("name_parts", [node["name"]])]
            ends = range(1, len(parts) + 1)
            found |= {".".join(parts[start:end]) for end in ends for start in range(end)}
    return frozenset(found)
