"""Read a span or log record of any emitter as what is kept of it. Pure; knows no transport and no trace.

Emitters are told apart by scope and attribute names (`plan`); what they write is data (`profiles`).
"""

from hashlib import blake2b
from typing import Any

import msgspec

from llmtrail_ingest.otlp.dialect.call import (
    call_fields,
    duration_ns,
    log_fields,
    message_fields,
    response_id_of,
)
from llmtrail_ingest.otlp.dialect.classify import sort_of
from llmtrail_ingest.otlp.dialect.content import MESSAGE_EVENTS, retrieval_of
from llmtrail_ingest.otlp.dialect.context import context_of, instance_of, resource_context_of
from llmtrail_ingest.otlp.dialect.plan import Plan, plan_of
from llmtrail_ingest.otlp.dialect.values import count, first, number, text, word
from llmtrail_ingest.otlp.records import (
    SPAN_KIND_CLIENT,
    STATUS_ERROR,
    LogRecord,
    Part,
    PartKind,
    SkipReason,
    SpanRecord,
    span_ms,
)

_NANO = 1_000_000_000
_CALL_DETAILS = "gen_ai.client.inference.operation.details"
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


def read_span(span: SpanRecord, resources: ResourceCache) -> tuple[Part | None, SkipReason | None]:
    """Return what is kept of a span, and why it is no call where it is none: either, or both."""
    plan = plan_of(span.scope, span.attributes)
    sort = sort_of(plan, span)
    if isinstance(sort, SkipReason):
        return _read_other(plan, span, resources, sort)
    kind, operation = sort
    if span.attributes.get("logfire.span_type") == "pending_span":
        return None, SkipReason.PENDING_SPAN
    if kind is PartKind.RETRIEVAL:
        return _retrieval(plan, span, resources), None
    fields = call_fields(plan, span, operation)
    if kind is PartKind.CALL and span.scope.startswith("logfire"):
        kind = _logfire_kind(span, fields)
    return _part(plan, span, resources, kind, fields), None


def read_log(log: LogRecord, resources: ResourceCache) -> tuple[Part | None, SkipReason | None]:
    """Return what is kept of a log record, or why nothing is."""
    event = log.event_name or text(log.attributes.get("event.name")) or ""
    if event in MESSAGE_EVENTS:
        if not log.span_id:
            return None, SkipReason.NOT_LLM
        fields = message_fields(log, MESSAGE_EVENTS[event])
        return _log_part(plan_of(log.scope, log.attributes), log, resources, PartKind.MESSAGE, fields), None
    plan = plan_of(log.scope, log.attributes)
    if event in plan.profile.repeated_events:
        return None, SkipReason.DUPLICATE_SPAN
    if event == _CALL_DETAILS:
        if plan.profile.events:
            return None, SkipReason.DUPLICATE_SPAN  # The emitter's own event says the same, and more.
        return _log_part(plan, log, resources, PartKind.LOG, log_fields(plan, log)), None
    return _read_event(plan, event, log, resources)


def _read_event(
    plan: Plan, event: str, log: LogRecord, resources: ResourceCache
) -> tuple[Part | None, SkipReason | None]:
    """Return the call that an emitter without spans tells by one log record at its end."""
    if not plan.is_marked and not plan.profile.events:
        return None, SkipReason.NOT_LLM
    if plan.profile.events and not _is_calls_end(plan, event, log):
        return None, SkipReason.NOT_LLM
    span = SpanRecord(
        trace_id=log.trace_id,
        span_id=log.span_id,
        parent_span_id="",
        name=event,
        kind=SPAN_KIND_CLIENT,
        scope=log.scope,
        start_ns=max(log.time_ns - duration_ns(plan, log.attributes), 0),
        end_ns=log.time_ns if duration_ns(plan, log.attributes) else 0,
        status_code=STATUS_ERROR if plan.profile.events.get(event, False) is not False else 0,
        status_message="",
        attributes=log.attributes,
        events=[],
        resource=log.resource,
    )
    sort = sort_of(plan, span)
    if isinstance(sort, SkipReason):
        return None, SkipReason.NOT_LLM if sort is SkipReason.NOT_UNDERSTOOD else sort
    if sort[0] is PartKind.RETRIEVAL:
        return None, SkipReason.NOT_LLM
    fields = call_fields(plan, span, sort[1])
    part = _log_part(plan, log, resources, PartKind.RECORD, fields)
    # Several calls are logged within one span: each needs an identity, the same however often it is sent.
    own = _ENCODER.encode((log.time_ns, log.span_id, part.response_id, sorted(part.context.items()), part.call))
    made = blake2b(own, digest_size=8).hexdigest()
    return msgspec.structs.replace(part, span_id=made, parent_id=log.span_id, start_ns=span.start_ns), None


def _is_calls_end(plan: Plan, event: str, log: LogRecord) -> bool:
    """Whether an event of an emitter that logs its calls is the end of one, whole or failed."""
    profile = plan.profile
    if event not in profile.events:
        return False
    if profile.events[event] is None:
        status = count(plan.first(log.attributes, "http_status"))
        return plan.first(log.attributes, "error_message") is not None or (status is not None and status >= 400)
    return all(log.attributes.get(name) == value for name, value in profile.event_needs.items())


def _log_part(
    plan: Plan,
    log: LogRecord,
    resources: ResourceCache,
    kind: PartKind,
    fields: dict[str, Any],
) -> Part:
    context, instance = resources.read(log.resource)
    return Part(
        kind=kind,
        trace_id=log.trace_id,
        span_id=log.span_id,
        scope=log.scope,
        instance=instance,
        start_ns=log.time_ns,
        end_ns=log.time_ns,
        response_id=_shared_id(plan, log.attributes, fields),
        model=fields.get("request_model") or fields.get("response_model") or "",
        context=context_of(log.attributes, plan.profile.no_context),
        resource=context,
        call=msgspec.Raw(_ENCODER.encode(fields)),
    )


def _part(plan: Plan, span: SpanRecord, resources: ResourceCache, kind: PartKind, fields: dict[str, Any]) -> Part:
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
        response_id=_shared_id(plan, span.attributes, fields),
        model=fields.get("request_model") or fields.get("response_model") or "",
        context=context_of(span.attributes, plan.profile.no_context),
        resource=context,
        call=msgspec.Raw(_ENCODER.encode(fields)),
    )


def _shared_id(plan: Plan, attributes: dict[str, Any], fields: dict[str, Any]) -> str:
    """Return the id by which records of one call find each other: the response's, else the emitter's own."""
    if "exchange_id" not in plan.names:
        return response_id_of(fields)
    # Not all of an emitter's records name the response; all name its own id.
    return ":".join(value for name in plan.names["exchange_id"] if (value := word(attributes[name])))[:512]


def _logfire_kind(span: SpanRecord, fields: dict[str, Any]) -> PartKind:
    if span.attributes.get("logfire.span_type") == "log" and "duration" in span.attributes:
        return PartKind.STREAMED
    if "output" not in fields and "usage" not in fields and fields.get("status") == "ok":
        return PartKind.OPENED
    return PartKind.CALL


def _retrieval(plan: Plan, span: SpanRecord, resources: ResourceCache) -> Part:
    fields = retrieval_of(span.attributes)
    fields["status"] = "error" if span.status_code == STATUS_ERROR else "ok"
    if (latency_ms := span_ms(span)) is not None:
        fields["latency_ms"] = latency_ms
    return _part(plan, span, resources, PartKind.RETRIEVAL, {"retrieval": fields})


def _read_other(
    plan: Plan, span: SpanRecord, resources: ResourceCache, reason: SkipReason
) -> tuple[Part | None, SkipReason | None]:
    """Return what is kept of a span that is no call: an attempt of one, or context for others."""
    if span.name == "raw_gen_ai_request":
        return None, SkipReason.DUPLICATE_SPAN
    if span.kind == SPAN_KIND_CLIENT and (exchange := _exchange(span)):
        return _part(plan, span, resources, PartKind.HTTP, exchange), None
    context = context_of(span.attributes, plan.profile.no_context)
    if not context:
        return None, reason
    resource, _ = resources.read(span.resource)
    part = Part(
        kind=PartKind.CONTEXT,
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_id=span.parent_span_id,
        start_ns=span.start_ns,
        end_ns=span.end_ns,
        context=context,
        resource=resource,
    )
    return part, None if reason is SkipReason.NOT_LLM else reason


def _exchange(span: SpanRecord) -> dict[str, Any]:
    """Return the attempt that an HTTP client's span tells, or nothing when it went to no model."""
    attributes = span.attributes
    if first(attributes, ("http.request.method", "http.method")) != "POST":
        return {}
    url = text(first(attributes, ("url.full", "http.url", "url.path"))) or ""
    if not url.partition("?")[0].lower().endswith(_MODEL_PATHS):
        return {}
    exchange: dict[str, Any] = {"started_at": span.start_ns}
    if (latency_ms := span_ms(span)) is not None:
        exchange["latency_ms"] = latency_ms
    status = count(first(attributes, ("http.response.status_code", "http.status_code")))
    is_error = span.status_code == STATUS_ERROR or status is None or status >= 400
    exchange["outcome"] = "error" if is_error else "ok"
    if status is not None and 100 <= status <= 599:
        exchange["http_status"] = status
    return exchange
