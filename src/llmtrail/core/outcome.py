"""What may become of one record: the closed sets of outcomes and reasons. Every counter is keyed by these."""

from dataclasses import dataclass
from enum import StrEnum


class SkipReason(StrEnum):
    """Why a valid event adds no row of its own."""

    DUPLICATE = "duplicate"  # same call id, same content
    DUP_CONFLICT = "dup_conflict"  # same call id, other content, no higher revision: the first wins
    STALE_REVISION = "stale_revision"  # a lower revision than the one stored


class RejectReason(StrEnum):
    """Why an event became a dead letter."""

    NOT_JSON = "not_json"
    NOT_UTF8 = "not_utf8"
    NOT_AN_OBJECT = "not_an_object"
    WRONG_TYPE = "wrong_type"
    OUT_OF_RANGE = "out_of_range"
    MISSING_FIELD = "missing_field"
    TOO_DEEP = "too_deep"
    NOT_FINITE = "not_finite"
    TOO_LARGE = "too_large"
    BAD_TIME = "bad_time"
    BAD_ID = "bad_id"
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"
    OTHER_TENANT = "other_tenant"  # the call of this id belongs to another tenant than the token that sent the event


class RefuseReason(StrEnum):
    """Why a request was turned away before anything of it was acknowledged."""

    TOO_LARGE = "too_large"  # 413
    TOO_MANY = "too_many"  # 429
    UNAVAILABLE = "unavailable"  # 503: disk full, log closed, backlog at its limit
    UNAUTHORIZED = "unauthorized"  # 401, 403
    BAD_REQUEST = "bad_request"  # 400: the body as a whole cannot be read


class BadEventError(ValueError):
    """An event that cannot become a call. `reason` is for counters, `detail` says what to mend."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Skip:
    """A valid event that is counted and not stored again."""

    reason: SkipReason


@dataclass(frozen=True, slots=True)
class Reject:
    """A bad event: kept byte for byte as a dead letter."""

    reason: RejectReason
    detail: str
