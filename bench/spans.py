"""Make requests of GenAI spans of given texts from a recorded one; ids and times are set at each sending."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from texts import Conversation

RECORDING = Path(__file__).parents[1] / "tests" / "fixtures" / "otlp" / "genai-chat" / "01-traces.pb"
SPANS = 512  # OpenTelemetry's default batch
# Placeholders that stand nowhere else in the bytes.
_ID, _RESPONSE = b"\x01TRCE", b"@@@@@@@@@@"
_START, _END = b"QQQQQQQQ", b"RRRRRRRR"


def pattern(conversations: Sequence[Conversation]) -> bytes:
    """Return a request with a one-call trace for each conversation, all its ids and times placeholders."""
    request = ExportTraceServiceRequest.FromString(RECORDING.read_bytes())
    spans = request.resource_spans[0].scope_spans[0].spans
    one = Span()
    one.CopyFrom(spans[0])
    one.start_time_unix_nano = int.from_bytes(_START, "little")
    one.end_time_unix_nano = int.from_bytes(_END, "little")
    del spans[:]
    for number, conversation in enumerate(conversations):
        span = spans.add()
        span.CopyFrom(one)
        span.trace_id = _ID + number.to_bytes(11, "big")
        span.span_id = _ID + number.to_bytes(3, "big")
        texts = {
            "gen_ai.response.id": f"chatcmpl-{_RESPONSE.decode()}-{number}",
            "gen_ai.input.messages": _json([_message(message) for message in conversation.messages]),
            "gen_ai.output.messages": _json([_message(conversation.output) | {"finish_reason": "stop"}]),
        }
        for attribute in span.attributes:
            if attribute.key in texts:
                attribute.value.string_value = texts[attribute.key]
    return request.SerializeToString()


def fresh(body: bytes) -> bytes:
    """Return the request of a pattern with ids of its own, whose calls end now."""
    now = time.time_ns()
    body = body.replace(_ID, os.urandom(5)).replace(_RESPONSE, os.urandom(5).hex().encode())
    return body.replace(_START, (now - 10**9).to_bytes(8, "little")).replace(_END, now.to_bytes(8, "little"))


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a chat completion's message as the semantic conventions have it."""
    parts: list[dict[str, Any]] = []
    if message["role"] == "tool":
        parts.append({"type": "tool_call_response", "id": message.get("tool_call_id"), "response": message["content"]})
    elif message.get("content"):
        parts.append({"type": "text", "content": message["content"]})
    for call in message.get("tool_calls") or ():
        asked = call["function"]
        parts.append({"type": "tool_call", "id": call["id"], "name": asked["name"], "arguments": asked["arguments"]})
    return {"role": message["role"], "parts": parts}


def _json(messages: list[dict[str, Any]]) -> str:
    return json.dumps(messages, ensure_ascii=False)
