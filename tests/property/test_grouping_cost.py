"""Grouping a trace costs what its records cost, and finds what looking at every pair would find."""

import random
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail_ingest.otlp.group import (
    LOG_GAP_NS_MAX,
    Node,
    StreamRequests,
    TraceView,
    _join,
    _join_same_response,
    _root,
    groups_of,
    stream_belongs,
)
from llmtrail_ingest.otlp.nearest import ByEnd
from llmtrail_ingest.otlp.records import Part, PartKind

SECOND_NS = 1_000_000_000
# One trace of so many spans was minutes of work when each was held against each.
MANY = 12_000
MANY_S_MAX = 2.0


def node(number: int, kind: PartKind = PartKind.CALL, **given: Any) -> Node:
    fields = given.pop("fields", {})
    defaults: dict[str, Any] = {"trace_id": "t", "span_id": f"{number:06d}", "start_ns": 1, "end_ns": 2, "model": "m"}
    return Node(part=Part(kind=kind, **(defaults | given)), fields=fields)


def components(nodes: Sequence[Node], owner: dict[str, str]) -> set[frozenset[str]]:
    found: dict[str, set[str]] = {}
    for one in nodes:
        found.setdefault(_root(owner, one.part.span_id), set()).add(one.part.span_id)
    return {frozenset(each) for each in found.values()}


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6), st.sampled_from("abc")), max_size=14))
def test_spans_of_one_response_id_are_joined_as_if_each_were_held_against_each(
    spans: list[tuple[int, int, str]],
) -> None:
    nodes = [
        node(number, start_ns=start, end_ns=start + length, scope=scope, response_id="r")
        for number, (start, length, scope) in enumerate(sorted(spans))
    ]
    swept: dict[str, str] = {}
    _join_same_response(nodes, swept)
    paired: dict[str, str] = {}
    for index, one in enumerate(nodes):
        for other in nodes[index + 1 :]:
            overlap = one.part.start_ns <= other.part.end_ns and other.part.start_ns <= one.part.end_ns
            if overlap and one.part.scope != other.part.scope:
                _join(paired, one.part.span_id, other.part.span_id)
    assert components(nodes, swept) == components(nodes, paired)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=12),
    st.lists(st.tuples(st.integers(-2, 12), st.integers(0, 6), st.booleans()), max_size=20),
)
def test_what_ends_nearest_is_what_looking_at_all_finds(
    records: list[tuple[int, int]], asked: list[tuple[int, int, bool]]
) -> None:
    nodes = [node(number, end_ns=end, start_ns=start) for number, (end, start) in enumerate(records)]
    by_end = ByEnd(nodes, lambda one: one.part.end_ns, lambda one: (one.part.start_ns, one.part.span_id))
    left = list(nodes)
    for moment, width, asks_latest in asked:
        low, high = moment - width, moment + width
        fitting = [one for one in left if low <= one.part.end_ns <= high]
        if asks_latest:
            found = by_end.latest(low, high)
            wanted = max(fitting, key=lambda o: (o.part.end_ns, o.part.start_ns, o.part.span_id), default=None)
        else:
            found = by_end.nearest(moment, low, high)
            wanted = min(
                fitting,
                key=lambda o: (abs(o.part.end_ns - moment), o.part.start_ns, o.part.span_id),
                default=None,
            )
        assert found is wanted
        if found is not None:
            by_end.remove(found)
            left.remove(found)


@given(st.lists(st.tuples(st.integers(0, 800), st.sampled_from("mn")), max_size=8), st.integers(0, 1_500))
def test_a_streams_request_is_known_without_looking_at_all(opened: list[tuple[int, str]], start_s: int) -> None:
    calls = [
        node(number, PartKind.OPENED, end_ns=end_s * SECOND_NS, model=model)
        for number, (end_s, model) in enumerate(opened)
    ]
    streamed = node(99, PartKind.STREAMED, start_ns=start_s * SECOND_NS, end_ns=start_s * SECOND_NS)
    assert StreamRequests(calls).have(streamed) == any(stream_belongs(call, streamed) for call in calls)


def view_of(shape: str) -> TraceView:
    """Return a trace of MANY records of a shape that once cost the square of them."""
    view = TraceView()
    usage: dict[str, bytes | int] = {"usage": b'{"input_tokens":1}', "status": b'"ok"'}
    half = MANY // 2
    match shape:
        case "one response id, one scope":
            view.calls = [node(n, start_ns=n, end_ns=n + MANY, response_id="r", scope="s") for n in range(MANY)]
        case "one response id, two scopes":
            view.calls = [node(n, start_ns=n, end_ns=n + MANY, response_id="r", scope=str(n % 2)) for n in range(MANY)]
        case "one response id, a scope each":
            view.calls = [node(n, start_ns=n, end_ns=n + MANY, response_id="r", scope=str(n)) for n in range(MANY)]
        case "a chain of parents":
            view.calls = [node(n, start_ns=n, end_ns=n + MANY, response_id="r", scope=str(n)) for n in range(MANY)]
            view.parents = {f"{n:06d}": f"{n - 1:06d}" if n else "" for n in range(MANY)}
        case "log records of the same tokens":
            view.calls = [node(n, PartKind.RECORD, end_ns=n, fields=dict(usage)) for n in range(half)]
            view.calls += [node(half + n, end_ns=n, fields=dict(usage)) for n in range(half)]
        case "streams of one prompt":
            view.calls = [node(n, PartKind.OPENED, end_ns=n) for n in range(half)]
            view.streamed = [node(half + n, PartKind.STREAMED, start_ns=n + 5) for n in range(half)]
        case "logs that name no span":
            view.calls = [node(n, end_ns=n) for n in range(half)]
            view.logs = [node(half + n, PartKind.LOG, start_ns=n, end_ns=n + LOG_GAP_NS_MAX // 2) for n in range(half)]
        case "summaries above one call each":
            view.calls = [node(n, PartKind.SUMMARY, start_ns=n) for n in range(half)]
            view.calls += [node(half + n, start_ns=n) for n in range(half)]
            view.parents = {f"{half + n:06d}": f"{n:06d}" for n in range(half)}
            for one in view.calls[:half]:
                one.call_id = one.part.span_id
    return view


@pytest.mark.attack("H7", "one trace of 12,000 records that all look alike")
@pytest.mark.parametrize(
    "shape",
    [
        "one response id, one scope",
        "one response id, two scopes",
        "one response id, a scope each",
        "a chain of parents",
        "log records of the same tokens",
        "streams of one prompt",
        "logs that name no span",
        "summaries above one call each",
    ],
)
def test_a_trace_of_many_records_that_look_alike_is_grouped_in_moments(shape: str) -> None:
    view = view_of(shape)
    random.Random(7).shuffle(view.calls)
    began_s = time.process_time()
    groups = groups_of(view)
    assert time.process_time() - began_s < MANY_S_MAX
    assert sum(len(group.nodes) for group in groups) >= MANY // 2
