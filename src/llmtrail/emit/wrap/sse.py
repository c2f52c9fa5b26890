"""Split events from the raw bytes of a stream, as far as they came: server-sent ones, and AWS's own framing. Pure."""

import base64
import binascii
from struct import Struct

import orjson

EVENT_STREAM = "application/vnd.amazon.eventstream"
# A frame: its length, the length of its headers, a checksum of both; headers, payload, a checksum of all.
_PRELUDE = Struct(">III")
_CHECKSUM_BYTES = 4


def events_of(raw: bytes) -> list[tuple[str | None, str]]:
    """Return (event name, data) of each complete event in `raw`, in order; an unfinished last one is left out."""
    text = raw.decode("utf-8", errors="replace").replace("\r\n", "\n").replace("\r", "\n")
    events: list[tuple[str | None, str]] = []
    for block in text.split("\n\n")[:-1]:
        name: str | None = None
        data: list[str] = []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                name = value
        if data:
            events.append((name, "\n".join(data)))
    return events


def aws_events_of(raw: bytes) -> list[tuple[str | None, str]]:
    """Return (None, data) of each whole frame of Bedrock's InvokeModelWithResponseStream; its data stand in base64."""
    events: list[tuple[str | None, str]] = []
    start = 0
    while len(raw) - start >= _PRELUDE.size:
        whole_bytes, header_bytes, _ = _PRELUDE.unpack_from(raw, start)
        end = start + whole_bytes
        payload_at = start + _PRELUDE.size + header_bytes
        if end > len(raw) or payload_at > end - _CHECKSUM_BYTES:
            break
        data = _aws_data(raw[payload_at : end - _CHECKSUM_BYTES])
        if data is not None:
            events.append((None, data))
        start = end
    return events


def _aws_data(payload: bytes) -> str | None:
    """Return an event's data; of an exception's frame the error, as a first-party stream would say it."""
    try:
        frame = orjson.loads(payload)
        if isinstance(frame, dict) and isinstance(frame.get("bytes"), str):
            return base64.b64decode(frame["bytes"]).decode("utf-8", errors="replace")
    except (orjson.JSONDecodeError, binascii.Error):
        return None
    message = frame.get("message") if isinstance(frame, dict) else None
    return orjson.dumps({"type": "error", "error": {"message": message}}).decode() if message else None
