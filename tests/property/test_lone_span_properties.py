"""A trace of one span is settled on a short way of its own; what is published is the same to the byte."""

import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llmtrail_ingest.otlp.records import Part, PartKind
from llmtrail_ingest.otlp.settle import Event, Settler

SECOND_NS = 1_000_000_000
START_NS = 1_780_000_000 * SECOND_NS
CONTEXT_NAMES = [
    "request_id",
    "user_id",
    "feature",
    "session_id",
    "tenant",
    "environment",
    "service",
    "host",
    "release",
]

texts = st.text(max_size=12)
contexts = st.dictionaries(st.sampled_from(CONTEXT_NAMES), texts.filter(bool), max_size=4)
calls = st.fixed_dictionaries(
    {"operation": st.just("chat"), "status": st.sampled_from(["ok", "error"])},
    optional={
        "request_model": st.sampled_from(["gpt-4o", "gpt-4o-mini"]),
        "messages": st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), max_size=2),
        "output": st.lists(st.dictionaries(texts, texts, max_size=2), max_size=2),
        "parameters": st.dictionaries(texts, st.integers(), max_size=2),
        "versions": st.dictionaries(st.sampled_from(["prompt", "prompt_name"]), texts, max_size=2),
        "attributes": st.dictionaries(texts, texts, max_size=3),
        "usage": st.just({"input_tokens": 3}),
    },
)


@st.composite
def spans(draw: st.DrawFn, tenant: str) -> Part:
    """Return a call's span, alone in its trace so far."""
    call = draw(calls)
    return Part(
        kind=PartKind.CALL,
        trace_id="a" * 32,
        span_id="b" * 16,
        parent_id=draw(st.sampled_from(["", "c" * 16, "b" * 16])),
        scope="s",
        tenant=tenant,
        start_ns=START_NS,
        end_ns=START_NS + SECOND_NS,
        response_id=draw(st.sampled_from(["", "chatcmpl-1"])),
        model=str(call.get("request_model", "")),
        context=draw(contexts),
        resource=draw(contexts),
        call=msgspec.Raw(msgspec.json.encode(call)),
    )


@st.composite
def later_parts(draw: st.DrawFn, tenant: str) -> Part:
    """Return what may come to the trace after its call was published."""
    kind = draw(st.sampled_from([PartKind.CONTEXT, PartKind.CALL, PartKind.LOG, PartKind.LINKS, PartKind.HTTP]))
    own: dict[str, object] = {"context": draw(contexts)}
    if kind is PartKind.LINKS:
        own = {"links": {"c" * 16: ""}}
    elif kind is not PartKind.CONTEXT:
        own["call"] = msgspec.Raw(msgspec.json.encode(draw(calls)))
        own["response_id"] = draw(st.sampled_from(["", "chatcmpl-1"]))
    return Part(
        kind=kind,
        trace_id="a" * 32,
        span_id="b" * 16 if kind is PartKind.LOG else draw(st.sampled_from(["c" * 16, "d" * 16])),
        parent_id=draw(st.sampled_from(["", "b" * 16])) if kind is not PartKind.LINKS else "",
        scope=draw(st.sampled_from(["s", "t"])),
        tenant=tenant,
        start_ns=START_NS,
        end_ns=START_NS + SECOND_NS,
        model="gpt-4o",
        **own,  # type: ignore[arg-type]  # the values' types depend on their names
    )


histories = st.sampled_from(["", "acme"]).flatmap(
    lambda tenant: st.tuples(spans(tenant), st.lists(later_parts(tenant), max_size=3))
)


def settled(span: Part, later: list[Part], *, repeated: bool) -> list[Event]:
    """Publish the span, then what came later. A span that came twice is no lone record: it takes the long way."""
    settler = Settler()
    settler.take(span, START_NS)
    if repeated:
        settler.take(span, START_NS)
    events = settler.publish(START_NS + 3 * SECOND_NS)
    for place, part in enumerate(later, start=2):
        settler.take(part, START_NS + place * 4 * SECOND_NS)
        events += settler.publish(START_NS + (place * 4 + 3) * SECOND_NS)
    return events


@given(histories)
def test_a_lone_span_is_published_as_the_long_way_publishes_it(history: tuple[Part, list[Part]]) -> None:
    span, later = history
    short, long = settled(span, later, repeated=False), settled(span, later, repeated=True)
    assert short == long
    assert json.loads(short[0].value)["revision"] == 0
