"""Read how a call ended: status, error, failure mode. Pure; knows no tokens and no content."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from llmtrail.core.failure import FailureMode
from llmtrail_ingest.otlp.dialect_values import Attributes, count, first, text
from llmtrail_ingest.otlp.records import STATUS_ERROR, SpanRecord

_ERROR_TYPE_LENGTH_MAX = 256  # as core.call
_ERROR_LENGTH_MAX = 16_384
_OTHER = "_OTHER"  # OpenTelemetry's word for a type nobody knows
_CODE_IN_TEXT = re.compile(r"\b(?:Error code|status(?: code)?|HTTP)[ :=]+([45]\d\d)\b")
# Parts of exception names and messages, lower case, most telling first.
_MODE_OF_WORDS: tuple[tuple[FailureMode, tuple[str, ...]], ...] = (
    (FailureMode.RATE_LIMITED, ("ratelimit", "rate limit", "too many requests", "toomanyrequests", "throttl")),
    (FailureMode.TIMEOUT, ("timeout", "timed out", "deadline")),
    (FailureMode.CANCELLED, ("cancel", "generatorexit", "keyboardinterrupt")),
    (FailureMode.CONTENT_FILTERED, ("contentpolicy", "content_filter", "contentfilter", "content management policy")),
    (
        FailureMode.CONNECTION,
        ("connection", "connecterror", "protocolerror", "readerror", "incompleteread", "peer closed", "serviceunreach"),
    ),
)
_MODE_OF_FINISH = {
    "length": FailureMode.TRUNCATED,
    "max_tokens": FailureMode.TRUNCATED,
    "content_filter": FailureMode.CONTENT_FILTERED,
    "safety": FailureMode.CONTENT_FILTERED,
    "refusal": FailureMode.REFUSED,
}


def result_of(span: SpanRecord, finish_reasons: Sequence[str] | None) -> dict[str, Any]:
    """Return status, error and failure mode of a span that is a call."""
    error = _error(span)
    if error is None:
        fields: dict[str, Any] = {"status": "ok"}
        mode = finish_failure(finish_reasons or ())
        if mode is not None:
            fields["failure_mode"] = mode.value
        return fields
    mode = failure_mode_of(error.get("type"), error.get("message"), error.get("http_status"))
    return {"status": "error", "error": error, "failure_mode": mode.value}


def finish_failure(finish_reasons: Iterable[str]) -> FailureMode | None:
    """Return the failure that finish reasons tell, or None when the answer is whole."""
    for reason in finish_reasons:
        if (mode := _MODE_OF_FINISH.get(reason.lower())) is not None:
            return mode
    return None


def failure_mode_of(error_type: str | None, message: str | None, http_status: int | None) -> FailureMode:
    """Return the failure mode of an error, told by its HTTP status first, then by its name, then by its words."""
    match http_status:
        case 429:
            return FailureMode.RATE_LIMITED
        case 408 | 504:
            return FailureMode.TIMEOUT
        case int() if http_status >= 500:
            return FailureMode.MODEL_ERROR
    for told in (error_type, message):
        words = (told or "").lower()
        for mode, parts in _MODE_OF_WORDS:
            if any(part in words for part in parts):
                return mode
    if http_status is not None:
        return FailureMode.REFUSED if http_status == 403 else FailureMode.MODEL_ERROR
    return FailureMode.MODEL_ERROR if "error" in (error_type or "").lower() else FailureMode.UNKNOWN


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
