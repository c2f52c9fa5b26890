"""Makes a call event of what an application passed to `llmtrail.record`, or says what is wrong with it."""

from typing import Any

from llmtrail.core.codec import decode_call
from llmtrail.emit.encode import encode


def build_by_hand(parts: tuple[dict[str, Any], int]) -> dict[str, Any]:
    """Return the event's fields. Raises BadEventError where they are no call event; its detail says what to mend."""
    fields, now_ns = parts
    event = {"started_at": now_ns, **fields}
    decode_call(encode(event))
    return event
