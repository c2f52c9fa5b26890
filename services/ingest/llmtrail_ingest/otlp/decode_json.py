"""Read OTLP/JSON into neutral records. Knows no dialect.

By hand, because ids are hex here (protobuf's own JSON reader takes them for base64), 64-bit integers are strings, and
names come in both cases. What senders write otherwise is read as well where it can mean one thing only.
"""

import base64
import binascii
import math
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import orjson

from llmtrail_ingest.otlp.encoding import BadRequestError, check_attributes, check_records
from llmtrail_ingest.otlp.json_text import load_json
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
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_HEX = frozenset("0123456789abcdef")
_Object = dict[str, Any]


class Signal(StrEnum):
    """What a request holds, by the name of its only field."""

    TRACES = "resourceSpans"
    LOGS = "resourceLogs"
    METRICS = "resourceMetrics"


def signal_of(body: bytes) -> Signal | None:
    """Return what a request holds where its field names one signal alone, whatever path it was sent to; else None."""
    if not any(name in body for name in (b"resourceSpans", b"resourceLogs", b"resourceMetrics")):
        return None
    request = _load(body)
    found = [signal for signal in Signal if signal.value in request]
    return found[0] if len(found) == 1 else None


def traces(body: bytes) -> list[SpanRecord]:
    """Return the spans of the request; raise BadRequestError when it cannot be read."""
    request = _load(body)
    records: list[SpanRecord] = []
    for resource_spans in _objects(request, "resourceSpans", "resource_spans"):
        resource = _resource(resource_spans)
        for scope_spans in _objects(resource_spans, "scopeSpans", "scope_spans"):
            scope = _scope(scope_spans)
            records.extend(_span(span, scope, resource) for span in _objects(scope_spans, "spans"))
            check_records(len(records))
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
            check_records(len(records))
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
        request = load_json(body)
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
    check_records(len(found))
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
        trace_id=_id(_get(span, "traceId", "trace_id"), _TRACE_ID_BYTES),
        span_id=_id(_get(span, "spanId", "span_id"), _SPAN_ID_BYTES),
        parent_span_id=_id(_get(span, "parentSpanId", "parent_span_id"), _SPAN_ID_BYTES),
        name=_text(span.get("name")),
        kind=_enumerated(span.get("kind"), _SPAN_KINDS),
        scope=scope,
        start_ns=_time_ns(_get(span, "startTimeUnixNano", "start_time_unix_nano")),
        end_ns=_time_ns(_get(span, "endTimeUnixNano", "end_time_unix_nano")),
        status_code=_enumerated(status.get("code"), _STATUS_CODES),
        status_message=_text(status.get("message")),
        attributes=_attributes(span),
        events=[
            SpanEvent(
                _text(event.get("name")),
                _time_ns(_get(event, "timeUnixNano", "time_unix_nano")),
                _attributes(event),
            )
            for event in _objects(span, "events")
        ],
        resource=resource,
    )


def _log(log: _Object, scope: str, resource: _Object) -> LogRecord:
    time_ns = _time_ns(_get(log, "timeUnixNano", "time_unix_nano"))
    return LogRecord(
        trace_id=_id(_get(log, "traceId", "trace_id"), _TRACE_ID_BYTES),
        span_id=_id(_get(log, "spanId", "span_id"), _SPAN_ID_BYTES),
        event_name=_text(_get(log, "eventName", "event_name")),
        scope=scope,
        time_ns=time_ns or _time_ns(_get(log, "observedTimeUnixNano", "observed_time_unix_nano")),
        body=_value(log.get("body"), 0),
        attributes=_attributes(log),
        resource=resource,
    )


def _attributes(holder: _Object) -> _Object:
    return _pairs(holder.get("attributes"), 0)


def _pairs(pairs: Any, depth: int) -> _Object:
    if not isinstance(pairs, list):
        return {}
    check_attributes(len(pairs))
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


def _id(value: Any, size: int) -> str:
    """Return an id as lower-case hex; as it came where it is none.

    OTLP/JSON has hex. Protobuf's own JSON mapping writes base64, which differs in length; Node's buffers are lists of
    bytes, and some senders write trace ids as UUIDs.
    """
    if isinstance(value, str):
        text = value.lower()
        if len(text) == 2 * size and _HEX.issuperset(text):
            return text
        if size == _TRACE_ID_BYTES and len(text) == 36 and _HEX.issuperset(text.replace("-", "")):
            return text.replace("-", "")
        return _from_base64(value, size) or text
    numbers = value.get("data") if isinstance(value, dict) else value
    if isinstance(numbers, list) and len(numbers) == size and all(_is_byte(number) for number in numbers):
        return bytes(numbers).hex()
    return ""


def _from_base64(text: str, size: int) -> str | None:
    if len(text.rstrip("=")) != math.ceil(size * 8 / 6):
        return None
    try:
        found = base64.b64decode(text.rstrip("=") + "==", altchars=b"-_" if "-" in text or "_" in text else None)
    except (binascii.Error, ValueError):
        return None
    return found.hex() if len(found) == size else None


def _is_byte(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _time_ns(value: Any) -> int:
    """Return a time in nanoseconds, 0 where it is unknown."""
    return _integer(value) or 0


def _integer(value: Any) -> int | None:
    """Return a 64-bit integer: a number, text as protobuf's JSON has it, or JavaScript's {low, high}; else None."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = int(value)
        except ValueError:
            value = _number(value)
    if isinstance(value, dict):
        low, high = value.get("low"), value.get("high")
        if not isinstance(low, int) or not isinstance(high, int):
            return None
        # Both halves are signed in JavaScript's Long.
        value = (high << 32) | (low & 0xFFFF_FFFF)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if -_INT64_MAX <= value <= _INT64_MAX else None


def _number(value: Any) -> float | None:
    """Return a finite number, also one written as text; NaN and the infinities mean nothing here."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


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
        (("boolValue", "bool_value"), _scalar(_boolean)),
        (("doubleValue", "double_value"), _scalar(_number)),
        (("arrayValue", "array_value"), _items),
        (("kvlistValue", "kvlist_value"), _members),
    )
    for name in names
}
