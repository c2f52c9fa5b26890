"""Ids and log keys: how a call is named and which partition it belongs to. Pure: randomness is an argument."""

import hashlib
import re

_VARIANT = 0x8000000000000000
_VERSION_7 = 0x7000
_UUID_CHARS = 36  # with its hyphens
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", re.ASCII)


def uuid7(now_ns: int, random: bytes) -> str:
    """Return a UUIDv7 (RFC 9562) of the given time with the first ten bytes of `random`."""
    milliseconds = (now_ns // 1_000_000) & ((1 << 48) - 1)
    bits = int.from_bytes(random[:10], "big")
    high = (milliseconds << 16) | _VERSION_7 | (bits >> 68)
    low = _VARIANT | (bits & ((1 << 62) - 1))
    # As `str(uuid.UUID(...))` writes it, for a fifth of the time.
    digits = f"{high:016x}{low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def derived_call_id(started_at_ns: int, *parts: str) -> str:
    """Return the UUIDv7-shaped id of a call told by others' ids: same parts and start, same id."""
    digest = hashlib.blake2b("\x00".join(parts).encode(), digest_size=10).digest()
    return uuid7(started_at_ns, digest)


def is_uuid(text: str) -> bool:
    """Say whether a text is a UUID, with hyphens or without."""
    return _UUID.fullmatch(text) is not None


def log_key(call_id: str) -> str:
    """Return the key that brings all events of a call to one partition: its id, as UUIDs are usually written.

    Nothing else stands in every event of a call: a revision may leave out its trace and request.
    """
    if len(call_id) == _UUID_CHARS and call_id.islower():
        return call_id
    digits = call_id.replace("-", "").lower()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}" if digits else ""


def request_key(trace_id: str | None, request_id: str | None, call_id: str) -> str:
    """Return what the contents of one request's calls are stored beside: trace id, else request id, else call id."""
    return trace_id or request_id or call_id
