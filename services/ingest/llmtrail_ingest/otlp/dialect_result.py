"""Read how a call ended: status, error, failure mode. Pure; knows no tokens and no content."""

import re
from collections.abc import Sequence
from typing import Any

from llmtrail.core.failure import Status, classify
from llmtrail_ingest.otlp.dialect_values import Attributes, count, first, text
from llmtrail_ingest.otlp.records import STATUS_ERROR, SpanRecord

_ERROR_TYPE_LENGTH_MAX = 256  # as core.call
_ERROR_LENGTH_MAX = 16_384
_OTHER = "_OTHER"  # OpenTelemetry's word for a type nobody knows
_CODE_IN_TEXT = re.compile(r"\b(?:Error code|status(?: code)?|HTTP)[ :=]+([45]\d\d)\b")


def result_of(span: SpanRecord, finish_reasons: Sequence[str] | None) -> dict[str, Any]:
    """Return status, error and failure mode of a span that is a call."""
    error = _error(span)
    if error is None:
        fields: dict[str, Any] = {"status": Status.OK.value}
        _, mode = classify(finish_reasons=finish_reasons or ())
        if mode is not None:
            fields["failure_mode"] = mode.value
        return fields
    _, mode = classify(error.get("type"), error.get("http_status"), message=error.get("message"), failed=True)
    return {"status": Status.ERROR.value, "error": error, "failure_mode": mode and mode.value}


def _error(span: SpanRecord) -> dict[str, Any] | None:
    attributes = span.attributes
    exception = next((event.attributes for event in reversed(span.events) if event.name == "exception"), {})
    told_type = text(first(attributes, ("error.type", "exception.type")))
    if span.status_code != STATUS_ERROR and told_type is None and not exception:
        return None
    error: dict[str, Any] = {}
    if told_type in {None, _OTHER}:
        told_type = text(exception.get("exception.type")) or told_type
    if told_type is not None:
        error["type"] = told_type[:_ERROR_TYPE_LENGTH_MAX]
    message = (
        text(first(attributes, ("error.message", "exception.message")))
        or text(exception.get("exception.message"))
        or span.status_message
    )
    if message:
        error["message"] = message[:_ERROR_LENGTH_MAX]
    if (http_status := _http_status(attributes, message, told_type)) is not None:
        error["http_status"] = http_status
    return error


def _http_status(attributes: Attributes, message: str | None, error_type: str | None) -> int | None:
    for value in (first(attributes, ("http.response.status_code", "http.status_code", "error.code")), error_type):
        found = count(value)
        if found is not None and 400 <= found <= 599:
            return found
    code = _CODE_IN_TEXT.search(message or "")
    return int(code[1]) if code is not None else None
