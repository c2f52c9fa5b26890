"""Sign and verify the generic webhook: HMAC-SHA256 over the time, a dot and the body. Pure."""

import hmac

TIMESTAMP_HEADER = "x-llmtrail-timestamp"  # epoch seconds
SIGNATURE_HEADER = "x-llmtrail-signature"  # v1=hex
WINDOW_S = 300  # older requests are replays; clocks are seldom further apart


def sign(key: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature header's value."""
    return "v1=" + hmac.new(key.encode(), f"{timestamp_s}.".encode() + body, "sha256").hexdigest()


def verify(key: str, timestamp: str, signature: str, body: bytes, *, now_s: float) -> bool:
    """Say whether a request is ours and not a replay: `timestamp` and `signature` are its two headers.

    A header may hold several signatures, separated by commas, while a key is being changed; one of them is enough.
    """
    if not (timestamp.isascii() and timestamp.isdecimal()) or abs(now_s - int(timestamp)) > WINDOW_S:
        return False
    expected = sign(key, int(timestamp), body).encode()
    found = [hmac.compare_digest(expected, one.strip().encode()) for one in signature.split(",")]
    return any(found)
