"""Whatever bytes come, a request is answered: nothing that a sender writes breaks what stands behind the handlers."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.codec import decode_call
from llmtrail.core.redact import ContentPolicy
from llmtrail_ingest.otlp.http import handle_any, handle_logs, handle_metrics, handle_traces
from llmtrail_ingest.otlp.records import decode_part
from otlp_recordings import START_NS, recorded, settled

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
BODIES = [request.body for name in ("genai-chat", "litellm-otel", "logfire-stream") for request in recorded(name)]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    st.builds(lambda value: {"stringValue": value}, st.text(max_size=40))
    | st.builds(lambda value: {"intValue": value}, st.integers() | st.text(max_size=22))
    | st.builds(lambda value: {"doubleValue": value}, st.floats() | st.text(max_size=5))
    | st.builds(lambda value: {"boolValue": value}, SCALARS),
    lambda inner: (
        st.builds(lambda items: {"arrayValue": {"values": items}}, st.lists(inner, max_size=3))
        | st.builds(
            lambda items: {"kvlistValue": {"values": [{"key": key, "value": value} for key, value in items.items()]}},
            st.dictionaries(st.text(max_size=5), inner, max_size=3),
        )
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.response.id",
        "gen_ai.response.finish_reasons",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.cost",
        "gen_ai.usage.raw",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.definitions",
        "gen_ai.request.temperature",
        "gen_ai.response.time_to_first_chunk",
        "llm.invocation_parameters",
        "llm.input_messages.0.message.content",
        "llm.input_messages.0.message.tool_calls.0.tool_call.function.name",
        "gen_ai.prompt.0.content",
        "output.value",
        "input.value",
        "metadata",
        "duration",
        "logfire.span_type",
        "error.type",
        "http.response.status_code",
        "user.id",
        "session.id",
    ]
)


@given(body=st.binary(max_size=200), content_type=st.sampled_from([PROTOBUF, JSON, "", "x"]))
def test_any_bytes_are_answered(body: bytes, content_type: str) -> None:
    for handle in (handle_traces, handle_logs, handle_metrics, handle_any):
        assert handle(body, content_type, ContentPolicy.REDACTED).status in {200, 400, 415}


@given(body=st.sampled_from(BODIES), place=st.integers(0, 20_000), byte=st.integers(0, 255))
def test_a_damaged_recording_is_answered(body: bytes, place: int, byte: int) -> None:
    damaged = bytearray(body)
    damaged[place % len(damaged)] = byte
    for handle in (handle_traces, handle_logs):
        assert handle(bytes(damaged), PROTOBUF, ContentPolicy.REDACTED).status in {200, 400}


@given(
    attributes=st.dictionaries(NAMES, VALUES, max_size=8),
    scope=st.sampled_from(["openlit", "logfire.openai", "litellm", "openinference", "x"]),
    policy=st.sampled_from(ContentPolicy),
)
def test_whatever_attributes_hold_what_comes_out_is_an_event(
    attributes: dict[str, Any], scope: str, policy: ContentPolicy
) -> None:
    """Values of any type under every known name become a valid event or none."""
    operation = {"gen_ai.operation.name": {"stringValue": "chat"}}
    span = {
        "traceId": "01" * 16,
        "spanId": "01" * 8,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": START_NS + 5,
        "attributes": [{"key": key, "value": value} for key, value in {**operation, **attributes}.items()],
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"scope": {"name": scope}, "spans": [span]}]}]})
    try:
        answer = handle_traces(body.encode(), JSON, policy)
    except UnicodeEncodeError:
        return  # A lone surrogate cannot be sent.
    if answer.status == 200:
        parts = [decode_part(value) for append in answer.appends for value in append.values]
        for event in settled(parts):
            decode_call(json.dumps(event).encode())
