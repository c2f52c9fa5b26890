"""What must survive when text cannot be kept: ids, model, tokens, money, times, results. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from llmtrail.core.estimate import text_bytes
from llmtrail.emit.encode import encode

# All of a call event but the text of users and models. Error messages quote text, so only types and codes stay.
_KEPT: Final = (
    "call_id",
    "revision",
    "request_id",
    "trace_id",
    "span_id",
    "parent_span_id",
    "session_id",
    "provider_request_id",
    "tenant",
    "user_id",
    "feature",
    "service",
    "environment",
    "host",
    "operation",
    "provider",
    "request_model",
    "response_model",
    "stream",
    "served",
    "input_bytes",
    "output_bytes",
    "versions",
    "usage",
    "reported_cost_nanousd",
    "started_at",
    "latency_ms",
    "time_to_first_token_ms",
    "retry_count",
    "status",
    "failure_mode",
    "handled_by",
    "finish_reasons",
    "schema_version",
    "prompt_fingerprint",
)
_ATTEMPT_KEPT: Final = (
    "number",
    "started_at",
    "latency_ms",
    "backoff_ms",
    "outcome",
    "http_status",
    "usage",
    "provider_request_id",
)
# Field -> text of which it says the size.
_SIZES: Final = {"input_bytes": ("messages", "prompt"), "output_bytes": ("output", "tool_calls")}
_ERROR_KEPT: Final = ("type", "http_status")
# Attribute that tells a reader why a stored call has no text.
STRIPPED_ATTRIBUTE: Final = "llmtrail.text_dropped"


def accounting_stub(event: Mapping[str, Any], reason: str) -> dict[str, Any]:
    """Return the event without any text of users or models, marked with the reason."""
    stub = {name: event[name] for name in _KEPT if name in event}
    attempts = event.get("attempts")
    if isinstance(attempts, list | tuple):
        stub["attempts"] = [_only(attempt, _ATTEMPT_KEPT) for attempt in attempts if isinstance(attempt, Mapping)]
    error = event.get("error")
    if isinstance(error, Mapping):
        stub["error"] = _only(error, _ERROR_KEPT)
    for group in ("parser", "retrieval"):
        found = event.get(group)
        if isinstance(found, Mapping) and "status" in found:
            stub[group] = {"status": found["status"]}
    for name, parts in _SIZES.items():
        if name not in stub and (size := sum(_size_of(event.get(part)) for part in parts)):
            stub[name] = size
    stub["attributes"] = {STRIPPED_ATTRIBUTE: reason}
    stub["content_policy"] = "none"
    return stub


def stub_bytes(event: bytes, reason: str) -> bytes | None:
    """Return the encoded stub of an encoded event, or None where the event cannot be read or would not shrink."""
    try:
        fields = orjson.loads(event)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict):
        return None
    stub = orjson.dumps(accounting_stub(fields, reason))
    return stub if len(stub) < len(event) else None


def _size_of(part: Any) -> int:
    """Return a part's bytes as JSON; 0 where that cannot be told."""
    if part is None:
        return 0
    try:
        return text_bytes(encode({"": part})[len(b'{"":') : -1])
    except Exception:  # noqa: BLE001  # Text is left out because it could not be handled; its size must not fail too.
        return 0


def _only(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: fields[name] for name in names if name in fields}
