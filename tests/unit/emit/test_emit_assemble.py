"""Calls and what became known of them later: one event where possible, else a revision; never a lost call."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.emit.assemble import HELD_MAX, HOLD_NS, Assembler
from llmtrail.emit.context import NoteKind, Request, current_request, make_request


class Bench:
    """An assembler with a hand-turned clock, fed by requests as the application makes them."""

    def __init__(self, **defaults: Any) -> None:
        counter = itertools.count()
        self.assembler = Assembler(defaults, lambda size: next(counter).to_bytes(size, "big"))
        self.now_ns = 10**18

    def request(self, **fields: Any) -> Request:
        return make_request(self.assembler.add_note, **fields)

    def call(self, **fields: Any) -> None:
        event = {"request_model": "m", **fields}
        self.assembler.add_call(event, 5, current_request(), (self.now_ns, self.now_ns))

    def events(self) -> list[dict[str, Any]]:
        self.assembler.release_due(self.now_ns)
        return self.assembler.take_ready()


def test_a_call_outside_any_block_is_ready_at_once() -> None:
    bench = Bench(service="shop")
    bench.call(output="hi")
    (event,) = bench.events()
    assert event["service"] == "shop"
    assert event["started_at"] == 5
    assert event["output"] == "hi"
    assert len(event["call_id"]) == 36


def test_a_parser_result_told_in_the_block_is_part_of_the_call() -> None:
    bench = Bench()
    with bench.request(request_id="r", feature="search", release="9", versions={"prompt": "v1"}) as request:
        bench.call(versions={"parser": "p2"})
        assert bench.events() == []
        request.parser("failed", value={"a": 1}, error=ValueError("no number"))
    (event,) = bench.events()
    assert event["parser"] == {"status": "failed", "value": {"a": 1}, "error": "ValueError: no number"}
    assert event["failure_mode"] == "parser_failed"
    assert event["versions"] == {"prompt": "v1", "release": "9", "parser": "p2"}
    assert (event["request_id"], event["feature"]) == ("r", "search")
    assert "revision" not in event


def test_a_failed_parser_does_not_hide_why_the_call_itself_failed() -> None:
    bench = Bench()
    with bench.request() as request:
        bench.call(failure_mode="truncated")
        request.parser("failed")
    assert bench.events()[0]["failure_mode"] == "truncated"


def test_what_is_told_after_the_hold_becomes_a_revision_with_only_the_new_fields() -> None:
    bench = Bench()
    with bench.request(request_id="r", user_id="u", trace_id="t") as request:
        bench.call(messages=["long"])
        bench.now_ns += HOLD_NS
        (first,) = bench.events()
        request.parser("ok", value=7)
        request.handled_by("cached_answer")
    request.parser("not_run")
    repeated = {"call_id": first["call_id"], "started_at": 5, "request_model": "m", "trace_id": "t", "request_id": "r"}
    assert bench.events() == [
        {**repeated, "revision": 1, "parser": {"status": "ok", "value": 7}},
        {**repeated, "revision": 2, "handled_by": "cached_answer"},
        {**repeated, "revision": 3, "parser": {"status": "not_run"}},
    ]
    assert bench.assembler.revisions == 3


def test_retrieval_belongs_to_the_next_call_and_a_parser_result_to_the_last() -> None:
    bench = Bench()
    with bench.request() as request:
        bench.call(n=1)
        request.parser("ok")
        request.retrieval(query="q", documents=["d"], status="ok", latency_ms=3)
        bench.call(n=2)
        request.handled_by("retried")
    first, second = bench.events()
    assert (first["n"], first["parser"], "retrieval" in first) == (1, {"status": "ok"}, False)
    assert second["retrieval"] == {"query": "q", "documents": ["d"], "status": "ok", "latency_ms": 3}
    assert second["handled_by"] == "retried"


def test_a_retrieval_that_no_call_follows_goes_to_the_last_one() -> None:
    bench = Bench()
    with bench.request() as request:
        bench.call()
        request.retrieval(query="q", status="failed")
    (event,) = bench.events()
    assert event["retrieval"] == {"query": "q", "status": "failed"}
    assert event["failure_mode"] == "retrieval_failed"


def test_blocks_nest_inherit_and_the_outer_one_may_tell_of_the_inner_ones_call() -> None:
    bench = Bench()
    with bench.request(request_id="r", attributes={"a": 1}, versions={"prompt": "1"}, tenant="acme") as outer:
        with bench.request(user_id="u", attributes={"b": 2}, tenant="other", unknown="kept"):
            bench.call()
        outer.parser("ok")
    (event,) = bench.events()
    assert event["attributes"] == {"a": 1, "b": 2, "unknown": "kept"}
    assert (event["request_id"], event["user_id"], event["tenant"]) == ("r", "u", "other")
    assert event["parser"] == {"status": "ok"}


def test_a_stream_read_after_its_block_still_gets_what_the_block_told() -> None:
    bench = Bench()
    with bench.request(request_id="r") as request:
        request.retrieval(query="q")
    bench.assembler.add_call({"request_model": "m"}, 5, request, (bench.now_ns, bench.now_ns))
    (event,) = bench.events()
    assert event["request_id"] == "r"
    assert event["retrieval"] == {"query": "q"}


def test_too_many_open_blocks_let_the_oldest_call_go() -> None:
    bench = Bench()
    for n in range(HELD_MAX + 3):
        request = bench.request()
        with request:
            pass
        request.state.is_closed = False  # As if each block were still open.
        bench.assembler.add_call({"n": n}, 5, request, (bench.now_ns, bench.now_ns))
    assert [event["n"] for event in bench.assembler.take_ready()] == [0, 1, 2]
    assert bench.assembler.held == HELD_MAX


def test_a_child_process_only_revises_its_parents_call() -> None:
    parent, child = Bench(), Bench()
    request = parent.request(request_id="r")
    with request:
        parent.call()
        child.assembler.add_note(request, NoteKind.AFTER_CALL, {"parser": {"status": "ok"}})
        (revision,) = child.assembler.take_ready()
        assert revision["revision"] == 1
        assert child.assembler.held == 0


class Application:
    """Opens and closes blocks, calls and tells, in any order."""

    def __init__(self) -> None:
        self.bench = Bench()
        self.open: list[Request] = []
        self.ended: list[Request] = []
        self.calls = 0
        self.out: list[dict[str, Any]] = []

    def step(self, step: str) -> None:
        match step:
            case "open":
                self.open.append(self.bench.request(request_id=str(len(self.open))).__enter__())
            case "call":
                self.bench.call(n=self.calls)
                self.calls += 1
            case "wait":
                self.bench.now_ns += HOLD_NS // 2
            case "late" if self.ended:
                self.ended[-1].parser("failed")
            case _ if self.open:
                self.step_in_block(step)
        self.out += self.bench.events()

    def step_in_block(self, step: str) -> None:
        match step:
            case "close":
                self.open[-1].__exit__(None, None, None)
                self.ended.append(self.open.pop())
            case "parser":
                self.open[-1].parser("ok")
            case "retrieval":
                self.open[0].retrieval(query="q")
            case "handled":
                self.open[0].handled_by("raised")

    def end(self) -> None:
        while self.open:
            self.step_in_block("close")
        self.bench.assembler.release_all()
        self.out += self.bench.assembler.take_ready()


@given(
    steps=st.lists(
        st.sampled_from(["open", "close", "call", "parser", "retrieval", "handled", "wait", "late"]), max_size=40
    )
)
def test_every_call_comes_out_once_and_revisions_are_numbered_without_gaps(steps: list[str]) -> None:
    application = Application()
    for step in steps:
        application.step(step)
    application.end()
    out, assembler = application.out, application.bench.assembler
    first = [event for event in out if "revision" not in event]
    assert sorted(event["n"] for event in first) == list(range(application.calls))
    assert assembler.held == 0
    assert len(out) - len(first) == assembler.revisions
    for event in first:
        revisions = [other["revision"] for other in out if other["call_id"] == event["call_id"] and "revision" in other]
        assert revisions == list(range(1, len(revisions) + 1))
