"""Read OTLP/JSON into neutral records. Knows no dialect.

By hand, because ids are hex here (protobuf's own JSON reader takes them for base64), 64-bit integers are strings, and
names come in both cases.
"""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from llmtrail_ingest.otlp.encoding import BadRequestError
from llmtrail_ingest.otlp.records import LogRecord, SpanEvent, SpanRecord

# Deeper values than any message has; beyond this the value is dropped, so that recursion stays bounded.
DEPTH_MAX = 64
_INT64_MAX = 2**63 - 1
_SPAN_KINDS = {
    "SPAN_KIND_UNSPECIFIED": 0,
    "SPAN_KIND_INTERNAL": 1,
    "SPAN_KIND_SERVER": 2,
    "SPAN_KIND_CLIENT": 3,
    "SPAN_KIND_PRODUCER": 4,
    "SPAN_KIND_CONSUMER": 5,
}
_STATUS_CODES = {"STATUS_CODE_UNSET": 0, "STATUS_CODE_OK": 1, "STATUS_CODE_ERROR": 2}
_Object = dict[str, Any]


def traces(body: bytes) -> list[SpanRecord]:
    """Return the spans of the request; raise BadRequestError when it cannot be read."""
    request = _load(body)
    records: list[SpanRecord] = []
    for resource_spans in _objects(request, "resourceSpans", "resource_spans"):
        resource = _resource(resource_spans)
        for scope_spans in _objects(resource_spans, "scopeSpans", "scope_spans"):
            scope = _scope(scope_spans)
            records.extend(_span(span, scope, resource) for span in _objects(scope_spans, "spans"))
    return records


def logs(body: bytes) -> list[LogRecord]:
    """Return the log records of the request; raise BadRequestError when it cannot be read."""
    request = _load(body)
    records: list[LogRecord] = []
    for resource_logs in _objects(request, "resourceLogs", "resource_logs"):
        resource = _resource(resource_logs)
        for scope_logs in _objects(resource_logs, "scopeLogs", "scope_logs"):
            scope = _scope(scope_logs)
            records.extend(_log(log, scope, resource) for log in _objects(scope_logs, "logRecords", "log_records"))
    return records


def metrics(body: bytes) -> int:
    """Return how many metrics the request holds; raise BadRequestError when it cannot be read."""
    return sum(
        sum(1 for _ in _objects(scope, "metrics"))
        for resource in _objects(_load(body), "resourceMetrics", "resource_metrics")
        for scope in _objects(resource, "scopeMetrics", "scope_metrics")
    )


def _load(body: bytes) -> _Object:
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as cause:
        raise BadRequestError("The body is no JSON; check Content-Type and Content-Encoding.") from cause
    if not isinstance(request, dict):
        raise BadRequestError("The body must be one JSON object: an OTLP export request.")
    return request


def _objects(holder: _Object, *names: str) -> Iterator[_Object]:
    found = _get(holder, *names)
    if found is None:
        return
    if not isinstance(found, list):
        raise BadRequestError(f"{names[0]} must be an array.")
    for item in found:
        if not isinstance(item, dict):
            raise BadRequestError(f"{names[0]} must hold objects.")
        yield item


def _get(holder: _Object, *names: str) -> Any:
    for name in names:
        if (found := holder.get(name)) is not None:
            return found
    return None


def _resource(holder: _Object) -> _Object:
    resource = holder.get("resource")
    return _attributes(resource) if isinstance(resource, dict) else {}


def _scope(holder: _Object) -> str:
    scope = holder.get("scope")
    return _text(scope.get("name")) if isinstance(scope, dict) else ""


def _span(span: _Object, scope: str, resource: _Object) -> SpanRecord:
    status = span.get("status")
    status = status if isinstance(status, dict) else {}
    return SpanRecord(
        trace_id=_text(_get(span, "traceId", "trace_id")).lower(),
        span_id=_text(_get(span, "spanId", "span_id")).lower(),
        parent_span_id=_text(_get(span, "parentSpanId", "parent_span_id")).lower(),
        name=_text(span.get("name")),
        kind=_enumerated(span.get("kind"), _SPAN_KINDS),
        scope=scope,
        start_ns=_integer(_get(span, "startTimeUnixNano", "start_time_unix_nano")),
        end_ns=_integer(_get(span, "endTimeUnixNano", "end_time_unix_nano")),
        status_code=_enumerated(status.get("code"), _STATUS_CODES),
        status_message=_text(status.get("message")),
        attributes=_attributes(span),
        events=[
            SpanEvent(
                _text(event.get("name")),
                _integer(_get(event, "timeUnixNano", "time_unix_nano")),
                _attributes(event),
            )
            for event in _objects(span, "events")
        ],
        resource=resource,
    )


def _log(log: _Object, scope: str, resource: _Object) -> LogRecord:
    time_ns = _integer(_get(log, "timeUnixNano", "time_unix_nano"))
    return LogRecord(
        trace_id=_text(_get(log, "traceId", "trace_id")).lower(),
        span_id=_text(_get(log, "spanId", "span_id")).lower(),
        event_name=_text(_get(log, "eventName", "event_name")),
        scope=scope,
        time_ns=time_ns or _integer(_get(log, "observedTimeUnixNano", "observed_time_unix_nano")),
        body=_value(log.get("body"), 0),
        attributes=_attributes(log),
        resource=resource,
    )


def _attributes(holder: _Object) -> _Object:
    return _pairs(holder.get("attributes"), 0)


def _pairs(pairs: Any, depth: int) -> _Object:
    if not isinstance(pairs, list):
        return {}
    return {_text(pair.get("key")): _value(pair.get("value"), depth) for pair in pairs if isinstance(pair, dict)}


def _value(value: Any, depth: int) -> Any:
    if isinstance(value, dict) and depth < DEPTH_MAX:
        for name, content in value.items():
            reader = _READERS.get(name)
            if reader is not None:
                return reader(content, depth)
    return None


def _items(content: Any, depth: int) -> list[Any]:
    items = content.get("values") if isinstance(content, dict) else None
    return [_value(item, depth + 1) for item in items] if isinstance(items, list) else []


def _members(content: Any, depth: int) -> _Object:
    return _pairs(content.get("values"), depth + 1) if isinstance(content, dict) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: Any) -> int:
    """Return a 64-bit integer given as a number or, as protobuf's JSON has it, as a string; 0 for anything else."""
    if isinstance(value, str) and len(value) <= 20:
        try:
            value = int(value)
        except ValueError:
            return 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if -_INT64_MAX <= value <= _INT64_MAX else 0


def _number(value: Any) -> float | None:
    # Protobuf's JSON writes NaN and the infinities as strings; none of them means anything here.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)


def _enumerated(value: Any, names: dict[str, int]) -> int:
    """Return an enum given as its number (as OTLP/JSON demands) or as its name (as some senders do)."""
    if isinstance(value, str):
        return names.get(value, 0)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _scalar(read: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    return lambda content, _: read(content)


_READERS: dict[str, Callable[[Any, int], Any]] = {
    name: reader
    for names, reader in (
        (("stringValue", "string_value", "bytesValue", "bytes_value"), _scalar(_text)),
        (("intValue", "int_value"), _scalar(_integer)),
        (("boolValue", "bool_value"), _scalar(lambda content: content is True)),
        (("doubleValue", "double_value"), _scalar(_number)),
        (("arrayValue", "array_value"), _items),
        (("kvlistValue", "kvlist_value"), _members),
    )
    for name in names
}
