"""Read OTLP protobuf messages into neutral records. Knows no dialect; speed matters: one pass, no reflection."""

import base64
from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from llmtrail_ingest.otlp.encoding import BadRequestError, check_attributes, check_records
from llmtrail_ingest.otlp.outline import check_outline
from llmtrail_ingest.otlp.protobuf_text import DamagedError, mend
from llmtrail_ingest.otlp.records import LogRecord, SpanEvent, SpanRecord

# Deeper values than any message has; beyond this the value is dropped, so that recursion stays bounded.
DEPTH_MAX = 64
# Smaller bodies hold no more records than memory has room for, whatever they are.
OUTLINED_FROM_BYTES = 1024 * 1024
_Request = TypeVar("_Request", ExportTraceServiceRequest, ExportLogsServiceRequest, ExportMetricsServiceRequest)


def traces(body: bytes) -> list[SpanRecord]:
    """Return the spans of the request; raise BadRequestError when it cannot be read."""
    return trace_message(_read(body, ExportTraceServiceRequest))


def trace_message(request: ExportTraceServiceRequest) -> list[SpanRecord]:
    """Return the spans of a parsed request."""
    records: list[SpanRecord] = []
    check_records(sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans))
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope_spans in resource_spans.scope_spans:
            scope = scope_spans.scope.name
            records.extend(
                SpanRecord(
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_span_id=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.kind,
                    scope=scope,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    status_code=span.status.code,
                    status_message=span.status.message,
                    attributes=_attributes(span.attributes),
                    events=[
                        SpanEvent(event.name, event.time_unix_nano, _attributes(event.attributes))
                        for event in span.events
                    ],
                    resource=resource,
                )
                for span in scope_spans.spans
            )
    return records


def logs(body: bytes) -> list[LogRecord]:
    """Return the log records of the request; raise BadRequestError when it cannot be read."""
    return log_message(_read(body, ExportLogsServiceRequest))


def log_message(request: ExportLogsServiceRequest) -> list[LogRecord]:
    """Return the log records of a parsed request."""
    records: list[LogRecord] = []
    check_records(sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs))
    for resource_logs in request.resource_logs:
        resource = _attributes(resource_logs.resource.attributes)
        for scope_logs in resource_logs.scope_logs:
            scope = scope_logs.scope.name
            records.extend(
                LogRecord(
                    trace_id=log.trace_id.hex(),
                    span_id=log.span_id.hex(),
                    event_name=log.event_name,
                    scope=scope,
                    time_ns=log.time_unix_nano or log.observed_time_unix_nano,
                    body=_value(log.body, 0),
                    attributes=_attributes(log.attributes),
                    resource=resource,
                )
                for log in scope_logs.log_records
            )
    return records


def metrics(body: bytes) -> int:
    """Return how many metrics the request holds; raise BadRequestError when it cannot be read."""
    return metric_message(_read(body, ExportMetricsServiceRequest))


def metric_message(request: ExportMetricsServiceRequest) -> int:
    """Return how many metrics a parsed request holds."""
    return sum(len(scope.metrics) for resource in request.resource_metrics for scope in resource.scope_metrics)


def _attributes(pairs: Sequence[KeyValue]) -> dict[str, Any]:
    check_attributes(len(pairs))
    found: dict[str, Any] = {}
    for pair in pairs:
        value = pair.value
        # Nearly every attribute is text; the general way costs three times as much.
        found[pair.key] = value.string_value or _value(value, 0)
    return found


def _value(value: AnyValue, depth: int) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case "int_value":
            return value.int_value
        case "array_value" if depth < DEPTH_MAX:
            return [_value(item, depth + 1) for item in value.array_value.values]
        case "kvlist_value" if depth < DEPTH_MAX:
            return {pair.key: _value(pair.value, depth + 1) for pair in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case None | "array_value" | "kvlist_value":
            return None
        case _:
            return getattr(value, kind)


def _read(body: bytes, kind: type[_Request]) -> _Request:
    """Return the request, texts that are no UTF-8 mended; raise BadRequestError where it is none."""
    if len(body) > OUTLINED_FROM_BYTES:
        check_outline(body)
    try:
        return kind.FromString(body)
    except DecodeError as cause:
        try:
            return kind.FromString(mend(body, kind.DESCRIPTOR))
        except (DecodeError, DamagedError):
            name = kind.DESCRIPTOR.name
            detail = f"The body is no {name} in protobuf; check Content-Type and Content-Encoding."
            raise BadRequestError(detail) from cause
