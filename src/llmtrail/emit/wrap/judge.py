"""Say how a call ended, from what it raised, what it found and how it was left. Pure."""

from dataclasses import dataclass
from typing import Any

from llmtrail.core.failure import FailureMode, Status, classify
from llmtrail.emit.wrap.found import Found
from llmtrail.emit.wrap.live import Ending, Raised

# Limits of the event, less a little for the mark of cutting.
ERROR_LENGTH_MAX = 16_000
NAME_LENGTH_MAX = 256

_FAULTS_OF_ANSWERS = (FailureMode.PARSER_FAILED, FailureMode.TRUNCATED, FailureMode.CONTENT_FILTERED)
# What an answer that came may still lack; anything else that an answer says of itself means that there is none.
_SHORT_ANSWERS = (FailureMode.REFUSED, FailureMode.TRUNCATED, FailureMode.CONTENT_FILTERED)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a call ended; `error` is the event's group."""

    status: Status
    failure_mode: FailureMode | None
    error: dict[str, Any] | None


def judge(ending: Ending, raised: Raised | None, found: Found, *, complete: bool, parses: bool) -> Verdict:
    """Return the verdict of a call."""
    if raised is not None:
        mode: FailureMode | None = failure_of(raised, parses=parses)
        # The SDK may reject an answer that came: the caller got one, though not what was asked.
        answered = complete and mode in _FAULTS_OF_ANSWERS and (found.output is not None or bool(found.tool_calls))
        return Verdict(Status.OK if answered else Status.ERROR, mode, error_fields(raised))
    if not complete:
        if ending is Ending.LEFT:
            return Verdict(Status.ERROR, FailureMode.CANCELLED, {"type": "Cancelled", "message": "the stream was left"})
        broken = {"type": "StreamCut", "message": "the stream ended without its last event"}
        return Verdict(Status.ERROR, FailureMode.CONNECTION, broken)
    mode = found.failure_mode
    if mode is not None and (found.error is not None or mode not in _SHORT_ANSWERS):
        return Verdict(Status.ERROR, mode, _reported_error(found, mode))
    return Verdict(Status.OK, mode, None)


def _reported_error(found: Found, mode: FailureMode) -> dict[str, Any]:
    """Return the error that an answer reports of itself as the event's `error` group."""
    fields: dict[str, Any] = {
        "type": (found.error_type or mode.value)[:NAME_LENGTH_MAX],
        "message": (found.error or "")[:ERROR_LENGTH_MAX],
    }
    return fields if found.error_status is None else {**fields, "http_status": found.error_status}


def failure_of(raised: Raised, *, parses: bool = False) -> FailureMode:
    """Return the failure mode that an exception of a client means."""
    names = raised.names if raised.code is None else (*raised.names, raised.code)
    status = raised.http_status
    if raised.code is not None and raised.code.isdecimal():
        # An error in a stream: the HTTP status was good before it came, the code in its body is what it means.
        names, status = raised.names, int(raised.code)
    mode = classify(names, status, message=raised.text)[1] or FailureMode.UNKNOWN
    # Where nothing was to be parsed, what the client could not read is the provider's answer.
    return FailureMode.MODEL_ERROR if mode is FailureMode.PARSER_FAILED and not parses else mode


def status_failure(status: int) -> FailureMode | None:
    """Return the failure mode of an HTTP status, None where it is none."""
    return classify(http_status=status)[1]


def error_fields(raised: Raised) -> dict[str, Any]:
    """Return an exception as the event's `error` group."""
    fields: dict[str, Any] = {"type": raised.names[0][:NAME_LENGTH_MAX], "message": raised.text[:ERROR_LENGTH_MAX]}
    if raised.http_status is not None and 100 <= raised.http_status <= 599:
        fields["http_status"] = raised.http_status
    return fields
