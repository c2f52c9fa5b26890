"""Spans made by hand, for tests of settling; and what the store would hold of the events that come out."""

from collections.abc import Iterable, Mapping
from typing import Any

from llmtrail.core.call import Call
from llmtrail.core.codec import decode_call
from llmtrail.core.merge import merge_calls
from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.otlp.admit import admit_logs, admit_spans
from llmtrail_ingest.otlp.records import LogRecord, Part, SpanRecord, decode_part
from llmtrail_ingest.otlp.settle import Event

MS_NS = 1_000_000
EPOCH_NS = 1_795_230_000_000_000_000
TRACE = "0f901a2a26db41b847dcb257c1334813"
RESOURCE = {"service.name": "shop", "service.version": "1.4.2", "service.instance.id": "process-1"}
GENAI = "opentelemetry.instrumentation.genai.openai"


def span_id(number: int) -> str:
    return f"{number:016x}"


def span(
    number: int,
    parent: int | None,
    attributes: Mapping[str, Any],
    *,
    start_ms: float = 0,
    end_ms: float = 100,
    scope: str = "app",
    name: str = "work",
    trace_id: str = TRACE,
    kind: int = 1,
    status_code: int = 0,
) -> SpanRecord:
    return SpanRecord(
        trace_id=trace_id,
        span_id=span_id(number),
        parent_span_id="" if parent is None else span_id(parent),
        name=name,
        kind=kind,
        scope=scope,
        start_ns=EPOCH_NS + int(start_ms * MS_NS),
        end_ns=EPOCH_NS + int(end_ms * MS_NS),
        status_code=status_code,
        status_message="",
        attributes=dict(attributes),
        events=[],
        resource=RESOURCE,
    )


def chat(response_id: str = "", **more: Any) -> dict[str, Any]:
    """Return the attributes of a finished GenAI chat."""
    found = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": 57,
        "gen_ai.usage.output_tokens": 21,
        "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"hello"}]}]',
        "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"text","content":"hi"}]}]',
        **more,
    }
    return {**found, "gen_ai.response.id": response_id} if response_id else found


def details(
    number: int | None, attributes: Mapping[str, Any], *, at_ms: float = 100, trace_id: str = TRACE, scope: str = GENAI
) -> LogRecord:
    """Return the log record that repeats a call; without a span it comes without a trace as well."""
    return LogRecord(
        trace_id="" if number is None else trace_id,
        span_id="" if number is None else span_id(number),
        event_name="gen_ai.client.inference.operation.details",
        scope=scope,
        time_ns=EPOCH_NS + int(at_ms * MS_NS),
        body=None,
        attributes=dict(attributes),
        resource=RESOURCE,
    )


def parts_from(records: Iterable[SpanRecord | LogRecord], tenant: str = "") -> list[Part]:
    """Return what is kept of records, as it would stand on the log."""
    kept: list[Part] = []
    for record in records:
        admitted = (
            admit_spans([record], ContentPolicy.FULL, tenant)
            if isinstance(record, SpanRecord)
            else admit_logs([record], ContentPolicy.FULL, tenant)
        )
        assert not admitted.rejected
        kept += [decode_part(value) for value in admitted.values]
    return kept


def stored(events: Iterable[Event], calls: dict[str, Call] | None = None) -> dict[str, Call]:
    """Return the calls that the store would hold: revisions laid over each other, never a lower one over a higher."""
    calls = {} if calls is None else calls
    for event in events:
        call = decode_call(event.value)
        assert call.call_id is not None
        former = calls.get(call.call_id)
        if former is None:
            calls[call.call_id] = call
        elif call.revision > former.revision:
            calls[call.call_id] = merge_calls(former, call)
    return calls
