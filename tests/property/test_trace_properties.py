"""Whatever a trace holds, it becomes the same plausible calls again and again, or a line that is told."""

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.cli.replay import BATCH_EVENTS_MAX, TICK_S, batches
from llmtrail.cli.trace import Arrival, Shape, TraceError, call_event, read_trace, text_of

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
TOKENS = st.integers(min_value=0, max_value=200_000)
OFFSETS = st.integers(min_value=0, max_value=3_599_999_999_9)  # hundred nanoseconds within an hour


@given(rows=st.lists(st.tuples(OFFSETS, TOKENS, TOKENS), max_size=20))
def test_an_azure_trace_keeps_every_arrival_and_token(rows: list[tuple[int, int, int]]) -> None:
    rows.sort()
    lines = [AZURE]
    for tenths, context, generated in rows:
        seconds, rest = divmod(tenths, 10_000_000)
        lines.append(f"2023-11-16 18:{seconds // 60:02d}:{seconds % 60:02d}.{rest:07d},{context},{generated}")
    read = list(read_trace(lines))
    first = rows[0][0] if rows else 0
    assert [(a.offset_ns, a.input_tokens, a.output_tokens) for a in read] == [
        ((tenths - first) * 100, context, generated) for tenths, context, generated in rows
    ]


@given(rows=st.lists(st.tuples(st.integers(0, 10_000), TOKENS, TOKENS), max_size=20))
def test_a_burstgpt_trace_keeps_models_and_kinds(rows: list[tuple[int, int, int]]) -> None:
    rows.sort()
    lines = [BURSTGPT, *(f"{at},GPT-4,{asked},{said},{asked + said},Conversation log" for at, asked, said in rows)]
    read = list(read_trace(lines))
    first = rows[0][0] if rows else 0
    assert [a.offset_ns for a in read] == [(at - first) * 10**9 for at, _, _ in rows]
    assert all((a.model, a.kind) == ("GPT-4", "conversation-log") for a in read)


@given(text=st.text(max_size=200))
def test_any_text_is_a_trace_or_a_told_line(text: str) -> None:
    for header in (AZURE, BURSTGPT, text):
        told = ""
        read: list[Arrival] = []
        try:
            read.extend(read_trace([header, text]))
        except TraceError as error:
            told = str(error)
        assert not told or told.startswith("line ")
        assert all(min(a.offset_ns, a.input_tokens, a.output_tokens) >= 0 for a in read)


@given(
    arrival=st.builds(Arrival, offset_ns=st.just(0), input_tokens=TOKENS, output_tokens=TOKENS),
    index=st.integers(0, 10**6),
    seed=st.integers(0, 99),
)
def test_the_same_arrival_becomes_the_same_plausible_event(arrival: Arrival, index: int, seed: int) -> None:
    shape = Shape(seed, "gpt-4o-mini", "chat", with_text=False)
    event = call_event(arrival, index, 1_700_000_000 * 10**9, shape)
    assert event == call_event(arrival, index, 1_700_000_000 * 10**9, shape)
    assert event["usage"]["input_tokens"] == arrival.input_tokens
    assert event["latency_ms"] >= 60
    assert (event["status"] == "error") == (arrival.output_tokens == 0)
    assert event.get("time_to_first_token_ms", 0) <= event["latency_ms"]


@given(tokens=st.integers(0, 2_000), seed=st.integers(0, 99))
def test_text_has_the_length_of_its_tokens(tokens: int, seed: int) -> None:
    assert len(text_of(tokens, random.Random(seed))) == tokens * 4


@given(offsets=st.lists(OFFSETS, max_size=50), speed=st.floats(0.5, 100_000))
def test_every_arrival_is_sent_once_in_order_and_never_early(offsets: list[int], speed: float) -> None:
    arrivals = [Arrival(offset * 100, 1, 1) for offset in sorted(offsets)]
    dues = list(batches(arrivals, speed))
    assert [pair for due in dues for pair in due.events] == list(enumerate(arrivals))
    assert all(earlier.after_s <= later.after_s for earlier, later in pairwise(dues))
    assert all(len(due.events) <= BATCH_EVENTS_MAX for due in dues)
    for due in dues:
        for _, arrival in due.events:
            late_s = due.after_s - arrival.offset_ns / 1e9 / speed
            assert -1e-6 <= late_s <= TICK_S + 1e-6


def test_a_trace_of_unknown_columns_names_those_that_are_known() -> None:
    with pytest.raises(TraceError, match=r"line 1: .*'when'.*TIMESTAMP,ContextTokens,GeneratedTokens"):
        list(read_trace(["when,what", "1,2"]))
