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
    UNKNOWN_SCHEMA_VERSION = "unknown_schema_version"


class RefuseReason(StrEnum):
    """Why a request was turned away before anything of it was acknowledged."""

    TOO_LARGE = "too_large"  # 413
    TOO_MANY = "too_many"  # 429
    UNAVAILABLE = "unavailable"  # 503: disk full, log closed, backlog at its limit
    UNAUTHORIZED = "unauthorized"  # 401, 403
    BAD_REQUEST = "bad_request"  # 400: the body as a whole cannot be read


class Refusal(StrEnum):
    """Why a connection or a request was turned away to keep others served: the label of a metric."""

    CONNECTIONS = "connections"  # its client, or all together, hold as many as they may, and none waits
    EVICTED = "evicted"  # it waited longest when a newcomer needed room
    SLOW_HEAD = "slow_head"  # headers did not come in time
    SLOW_BODY = "slow_body"  # the body came slower than its least rate, or not in time
    SMALL_CHUNKS = "small_chunks"  # the body came in very many chunks of a few bytes
    SLOW_READER = "slow_reader"  # the answer was not read
    LONG_LINE = "long_line"  # the request line is too long
    LARGE_HEAD = "large_head"  # headers are too long or too many
    PIPELINED = "pipelined"  # too many requests were sent ahead of their answers
    SHARE = "share"  # its sender holds its share of the gateway's memory or queue
    BACKLOG = "backlog"  # the store is too far behind
    UNAVAILABLE = "unavailable"  # the log takes nothing
    TOO_LARGE = "too_large"  # the body is too large, or unpacks to too much
    UNAUTHORIZED = "unauthorized"  # no token, or one that may not do this
    BAD_REQUEST = "bad_request"  # the body cannot be read
    HOST = "host"  # asked by a name that is not this server's, or by none
    ORIGIN = "origin"  # a page of another origin is behind it
    CONTENT_TYPE = "content_type"  # what is posted may come from a form
    WEBSOCKET = "websocket"  # none is spoken
    DEAD_LETTERS = "dead_letters"  # the tenant's dead letters of the day are full: answered, not kept


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
