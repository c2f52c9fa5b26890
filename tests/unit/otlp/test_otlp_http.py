"""OTLP/HTTP answers as the specification says: full and partial success, Status bodies, the request's own encoding."""

import json
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import SPANS
from llmtrail_ingest.otlp.http import OtlpAnswer, Response, handle_logs, handle_metrics, handle_traces, refusal
from llmtrail_ingest.otlp.records import RejectReason, SkipReason
from otlp_recordings import handle, recorded

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
FULL = ContentPolicy.FULL
Handler = Callable[[bytes, str, ContentPolicy], OtlpAnswer]


def request_of(trace_id: bytes, span_id: bytes, start_ns: int) -> bytes:
    request = ExportTraceServiceRequest()
    made = request.resource_spans.add().scope_spans.add().spans.add()
    made.trace_id, made.span_id, made.start_time_unix_nano = trace_id, span_id, start_ns
    return request.SerializeToString()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("traces", ExportTraceServiceResponse),
        ("logs", ExportLogsServiceResponse),
        ("metrics", ExportMetricsServiceResponse),
    ],
)
def test_full_success_is_an_empty_response(path: str, kind: type[Response]) -> None:
    (request,) = [request for request in recorded("genai-chat") if request.path == f"/v1/{path}"]
    answer = handle(request)
    assert (answer.status, answer.content_type) == (200, PROTOBUF)
    assert not kind.FromString(answer.body).HasField("partial_success")


def test_json_is_answered_in_json() -> None:
    answer = handle_traces(b'{"resourceSpans":[]}', "application/json; charset=utf-8", FULL)
    assert (answer.status, answer.content_type, answer.body) == (200, JSON, b"{}")


def test_a_span_without_ids_is_rejected_and_its_neighbour_kept() -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for trace_id in (b"", b"\x01" * 16):
        made = spans.add()
        made.trace_id, made.span_id, made.start_time_unix_nano = trace_id, b"\x01" * 8, 10**18
        attribute = made.attributes.add()
        attribute.key, attribute.value.string_value = "request_id", "r"
    answer = handle_traces(request.SerializeToString(), PROTOBUF, FULL)
    response = ExportTraceServiceResponse.FromString(answer.body)
    assert answer.status == 200
    assert response.partial_success.rejected_spans == 1
    assert "bad_ids" in response.partial_success.error_message
    assert answer.rejected == {RejectReason.BAD_IDS: 1}
    assert len(answer.appends[0].values) == 1


@pytest.mark.parametrize("start_ns", [0, 2**63, 2**64 - 1])
def test_a_time_outside_int64_is_rejected(start_ns: int) -> None:
    answer = handle_traces(request_of(b"\x01" * 16, b"\x01" * 8, start_ns), PROTOBUF, FULL)
    assert answer.rejected == {RejectReason.BAD_TIME: 1}
    assert answer.appends == ()


def test_partial_success_in_json_writes_counts_as_text() -> None:
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz", "spanId": "1"}]}]}]}).encode()
    partial = json.loads(handle_traces(body, JSON, FULL).body)["partialSuccess"]
    assert partial["rejectedSpans"] == "1"


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"{", b"\x0a\x05ab"])
@pytest.mark.parametrize("handler", [handle_traces, handle_logs])
def test_an_unreadable_body_is_400_with_a_status(body: bytes, handler: Handler) -> None:
    answer = handler(body, PROTOBUF, FULL)
    assert (answer.status, answer.content_type) == (400, PROTOBUF)
    assert answer.body[:2] == b"\x08\x03"
    assert answer.appends == ()


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"resourceSpans":1}', b'{"resourceSpans":[1]}', b'"\\ud800"', b"[" * 100_000]
)
def test_unreadable_json_is_400_with_a_status_in_json(body: bytes) -> None:
    answer = handle_traces(body, JSON, FULL)
    assert answer.status == 400
    assert json.loads(answer.body)["code"] == 3


def test_an_unknown_encoding_is_415() -> None:
    assert handle_traces(b"", "text/plain", FULL).status == 415


def test_a_refusal_may_ask_to_come_back_later() -> None:
    answer = refusal(503, "The disk is full.", PROTOBUF, retry_after_s=30)
    assert answer.headers == {"Retry-After": "30"}
    assert answer.body == b"\x08\x0e\x12\x11The disk is full."
    long = refusal(429, "x" * 300, PROTOBUF)
    assert long.body[:5] == b"\x08\x08\x12\xac\x02"


def test_metrics_are_counted_and_not_kept() -> None:
    answers = [handle(request) for request in recorded("genai-chat") if request.path == "/v1/metrics"]
    assert answers[0].appends == ()
    assert answers[0].skipped[SkipReason.METRIC] == answers[0].received > 0
    assert handle_metrics(b'{"resourceMetrics":[]}', JSON, FULL).received == 0


def test_every_record_is_kept_skipped_or_rejected() -> None:
    for name in ("litellm-otel", "openlit-stream", "logfire-stream", "genai-chat"):
        for request in recorded(name):
            answer = handle(request)
            kept = sum(len(append.values) for append in answer.appends)
            links = answer.skipped.get(SkipReason.NOT_LLM, 0)
            assert answer.received == kept + sum(answer.skipped.values()) + sum(answer.rejected.values()), (name, links)


def test_records_are_keyed_by_trace_and_bear_the_tokens_tenant() -> None:
    (request,) = [request for request in recorded("genai-chat") if request.path == "/v1/traces"]
    (append,) = handle(request, tenant="acme").appends
    assert append.topic == SPANS
    assert append.keys == [b"0f901a2a26db41b847dcb257c1334813"]
    assert append.headers["tenant"] == "acme"
    assert json.loads(append.values[0])["tenant"] == "acme"


@pytest.mark.parametrize(
    "name", ["genai-chat", "openinference-chat", "openllmetry-chat", "logfire-stream", "openlit-stream"]
)
def test_personal_data_is_gone_before_anything_is_durable(name: str) -> None:
    for request in recorded(name):
        for append in handle(request, ContentPolicy.REDACTED).appends:
            assert not any(b"jane.doe@example.com" in value for value in append.values)
        kept = [value for append in handle(request, FULL).appends for value in append.values]
        if request.path == "/v1/traces" and name != "openlit-stream":
            assert any(b"jane.doe@example.com" in value for value in kept)


@pytest.mark.parametrize("policy", [ContentPolicy.NONE, ContentPolicy.HASH])
def test_no_text_is_durable_where_the_policy_keeps_none(policy: ContentPolicy) -> None:
    for name in ("genai-chat", "openinference-chat", "openllmetry-chat", "logfire-stream", "litellm-otel"):
        for request in recorded(name):
            for append in handle(request, policy).appends:
                assert not any(b"capital of France" in value for value in append.values)


def test_both_name_cases_of_json_are_read() -> None:
    camel = next(request for request in recorded("genai-otlpjson-stream-tools") if request.path == "/v1/traces")
    text = camel.body.decode()
    for name in (
        "resourceSpans",
        "scopeSpans",
        "traceId",
        "spanId",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "stringValue",
        "intValue",
        "doubleValue",
        "boolValue",
        "arrayValue",
    ):
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
        text = text.replace(f'"{name}"', f'"{snake}"')
    assert text != camel.body.decode()
    assert handle_traces(text.encode(), JSON, FULL).appends == handle(camel).appends


def test_spans_without_a_call_or_context_cost_one_record_a_trace() -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(50):
        made = spans.add()
        made.trace_id, made.span_id, made.start_time_unix_nano = b"\x01" * 16, bytes([1] * 7 + [number + 1]), 10**18
    answer = handle_traces(request.SerializeToString(), PROTOBUF, FULL)
    assert answer.skipped == {SkipReason.NOT_LLM: 50}
    assert len(answer.appends[0].values) == 1
