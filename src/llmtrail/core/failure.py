"""The closed set of ways in which a call can fail. Knows nothing of providers or transports."""

from enum import StrEnum


class FailureMode(StrEnum):
    """Why a call did not give what was asked. `None` in a call means that it did."""

    MODEL_ERROR = "model_error"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    REFUSED = "refused"
    CONTENT_FILTERED = "content_filtered"
    TRUNCATED = "truncated"
    PARSER_FAILED = "parser_failed"
    RETRIEVAL_FAILED = "retrieval_failed"
    TOOL_FAILED = "tool_failed"
    BUDGET_REFUSED = "budget_refused"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Status(StrEnum):
    """Whether the caller got an answer."""

    OK = "ok"
    ERROR = "error"
