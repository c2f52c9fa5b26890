"""Read how a call ended: status, error, failure mode. Pure; knows no tokens and no content."""

import re
from collections.abc import Sequence
from typing import Any

from llmtrail.core.failure import Status, classify
from llmtrail_ingest.otlp.dialect.plan import Plan
from llmtrail_ingest.otlp.dialect.values import count, flag, text, word
from llmtrail_ingest.otlp.records import STATUS_ERROR, SpanRecord

_ERROR_TYPE_LENGTH_MAX = 256  # as core.call
_ERROR_LENGTH_MAX = 16_384
_OTHER = "_OTHER"  # OpenTelemetry's word for a type nobody knows
# What emitters write alongside a failed call: Langfuse a level, Genkit a state; `success` is false.
_FAILED_WORDS = frozenset({"error", "failed", "failure"})
_CODE_IN_TEXT = re.compile(r"\b(?:Error code|status(?: code)?|HTTP)[ :=]+([45]\d\d)\b")


def result_of(plan: Plan, span: SpanRecord, finish_reasons: Sequence[str] | None) -> dict[str, Any]:
    """Return status, error and failure mode of a span that is a call."""
    error = _error(plan, span)
    if error is None:
        fields: dict[str, Any] = {"status": Status.OK.value}
        _, mode = classify(finish_reasons=finish_reasons or ())
        if mode is not None:
            fields["failure_mode"] = mode.value
        return fields
    _, mode = classify(error.get("type"), error.get("http_status"), message=error.get("message"), failed=True)
    return {"status": Status.ERROR.value, "error": error, "failure_mode": mode and mode.value}


def is_failed(plan: Plan, span: SpanRecord) -> bool:
    """Whether the span says that it failed: by its status, an error's type, an exception, or a word of its emitter."""
    attributes = span.attributes
    if span.status_code == STATUS_ERROR or plan.first(attributes, "error_type") is not None:
        return True
    if span.events and any(event.name == "exception" for event in span.events):
        return True
    if "failed" not in plan.names:
        return False
    value = word(plan.first(attributes, "failed"))
    return (value is not None and value.lower() in _FAILED_WORDS) or flag(plan.first(attributes, "failed")) is False


def _error(plan: Plan, span: SpanRecord) -> dict[str, Any] | None:
    if not is_failed(plan, span):
        return None
    attributes = span.attributes
    exception = next((event.attributes for event in reversed(span.events) if event.name == "exception"), {})
    told_type = text(plan.first(attributes, "error_type"))
    error: dict[str, Any] = {}
    if told_type in {None, _OTHER}:
        told_type = text(exception.get("exception.type")) or told_type
    if told_type is not None:
        error["type"] = told_type[:_ERROR_TYPE_LENGTH_MAX]
    message = (
        word(plan.first(attributes, "error_message")) or text(exception.get("exception.message")) or span.status_message
    )
    if message:
        error["message"] = message[:_ERROR_LENGTH_MAX]
    if (http_status := _http_status(plan.first(attributes, "http_status"), message, told_type)) is not None:
        error["http_status"] = http_status
    return error


def _http_status(status: Any, message: str | None, error_type: str | None) -> int | None:
    for value in (status, error_type):
        found = count(value)
        if found is not None and 400 <= found <= 599:
            return found
    code = _CODE_IN_TEXT.search(message or "")
    return int(code[1]) if code is not None else None
