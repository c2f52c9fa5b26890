"""The two encodings of OTLP, and the error for bodies in neither. Knows nothing of what requests hold."""

from enum import StrEnum


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
