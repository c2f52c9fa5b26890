"""Decode OTLP requests, protobuf or JSON, into neutral records. Knows no dialect and no transport."""

from llmtrail_ingest.otlp import decode_json, decode_protobuf
from llmtrail_ingest.otlp.decode_json import Signal, signal_of
from llmtrail_ingest.otlp.encoding import BadRequestError, Encoding, encoding_of
from llmtrail_ingest.otlp.records import LogRecord, SpanRecord

__all__ = [
    "BadRequestError",
    "Encoding",
    "Signal",
    "decode_logs",
    "decode_metrics",
    "decode_traces",
    "encoding_of",
    "signal_of",
]


def decode_traces(body: bytes, encoding: Encoding) -> list[SpanRecord]:
    """Return the spans of an ExportTraceServiceRequest; raise BadRequestError when it cannot be read."""
    if encoding is Encoding.JSON:
        return decode_json.traces(body)
    return decode_protobuf.traces(body)


def decode_logs(body: bytes, encoding: Encoding) -> list[LogRecord]:
    """Return the records of an ExportLogsServiceRequest; raise BadRequestError when it cannot be read."""
    if encoding is Encoding.JSON:
        return decode_json.logs(body)
    return decode_protobuf.logs(body)


def decode_metrics(body: bytes, encoding: Encoding) -> int:
    """Return how many metrics an ExportMetricsServiceRequest holds; raise BadRequestError when it cannot be read."""
    if encoding is Encoding.JSON:
        return decode_json.metrics(body)
    return decode_protobuf.metrics(body)
