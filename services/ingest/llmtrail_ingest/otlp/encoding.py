"""The two encodings of OTLP, and the error for bodies in neither. Knows nothing of what requests hold."""

from enum import StrEnum

# As many as events in a body of the native way in; the collector batches 8,192.
RECORDS_MAX = 50_000
# OpenInference flattens messages, some ten attributes each: conversations of a thousand messages fit.
ATTRIBUTES_MAX = 16_384


class Encoding(StrEnum):
    """How an OTLP request is written; the answer is written likewise."""

    PROTOBUF = "application/x-protobuf"
    JSON = "application/json"


def encoding_of(content_type: str) -> Encoding | None:
    """Return the encoding that a Content-Type header names, or None where OTLP knows none such."""
    match content_type.partition(";")[0].strip().lower():
        case "application/x-protobuf" | "application/protobuf" | "application/octet-stream":
            return Encoding.PROTOBUF
        case "application/json":
            return Encoding.JSON
        case _:
            return None


class BadRequestError(ValueError):
    """A request that cannot be read as a whole; the text says what to mend."""


def check_records(count: int) -> None:
    """Raise BadRequestError where a request holds more spans, log records or groups of them than one may."""
    if count > RECORDS_MAX:
        raise BadRequestError(f"A request may hold {RECORDS_MAX} spans or log records; send fewer at a time.")


def check_attributes(count: int) -> None:
    """Raise BadRequestError where a span, an event or a value holds more attributes than one may."""
    if count > ATTRIBUTES_MAX:
        raise BadRequestError(f"A span may hold {ATTRIBUTES_MAX} attributes; flatten fewer messages into it.")
