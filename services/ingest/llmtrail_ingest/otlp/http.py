"""Answer OTLP/HTTP requests: what to append to the log, and what to tell the sender.

Knows no server: the gateway authenticates, decompresses, bounds the size, appends durably, and only then answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import assert_never

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import Append
from llmtrail_ingest.otlp.admit import Admitted, Passed, admit_logs, admit_spans
from llmtrail_ingest.otlp.decode import (
    BadRequestError,
    Encoding,
    Signal,
    decode_logs,
    decode_metrics,
    decode_traces,
    encoding_of,
    signal_of,
)
from llmtrail_ingest.otlp.records import RejectReason, SkipReason

Response = ExportTraceServiceResponse | ExportLogsServiceResponse | ExportMetricsServiceResponse


class RpcCode(IntEnum):
    """The codes of google.rpc.Status that we answer with."""

    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_CODE_OF_STATUS = {
    400: RpcCode.INVALID_ARGUMENT,
    401: RpcCode.UNAUTHENTICATED,
    403: RpcCode.PERMISSION_DENIED,
    413: RpcCode.INVALID_ARGUMENT,
    415: RpcCode.INVALID_ARGUMENT,
    429: RpcCode.RESOURCE_EXHAUSTED,
    500: RpcCode.INTERNAL,
    503: RpcCode.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True)
class OtlpAnswer:
    """What to answer once `appends` are durable. Nothing may be answered before."""

    status: int
    content_type: str
    body: bytes
    appends: tuple[Append, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    # Spans, log records or metrics in the request, and what became of those not appended as records of their own.
    received: int = 0
    skipped: Mapping[SkipReason, int] = field(default_factory=dict)
    rejected: Mapping[RejectReason, int] = field(default_factory=dict)
    passed: Mapping[tuple[str, SkipReason], Passed] = field(default_factory=dict)


def handle_traces(body: bytes, content_type: str, policy: ContentPolicy, tenant: str = "") -> OtlpAnswer:
    """Take an ExportTraceServiceRequest; `tenant` is the token's, "" where it has none."""
    return _handle(Signal.TRACES, body, content_type, policy, tenant)


def handle_logs(body: bytes, content_type: str, policy: ContentPolicy, tenant: str = "") -> OtlpAnswer:
    """Take an ExportLogsServiceRequest; `tenant` is the token's, "" where it has none."""
    return _handle(Signal.LOGS, body, content_type, policy, tenant)


def handle_metrics(body: bytes, content_type: str, policy: ContentPolicy, tenant: str = "") -> OtlpAnswer:
    """Take an ExportMetricsServiceRequest: metrics repeat, summed up, what spans tell, so they are counted only."""
    return _handle(Signal.METRICS, body, content_type, policy, tenant)


def handle_any(body: bytes, content_type: str, policy: ContentPolicy, tenant: str = "") -> OtlpAnswer:
    """Take a JSON request of any signal: some senders know one address alone and send all three to it."""
    try:
        signal = signal_of(body) if encoding_of(content_type) is Encoding.JSON else None
    except BadRequestError as bad:
        return refusal(400, str(bad), content_type)
    if signal is None:
        return refusal(400, "Send OTLP to /v1/traces, /v1/logs or /v1/metrics.", content_type)
    return _handle(signal, body, content_type, policy, tenant)


def refusal(status: int, message: str, content_type: str, *, retry_after_s: int | None = None) -> OtlpAnswer:
    """Return the answer to a request that is turned away as a whole, as the OTLP specification words it."""
    encoding = encoding_of(content_type) or Encoding.JSON
    code = _CODE_OF_STATUS.get(status, RpcCode.INTERNAL)
    if encoding is Encoding.JSON:
        body = orjson.dumps({"code": int(code), "message": message})
    else:
        body = status_message(code, message)
    headers = {"Retry-After": str(retry_after_s)} if retry_after_s is not None else {}
    return OtlpAnswer(status=status, content_type=encoding.value, body=body, headers=headers)


def trace_response(admitted: Admitted) -> ExportTraceServiceResponse:
    """Return the answer to a trace request: partial success where spans were rejected."""
    response = ExportTraceServiceResponse()
    if admitted.rejections:
        response.partial_success.rejected_spans = admitted.rejections
        response.partial_success.error_message = admitted.rejection_text
    return response


def logs_response(admitted: Admitted) -> ExportLogsServiceResponse:
    """Return the answer to a log request: partial success where records were rejected."""
    response = ExportLogsServiceResponse()
    if admitted.rejections:
        response.partial_success.rejected_log_records = admitted.rejections
        response.partial_success.error_message = admitted.rejection_text
    return response


def _handle(signal: Signal, body: bytes, content_type: str, policy: ContentPolicy, tenant: str) -> OtlpAnswer:
    encoding = encoding_of(content_type)
    if encoding is None:
        return refusal(415, "Send application/x-protobuf or application/json.", content_type)
    try:
        admitted, response = _admit(signal, body, encoding, policy, tenant)
        if not admitted.received and encoding is Encoding.JSON:
            # Nothing of this signal: the request may hold another one, and must not be lost for its path.
            found = signal_of(body) or signal
            if found is not signal:
                admitted, response = _admit(found, body, encoding, policy, tenant)
    except BadRequestError as bad:
        return refusal(400, str(bad), content_type)
    return OtlpAnswer(
        status=200,
        content_type=encoding.value,
        body=_response_json(response) if encoding is Encoding.JSON else response.SerializeToString(),
        appends=admitted.appends,
        received=admitted.received,
        skipped=admitted.skipped,
        rejected=admitted.rejected,
        passed=admitted.passed,
    )


def _admit(
    signal: Signal, body: bytes, encoding: Encoding, policy: ContentPolicy, tenant: str
) -> tuple[Admitted, Response]:
    match signal:
        case Signal.TRACES:
            admitted = admit_spans(decode_traces(body, encoding), policy, tenant)
            return admitted, trace_response(admitted)
        case Signal.LOGS:
            admitted = admit_logs(decode_logs(body, encoding), policy, tenant)
            return admitted, logs_response(admitted)
        case Signal.METRICS:
            received = decode_metrics(body, encoding)
            return Admitted(received=received, skipped={SkipReason.METRIC: received}), ExportMetricsServiceResponse()
        case _:
            assert_never(signal)


def _response_json(response: Response) -> bytes:
    """Return the answer in protobuf's JSON: 64-bit integers are strings."""
    if not response.HasField("partial_success"):
        return b"{}"
    partial = response.partial_success
    pairs = {_camel(name.name): value for name, value in partial.ListFields()}
    return orjson.dumps(
        {"partialSuccess": {name: str(value) if isinstance(value, int) else value for name, value in pairs.items()}}
    )


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def status_message(code: RpcCode, message: str) -> bytes:
    """Return a google.rpc.Status in protobuf: field 1 is the code, field 2 the message."""
    text = message.encode()
    return b"\x08" + bytes([code]) + b"\x12" + varint(len(text)) + text


def varint(value: int) -> bytes:
    """Return a number as protobuf writes lengths."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
