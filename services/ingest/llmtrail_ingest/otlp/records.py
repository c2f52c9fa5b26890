"""What OTLP requests hold, in neutral form, and what of it is kept. Knows neither protobuf nor any dialect."""

from enum import StrEnum
from typing import Any

import msgspec
import orjson

from llmtrail.core import json_decode
from llmtrail.core.call import MILLISECONDS_MAX
from llmtrail_ingest.otlp.json_text import HALF_EMOJI

# OTLP's own numbers.
SPAN_KIND_CLIENT = 3
STATUS_ERROR = 2


class SpanEvent(msgspec.Struct, frozen=True, gc=False):
    """Something that happened while a span ran."""

    name: str
    time_ns: int
    attributes: dict[str, Any]


class SpanRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One span, whatever encoding it came in. Ids are lower-case hex, "" where absent; attribute values are JSON."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: int
    scope: str
    start_ns: int
    end_ns: int
    status_code: int
    status_message: str
    attributes: dict[str, Any]
    events: list[SpanEvent]
    resource: dict[str, Any]


def span_ms(span: SpanRecord) -> float | None:
    """Return how long a span ran, a week at most; None where it has no end, or one before its start."""
    if span.end_ns < span.start_ns:
        return None
    return min((span.end_ns - span.start_ns) / 1e6, MILLISECONDS_MAX)


class LogRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One log record, whatever encoding it came in. Ids are lower-case hex, "" where absent."""

    trace_id: str
    span_id: str
    event_name: str
    scope: str
    time_ns: int
    body: Any
    attributes: dict[str, Any]
    resource: dict[str, Any]


class PartKind(StrEnum):
    """What a kept record tells."""

    CALL = "call"  # a span that is a call
    SUMMARY = "summary"  # a span with a call's figures that may sum up calls below it: a call where there are none
    OPENED = "opened"  # Logfire: the span of a stream's request, which ends before the stream does
    STREAMED = "streamed"  # Logfire: the log span that tells the stream's end, often in a trace of its own
    LOG = "log"  # a log record that repeats a call
    RECORD = "record"  # a log record that is a call of its own; its id is made, its parent is the span around it
    MESSAGE = "message"  # a log record that holds one message of a call
    RETRIEVAL = "retrieval"  # documents looked up before a call
    HTTP = "http"  # one HTTP exchange below a call: an attempt
    CONTEXT = "context"  # no call, but request id, user, feature or the like
    LINKS = "links"  # which span is whose parent, for spans of which nothing else is kept


class Part(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """What is kept of one span or log record: the value of a record of `llm.spans`.

    `call` holds the fields of a call event as JSON, content policy applied; `context` and `resource` are values
    for fields of the event found on the span and on its resource. `tenant` is the token's: traces never mix tenants.
    """

    kind: PartKind
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""
    scope: str = ""
    instance: str = ""
    tenant: str = ""
    start_ns: int = 0
    end_ns: int = 0
    response_id: str = ""
    model: str = ""
    context: dict[str, str] = {}
    resource: dict[str, str] = {}
    links: dict[str, str] = {}
    call: msgspec.Raw = msgspec.Raw()


_ENCODER = msgspec.json.Encoder()
_DECODER = json_decode.Decoder(Part)


def encode_part(part: Part) -> bytes:
    """Return the part as JSON, as it stands on the log."""
    return _ENCODER.encode(part)


def decode_part(value: bytes) -> Part:
    """Return the part that a record of `llm.spans` holds; raise msgspec.DecodeError where it holds none.

    Its values are read when its trace is published: text that could not be read then is refused here.
    """
    try:
        if not value.isascii():
            value.decode()
        if HALF_EMOJI.search(value):
            orjson.loads(value)
    except ValueError as cause:
        raise msgspec.DecodeError(str(cause)) from cause
    return _DECODER.decode(value)


class SkipReason(StrEnum):
    """Why a span or log record adds nothing of its own."""

    NOT_LLM = "not_llm"
    HOLDS_CALLS = "holds_calls"  # an agent, a tool, a workflow: what it used its calls tell
    NO_MODEL = "no_model"  # said to be a call, or bears usage, but names neither model nor what it used
    NOT_UNDERSTOOD = "not_understood"  # bears names that only software around models writes, and is no known kind
    PENDING_SPAN = "pending_span"  # Logfire announces a span before it has run
    DUPLICATE_SPAN = "duplicate_span"  # LiteLLM's raw_gen_ai_request
    METRIC = "metric"


class RejectReason(StrEnum):
    """Why a span or log record cannot be taken."""

    BAD_IDS = "bad_ids"
    BAD_TIME = "bad_time"
    TOO_LARGE = "too_large"
