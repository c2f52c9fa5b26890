"""What senders write that is not quite OTLP: one bad text or field must not lose its neighbours, nor become a zero."""

import base64
import json
import zlib
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from field_cases import sent_cases
from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.gateway.body import BodyLimits, decompress
from llmtrail_ingest.otlp.decode_json import traces
from llmtrail_ingest.otlp.http import handle_any, handle_logs, handle_traces
from llmtrail_ingest.otlp.json_text import load_json
from otlp_recordings import Recorded, parts_of, settled

JSON = "application/json"
PROTOBUF = "application/x-protobuf"
TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CASES = {case.name: case for case in sent_cases("r")}


def request_of(*spans: dict[str, Any]) -> bytes:
    whole = [{"traceId": TRACE_ID, "spanId": f"{number:016x}", **span} for number, span in enumerate(spans, start=1)]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": whole}]}]}).encode()


def span_with(**more: Any) -> Any:
    (span,) = traces(request_of({"startTimeUnixNano": "1796072400000000000", **more}))
    return span


@pytest.mark.parametrize("name", CASES)
def test_a_field_case_of_the_protocol_becomes_all_its_calls(name: str) -> None:
    case = CASES[name]
    body = decompress(case.body, case.headers.get("content-encoding", ""), BodyLimits())
    events = settled(parts_of([Recorded(case.path, dict(case.headers), body)]))
    assert len(events) == case.calls
    for column, right in case.right.items():
        assert [event.get(column) for event in events] == [right] * case.calls


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\ufffd"),
        (r"\udca9", "\ufffd"),
        (r"\ud83d\ud83d\udca9", "\ufffd💩"),
        (r"\uD83D\uDCA9 \uD83Dx", "💩 \ufffdx"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (r"\n\ud83d\"\ud83d", '\n\ufffd"\ufffd'),
    ],
)
def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_kept(escaped: str, text: str) -> None:
    assert load_json(f'{{"a":"{escaped}"}}'.encode()) == {"a": text}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_part_of_the_body(encoding: str) -> None:
    assert load_json('{"a": "ü"}'.encode(encoding)) == {"a": "ü"}


def test_bytes_that_are_no_utf_8_are_replaced() -> None:
    assert load_json(b'{"a": "x\xff", "b": 1}') == {"a": "x\ufffd", "b": 1}


def test_text_that_is_no_utf_8_in_protobuf_leaves_its_neighbours_alone() -> None:
    request = ExportTraceServiceRequest()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in (1, 2):
        made = spans.add(trace_id=b"\x01" * 16, span_id=bytes([number]) * 8, start_time_unix_nano=10**18, name="chat")
        for key, value in (("gen_ai.operation.name", "chat"), ("gen_ai.request.model", f"gpt-4o-{number}@@")):
            made.attributes.add(key=key).value.string_value = value
        made.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 300 * number
    body = request.SerializeToString().replace(b"gpt-4o-1@@", b"gpt-4o-1\xf0\x9f")
    answer = handle_traces(body, PROTOBUF, ContentPolicy.FULL)
    assert (answer.status, answer.received, answer.rejected) == (200, 2, {})
    assert b"gpt-4o-1\xef\xbf\xbd" in answer.appends[0].values[0]
    assert b"gpt-4o-2@@" in answer.appends[0].values[1]


def test_bytes_that_are_no_message_are_still_refused() -> None:
    assert handle_traces(b"\x0a\xff\x01", PROTOBUF, ContentPolicy.FULL).status == 400


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [
        (TRACE_ID.upper(), SPAN_ID.upper()),
        (base64.b64encode(bytes.fromhex(TRACE_ID)).decode(), base64.b64encode(bytes.fromhex(SPAN_ID)).decode()),
        (base64.urlsafe_b64encode(bytes.fromhex(TRACE_ID)).decode().rstrip("="), SPAN_ID),
        ("0af76519-16cd-43dd-8448-eb211c80319c", SPAN_ID),
        (list(bytes.fromhex(TRACE_ID)), {"type": "Buffer", "data": list(bytes.fromhex(SPAN_ID))}),
    ],
)
def test_ids_are_read_in_every_way_that_they_are_written(trace_id: object, span_id: object) -> None:
    span = span_with(traceId=trace_id, spanId=span_id, parentSpanId=span_id)
    assert (span.trace_id, span.span_id, span.parent_span_id) == (TRACE_ID, SPAN_ID, SPAN_ID)


@pytest.mark.parametrize("bad", ["xyz", 12, None, [1, 2], "0af7651916cd43dd"])
def test_a_trace_id_that_is_none_rejects_its_span_alone(bad: object) -> None:
    body = request_of({"traceId": bad, "startTimeUnixNano": "1"}, {"startTimeUnixNano": "1"})
    answer = handle_traces(body, JSON, ContentPolicy.FULL)
    assert (answer.status, sum(answer.rejected.values())) == (200, 1)
    assert json.loads(answer.body)["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.parametrize(
    "value", [1796072400000000000, "1796072400000000000", 1.7960724e18, {"low": -253616128, "high": 418180692}]
)
def test_times_are_read_as_numbers_as_text_and_as_two_halves(value: object) -> None:
    assert span_with(endTimeUnixNano=value).end_ns == 1796072400000000000


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"intValue": "12"}, 12),
        ({"intValue": 12.0}, 12),
        ({"intValue": {"low": 12, "high": 0, "unsigned": False}}, 12),
        ({"intValue": {"low": -1, "high": -1}}, -1),
        ({"intValue": "many"}, None),
        ({"intValue": {"low": "x"}}, None),
        ({"intValue": None}, None),
        ({"doubleValue": "0.5"}, 0.5),
        ({"doubleValue": "NaN"}, None),
        ({"boolValue": "true"}, True),
        ({"boolValue": "perhaps"}, None),
        (None, None),
        ({}, None),
    ],
)
def test_a_value_that_cannot_be_read_is_unknown_and_never_0(value: object, read: object) -> None:
    assert span_with(attributes=[{"key": "a", "value": value}]).attributes == {"a": read}


@pytest.mark.parametrize("end", [{}, {"endTimeUnixNano": "0"}, {"endTimeUnixNano": "1796072399000000000"}])
def test_a_call_without_an_end_or_with_one_before_its_start_has_no_latency(end: dict[str, str]) -> None:
    names = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in names.items()]
    body = request_of({"startTimeUnixNano": "1796072400000000000", "attributes": attributes, **end})
    (event,) = settled(parts_of([Recorded("/v1/traces", {"content-type": JSON}, body)]))
    assert "latency_ms" not in event


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("deflate", zlib.compress(b"{}" * 50)),
        ("deflate", zlib.compressobj(wbits=-15).compress(b"") + zlib.compress(b"{}" * 50)[2:-4]),
        ("zlib", zlib.compress(b"{}" * 50)),
        ("Deflate ", zlib.compress(b"{}" * 50)),
    ],
)
def test_deflate_is_read_with_and_without_its_header(encoding: str, packed: bytes) -> None:
    assert decompress(packed, encoding, BodyLimits()) == b"{}" * 50


def test_logs_sent_to_the_address_of_traces_are_taken_as_logs() -> None:
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "1"}]}]}]}).encode()
    assert handle_traces(body, JSON, ContentPolicy.FULL).received == 1
    assert handle_any(body, JSON, ContentPolicy.FULL).received == 1


def test_spans_sent_to_the_address_of_logs_are_taken_as_spans() -> None:
    answer = handle_logs(request_of({"startTimeUnixNano": "1"}), JSON, ContentPolicy.FULL)
    assert (answer.status, answer.received) == (200, 1)


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON, "text/plain"])
def test_a_request_without_a_signal_at_the_bare_address_is_told_where_to_go(content_type: str) -> None:
    answer = handle_any(b"{}", content_type, ContentPolicy.FULL)
    assert answer.status == 400
    assert b"/v1/traces" in answer.body
