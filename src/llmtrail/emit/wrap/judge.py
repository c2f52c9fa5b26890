"""Say how a call ended, from what it raised, what it found and how it was left. Pure."""

from dataclasses import dataclass
from typing import Any

from llmtrail.core.failure import FailureMode, Status, classify
from llmtrail.emit.wrap.found import Found
from llmtrail.emit.wrap.live import Ending, Raised

# Limits of the event, less a little for the mark of cutting.
ERROR_LENGTH_MAX = 16_000
NAME_LENGTH_MAX = 256

_FILTER_CODES = {"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"}
_FAULTS_OF_ANSWERS = (FailureMode.PARSER_FAILED, FailureMode.TRUNCATED, FailureMode.CONTENT_FILTERED)
# Names of exceptions or their bases; the first that fits tells. LiteLLM gives its connection errors a status of 500.
_BY_NAME = (
    # Before connections: to the SDKs a timeout is one of them.
    ({"APITimeoutError", "TimeoutException", "TimeoutError", "Timeout"}, FailureMode.TIMEOUT),
    ({"CancelledError", "KeyboardInterrupt", "SystemExit", "GeneratorExit"}, FailureMode.CANCELLED),
    ({"ContentFilterFinishReasonError", "ContentPolicyViolationError"}, FailureMode.CONTENT_FILTERED),
    ({"RateLimitError"}, FailureMode.RATE_LIMITED),
    ({"LengthFinishReasonError"}, FailureMode.TRUNCATED),
    ({"APIConnectionError", "TransportError", "StreamError", "OSError"}, FailureMode.CONNECTION),
    ({"APIResponseValidationError"}, FailureMode.MODEL_ERROR),
)
# What the SDKs raise when a good answer does not fit what `.parse()` was asked for.
_PARSER = {"ValidationError", "JSONDecodeError", "PydanticUserError"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a call ended; `error` is the event's group."""

    status: Status
    failure_mode: FailureMode | None
    error: dict[str, Any] | None


def judge(ending: Ending, raised: Raised | None, found: Found, *, complete: bool, parses: bool) -> Verdict:
    """Return the verdict of a call."""
    if raised is not None:
        mode = failure_of(raised, parses=parses)
        # The SDK may reject an answer that came: the caller got one, though not what was asked.
        answered = complete and mode in _FAULTS_OF_ANSWERS and (found.output is not None or bool(found.tool_calls))
        return Verdict(Status.OK if answered else Status.ERROR, mode, error_fields(raised))
    if not complete:
        if ending is Ending.LEFT:
            return Verdict(Status.ERROR, FailureMode.CANCELLED, {"type": "Cancelled", "message": "the stream was left"})
        broken = {"type": "StreamCut", "message": "the stream ended without its last event"}
        return Verdict(Status.ERROR, FailureMode.CONNECTION, broken)
    if found.failure_mode in (FailureMode.MODEL_ERROR, FailureMode.RATE_LIMITED, FailureMode.CANCELLED):
        error = {"type": found.failure_mode.value, "message": found.error or ""}
        return Verdict(Status.ERROR, found.failure_mode, error)
    return Verdict(Status.OK, found.failure_mode, None)


def failure_of(raised: Raised, *, parses: bool = False) -> FailureMode:
    """Return the failure mode that an exception of a client means."""
    names = set(raised.names)
    by_status = classify(http_status=raised.http_status)[1]
    if by_status in (FailureMode.TIMEOUT, FailureMode.RATE_LIMITED):
        return by_status
    if raised.code in _FILTER_CODES:
        return FailureMode.CONTENT_FILTERED
    for known, mode in _BY_NAME:
        if names & known:
            return mode
    if names & _PARSER:
        return FailureMode.PARSER_FAILED if parses else FailureMode.MODEL_ERROR
    told = classify(raised.names[0], raised.http_status)[1] or FailureMode.UNKNOWN
    # An error event in a stream has no status; the SDK raises its base class for it.
    return FailureMode.MODEL_ERROR if told is FailureMode.UNKNOWN and "APIError" in names else told


def status_failure(status: int) -> FailureMode | None:
    """Return the failure mode of an HTTP status, None where it is none."""
    return classify(http_status=status)[1]


def error_fields(raised: Raised) -> dict[str, Any]:
    """Return an exception as the event's `error` group."""
    fields: dict[str, Any] = {"type": raised.names[0][:NAME_LENGTH_MAX], "message": raised.text[:ERROR_LENGTH_MAX]}
    if raised.http_status is not None and 100 <= raised.http_status <= 599:
        fields["http_status"] = raised.http_status
    return fields
