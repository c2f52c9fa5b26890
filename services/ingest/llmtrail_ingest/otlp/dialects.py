"""Read a span or log record of any of seven dialects as what is kept of it. Pure; knows no transport and no trace.

The dialects: OpenTelemetry GenAI (old and new), OpenInference, OpenLLMetry, Logfire, OpenLIT, LiteLLM. They are told
apart by attribute names; the scope decides only where two dialects mean different things by one name.
"""

from typing import Any

import msgspec

from llmtrail_ingest.otlp.dialect_call import call_fields, log_fields, message_fields, operation_of, response_id_of
from llmtrail_ingest.otlp.dialect_content import retrieval_of
from llmtrail_ingest.otlp.dialect_context import context_of, instance_of, resource_context_of
from llmtrail_ingest.otlp.dialect_values import count, first, number, text
from llmtrail_ingest.otlp.records import (
    SPAN_KIND_CLIENT,
    STATUS_ERROR,
    LogRecord,
    Part,
    PartKind,
    SkipReason,
    SpanRecord,
)

_NANO = 1_000_000_000
_CALL_DETAILS = "gen_ai.client.inference.operation.details"
_MESSAGE_EVENTS = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
    "gen_ai.choice": "choice",
}
# Ends of the paths under which providers serve models: an HTTP span to one of them is an attempt of a call.
_MODEL_PATHS = ("/completions", "/responses", "/embeddings", "/messages", ":generatecontent", ":streamgeneratecontent")
_ENCODER = msgspec.json.Encoder()


class ResourceCache:
    """The context of the resources of one request: nearly all spans of a request share one resource."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[dict[str, Any], dict[str, str], str]] = {}

    def read(self, resource: dict[str, Any]) -> tuple[dict[str, str], str]:
        """Return the context fields and the sending process of a resource."""
        known = self._known.get(id(resource))
        if known is None:
            # Holding the resource keeps its identity from being given to another one.
            known = (resource, resource_context_of(resource), instance_of(resource))
            self._known[id(resource)] = known
        return known[1], known[2]


def read_span(span: SpanRecord, resources: ResourceCache) -> Part | SkipReason:
    """Return what is kept of a span, or why nothing is."""
    attributes = span.attributes
    operation = operation_of(span)
    if operation is None:
        return _read_other(span, resources)
    if attributes.get("logfire.span_type") == "pending_span":
        return SkipReason.PENDING_SPAN
    if operation == "retrieval":
        return _retrieval(span, resources)
    fields = call_fields(span, operation)
    kind = PartKind.CALL
    if span.scope.startswith("logfire"):
        kind = _logfire_kind(span, fields)
    return _part(span, resources, kind, fields)


def read_log(log: LogRecord, resources: ResourceCache) -> Part | SkipReason:
    """Return what is kept of a log record, or why nothing is."""
    event = log.event_name or text(log.attributes.get("event.name")) or ""
    if event == _CALL_DETAILS:
        fields = log_fields(log)
        kind = PartKind.LOG
    elif event in _MESSAGE_EVENTS and log.span_id:
        fields = message_fields(log, _MESSAGE_EVENTS[event])
        kind = PartKind.MESSAGE
    else:
        return SkipReason.NOT_LLM
    context, instance = resources.read(log.resource)
    return Part(
        kind=kind,
        trace_id=log.trace_id,
        span_id=log.span_id,
        scope=log.scope,
        instance=instance,
        start_ns=log.time_ns,
        end_ns=log.time_ns,
        response_id=response_id_of(log.attributes, fields),
        model=fields.get("request_model") or fields.get("response_model") or "",
        context=context_of(log.attributes),
        resource=context,
        call=msgspec.Raw(_ENCODER.encode(fields)),
    )


def _part(span: SpanRecord, resources: ResourceCache, kind: PartKind, fields: dict[str, Any]) -> Part:
    context, instance = resources.read(span.resource)
    start_ns, end_ns = span.start_ns, span.end_ns
    if kind is PartKind.STREAMED:
        # A log span has no length; its `duration` (s) says since when the stream was read.
        start_ns = end_ns - int((number(span.attributes.get("duration")) or 0.0) * _NANO)
    return Part(
        kind=kind,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        scope=span.scope,
        instance=instance,
        start_ns=start_ns,
        end_ns=end_ns,
        response_id=response_id_of(span.attributes, fields),
        model=fields.get("request_model") or fields.get("response_model") or "",
        context=context_of(span.attributes),
        resource=context,
        call=msgspec.Raw(_ENCODER.encode(fields)),
    )


def _logfire_kind(span: SpanRecord, fields: dict[str, Any]) -> PartKind:
    if span.attributes.get("logfire.span_type") == "log" and "duration" in span.attributes:
        return PartKind.STREAMED
    if "output" not in fields and "usage" not in fields and fields.get("status") == "ok":
        return PartKind.OPENED
    return PartKind.CALL


def _retrieval(span: SpanRecord, resources: ResourceCache) -> Part:
    fields = retrieval_of(span.attributes)
    fields["status"] = "error" if span.status_code == STATUS_ERROR else "ok"
    fields["latency_ms"] = max(span.end_ns - span.start_ns, 0) / 1e6
    return _part(span, resources, PartKind.RETRIEVAL, {"retrieval": fields})


def _read_other(span: SpanRecord, resources: ResourceCache) -> Part | SkipReason:
    """Return what is kept of a span that is no call: an attempt of one, or context for others."""
    attributes = span.attributes
    if span.name == "raw_gen_ai_request":
        return SkipReason.DUPLICATE_SPAN
    if span.kind == SPAN_KIND_CLIENT and (exchange := _exchange(span)):
        return _part(span, resources, PartKind.HTTP, exchange)
    context = context_of(attributes)
    if not context:
        return SkipReason.NOT_LLM
    resource, _ = resources.read(span.resource)
    return Part(
        kind=PartKind.CONTEXT,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        context=context,
        resource=resource,
    )


def _exchange(span: SpanRecord) -> dict[str, Any]:
    """Return the attempt that an HTTP client's span tells, or nothing when it went to no model."""
    attributes = span.attributes
    if first(attributes, ("http.request.method", "http.method")) != "POST":
        return {}
    url = text(first(attributes, ("url.full", "http.url", "url.path"))) or ""
    if not url.partition("?")[0].lower().endswith(_MODEL_PATHS):
        return {}
    exchange: dict[str, Any] = {
        "started_at": span.start_ns,
        "latency_ms": max(span.end_ns - span.start_ns, 0) / 1e6,
    }
    status = count(first(attributes, ("http.response.status_code", "http.status_code")))
    is_error = span.status_code == STATUS_ERROR or status is None or status >= 400
    exchange["outcome"] = "error" if is_error else "ok"
    if status is not None and 100 <= status <= 599:
        exchange["http_status"] = status
    return exchange
