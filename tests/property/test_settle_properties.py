"""However spans of a trace are ordered, cut into requests and spread over time, the same calls are stored once."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.call import Call
from llmtrail.core.codec import encode_call
from llmtrail_ingest.otlp.records import LogRecord, Part, SpanRecord
from llmtrail_ingest.otlp.settle import Settler
from otlp_spans import EPOCH_NS, GENAI, chat, details, parts_from, span, stored

SECOND_NS = 1_000_000_000
CONTEXT = st.dictionaries(
    st.sampled_from(["request_id", "user.id", "feature", "session.id"]), st.sampled_from(["a", "b", "c"]), max_size=3
)
# An identity that is given by who arrived first is no part of what a call is.
IDENTITY = ("call_id", "revision")


@dataclass(frozen=True)
class Trace:
    """Records of one trace, and how many calls were really made."""

    records: list[SpanRecord | LogRecord]
    calls: int


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Draw a tree of plain spans with calls at some of them, told by one or two instrumentations and maybe a log."""
    plain = draw(st.integers(1, 5))
    records: list[SpanRecord | LogRecord] = []
    for number in range(1, plain + 1):
        parent = draw(st.integers(1, number - 1)) if number > 1 else None
        records.append(span(number, parent, draw(CONTEXT), start_ms=number, end_ms=9_000))
    calls = draw(st.integers(0, 4))
    for index in range(calls):
        records += draw(_call(100 + 10 * index, draw(st.integers(1, plain)), 1_000.0 * index))
    if draw(st.booleans()):
        looked_up = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.query.text": "refunds?"}
        records.append(span(90, 1, looked_up, start_ms=0, end_ms=draw(st.integers(1, 2_000))))
    return Trace(records, calls)


@st.composite
def _call(draw: st.DrawFn, number: int, parent: int, start_ms: float) -> list[SpanRecord | LogRecord]:
    response_id = f"response-{number}"
    own = {name: value for name, value in draw(CONTEXT).items() if name == "user.id"}

    def told(attributes: Mapping[str, object], scope: str) -> SpanRecord:
        return span(number, parent, {**attributes, **own}, scope=scope, start_ms=start_ms, end_ms=start_ms + 500)

    match draw(st.sampled_from(["plain", "log", "lone log", "astray", "nested", "stream"])):
        case "plain":
            return [told(chat(response_id), GENAI)]
        case "log":
            log = details(number, chat(response_id), at_ms=start_ms + 500)
            return [told(chat(response_id), GENAI), log]
        case "lone log":
            log = details(None, chat(response_id), at_ms=start_ms + 500, scope="openlit")
            return [told(chat(response_id), "openlit"), log]
        case "astray":
            # A stream's log names the span around the call; an embedding has no response id to find it by.
            log = details(parent, chat(), at_ms=start_ms + 500, scope="openlit")
            return [told(chat(), "openlit"), log]
        case "nested":
            inner = span(
                number + 1, number, chat(response_id), scope=GENAI, start_ms=start_ms + 5, end_ms=start_ms + 490
            )
            outer = {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini"}
            return [told(outer, "openinference.langchain"), inner]
        case _:
            return _stream(number, parent, start_ms, own)


def _stream(number: int, parent: int, start_ms: float, own: dict[str, str]) -> list[SpanRecord | LogRecord]:
    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.input.messages": f'["{number}"]',
    }
    ended = {**asked, "gen_ai.usage.input_tokens": 5, "logfire.span_type": "log", "duration": 0.4}
    opened = span(number, parent, {**asked, **own}, scope="logfire.openai", start_ms=start_ms, end_ms=start_ms + 6)
    end_ms = start_ms + 410
    # The end of a stream is told under a trace of its own where nothing is current any more.
    streamed = span(
        number + 1, None, ended, scope="logfire.openai", start_ms=end_ms, end_ms=end_ms, trace_id=f"{number:032x}"
    )
    return [opened, streamed]


def _facts(call: Call) -> dict[str, object]:
    return {name: value for name, value in json.loads(encode_call(call)).items() if name not in IDENTITY}


def _settle(requests: list[list[Part]], gaps_s: list[int]) -> dict[str, Call]:
    settler = Settler()
    calls: dict[str, Call] = {}
    now_ns = EPOCH_NS
    for request, gap_s in zip(requests, gaps_s, strict=True):
        for part in request:
            settler.take(part, now_ns)
        now_ns += gap_s * SECOND_NS
        stored(settler.publish(now_ns), calls)
    stored(settler.publish(now_ns + 3_600 * SECOND_NS), calls)
    assert settler.waiting_traces == 0
    return calls


def _sorted_facts(calls: dict[str, Call]) -> list[dict[str, object]]:
    return sorted((_facts(call) for call in calls.values()), key=lambda facts: str(facts["span_id"]))


@given(trace=traces(), data=st.data())
def test_any_order_and_any_cut_stores_the_same_calls_and_none_twice(trace: Trace, data: st.DataObject) -> None:
    at_once = _settle([parts_from(trace.records)], [0])
    assert len(at_once) == trace.calls
    shuffled = data.draw(st.permutations(trace.records))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=4)))
    bounds = [0, *cuts, len(shuffled)]
    requests = [parts_from(shuffled[start:end]) for start, end in pairwise(bounds)]
    gaps_s = data.draw(st.lists(st.sampled_from([0, 1, 5]), min_size=len(requests), max_size=len(requests)))
    spread = _settle(requests, gaps_s)
    for told, wanted in zip(_sorted_facts(spread), _sorted_facts(at_once), strict=True):
        differing = {name for name in told.keys() | wanted.keys() if told.get(name) != wanted.get(name)}
        assert not differing, {name: (told.get(name), wanted.get(name)) for name in differing}
    if not any(gaps_s):
        assert spread.keys() == at_once.keys()


@given(trace=traces(), repeats=st.lists(st.integers(0, 30), max_size=6))
def test_records_sent_again_change_nothing(trace: Trace, repeats: list[int]) -> None:
    again = [trace.records[index % len(trace.records)] for index in repeats]
    once = _settle([parts_from(trace.records)], [0])
    twice = _settle([parts_from(trace.records), parts_from(again)], [5, 5])
    assert _sorted_facts(twice) == _sorted_facts(once)
