"""What is on no list is refused, wherever it stands in a statement's tree: a kind, a field, a function, a table."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail_web.sql_functions import REFUSED
from llmtrail_web.sql_nodes import Node
from llmtrail_web.sql_wall import RefusedSqlError, admit


def _list(*children: Node) -> Node:
    return {"type": "ExpressionList", "children": list(children)}


def _call(name: str, *arguments: Node) -> Node:
    return {"type": "Function", "name": name, "arguments": _list(*arguments)}


def _select(select: Node, **clauses: Node) -> Node:
    query = {"type": "SelectQuery", "select": _list(select), **clauses}
    return {"type": "SelectWithUnionQuery", "union_mode": "UNION_DEFAULT", "list_of_selects": _list(query)}


def _from(**source: Any) -> Node:
    element = {"type": "TablesInSelectQueryElement", "table_expression": {"type": "TableExpression", **source}}
    return {"type": "TablesInSelectQuery", "children": [element]}


COLUMN: Node = {"type": "Identifier", "name": "feature"}
ONE: Node = {"type": "Literal", "value": {"field_type": "UInt64", "value": 1}}
LAMBDA: Node = {**_call("lambda", _call("tuple", COLUMN), _call("upper", COLUMN)), "is_lambda_function": True}
TABLE: Node = {"type": "TableIdentifier", "name": "llmtrail.calls", "name_parts": ["llmtrail", "calls"]}
INNER = _select(_call("arrayMap", LAMBDA, _call("array", COLUMN)), tables=_from(database_and_table_name=TABLE))
STAR: Node = {
    "type": "Asterisk",
    "transformers": {
        "type": "ColumnsTransformerList",
        "children": [{"type": "ColumnsApplyTransformer", "func_name": "toString"}],
    },
}
ORDER: Node = {"type": "OrderByElement", "direction": 1, "nulls_direction": 1, "expression": _call("length", COLUMN)}
TREE = _select(
    STAR,
    tables=_from(subquery={"type": "Subquery", "alias": "q", "children": [INNER]}),
    where=_call("in", COLUMN, {"type": "Subquery", "children": [_select(ONE)]}),
    order_by=_list(ORDER),
    limit_length=ONE,
)
KNOWN = frozenset(REFUSED)


def _nodes(tree: Any) -> Iterator[Node]:
    if isinstance(tree, dict):
        if isinstance(tree.get("type"), str):
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


COUNT = len(list(_nodes(TREE)))
places = st.integers(0, COUNT - 1)
words = st.text(st.characters(categories=("Ll", "Lu", "Nd"), include_characters="_"), min_size=1, max_size=30)


def _changed(place: int) -> tuple[Node, Node]:
    tree = copy.deepcopy(TREE)
    return tree, list(_nodes(tree))[place]


def test_the_tree_itself_is_admitted() -> None:
    assert admit(copy.deepcopy(TREE), KNOWN).tree == TREE


@given(places, words)
def test_a_kind_that_is_on_no_list_is_refused_wherever_it_stands(place: int, kind: str) -> None:
    tree, node = _changed(place)
    node["type"] = f"New{kind}"
    with pytest.raises(RefusedSqlError):
        admit(tree, KNOWN)


@given(places, words, st.sampled_from([True, "text", 1, {"type": "Literal", "value": {}}, []]))
def test_a_field_that_is_on_no_list_is_refused_wherever_it_stands(place: int, field: str, value: object) -> None:
    tree, node = _changed(place)
    node[f"new_{field}"] = value
    with pytest.raises(RefusedSqlError):
        admit(tree, KNOWN)


@given(places, st.sampled_from(sorted(REFUSED)), st.sampled_from([str.upper, str.lower, str.title]))
def test_a_refused_function_is_refused_wherever_its_name_stands(place: int, name: str, case: Any) -> None:
    tree, node = _changed(place)
    for field in ("func_name", "name"):
        if field in node and node["type"] != "TableIdentifier":
            node[field] = case(name)
            with pytest.raises(RefusedSqlError):
                admit(tree, KNOWN)
            return
    node.clear()
    node.update(_call(case(name), ONE))
    with pytest.raises(RefusedSqlError):
        admit(tree, KNOWN)


@given(words, words)
def test_a_table_of_another_database_is_refused(database: str, table: str) -> None:
    tree = copy.deepcopy(TREE)
    for node in _nodes(tree):
        if node["type"] == "TableIdentifier":
            node |= {"name": f"x{database}.{table}", "name_parts": [f"x{database}", table]}
    with pytest.raises(RefusedSqlError):
        admit(tree, KNOWN)
