"""Refuse what may not be stored: the whole event is validated once. Pure; knows nothing of which fields a call has.

orjson reads the event and refuses invalid UTF-8, lone surrogates and infinite numbers, which raw slices would let
through. Plain objects come out as a by-product; nothing of them is kept.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from llmtrail.core.outcome import BadEventError, RejectReason

# Larger than any context window's text; what is larger is a mistake, and would hold up its neighbours. Logs take
# records of 8,000,000 bytes: room is left for what the gateway adds.
EVENT_BYTES_MAX = 7_900_000
# Deeper than any message format; recursive readers downstream have limits of their own.
DEPTH_MAX = 64
# What JavaScript and Python write for numbers that JSON does not have; a sign or a bracket may stand before it.
_NOT_FINITE = re.compile(r".?\s*-?(?:NaN|Infinity)")


def read_whole(value: bytes) -> dict[str, Any]:
    """Return the event as plain objects; raise BadEventError for what may not be stored."""
    if len(value) > EVENT_BYTES_MAX:
        raise BadEventError(RejectReason.TOO_LARGE, f"an event may hold {EVENT_BYTES_MAX} bytes; cut its content.")
    try:
        whole = orjson.loads(value)
    except orjson.JSONDecodeError as cause:
        raise _json_error(value, cause) from cause
    if not isinstance(whole, dict):
        raise BadEventError(RejectReason.NOT_AN_OBJECT, f"an event is a JSON object, not {_kind(whole)}.")
    if _brackets_exceed(value, DEPTH_MAX) and _depth_exceeds(whole, DEPTH_MAX):
        raise BadEventError(RejectReason.TOO_DEEP, f"values may be nested {DEPTH_MAX} deep; flatten them.")
    return whole


def check_objects(whole: Mapping[str, Any], *names: str) -> None:
    """Refuse an event in which one of the named fields is there and is no object."""
    for name in names:
        found = whole.get(name)
        if found is not None and type(found) is not dict:
            raise BadEventError(RejectReason.WRONG_TYPE, f"{name}: Expected `object | null`, got {_kind(found)}.")


def _json_error(value: bytes, cause: orjson.JSONDecodeError) -> BadEventError:
    text = str(cause)
    try:
        read = value.decode()
    except UnicodeDecodeError:
        return BadEventError(RejectReason.NOT_UTF8, f"the event is not UTF-8: {text}.")
    if "infinity" in text or _NOT_FINITE.match(read, max(0, cause.pos - 1)):
        return BadEventError(RejectReason.NOT_FINITE, f"numbers must be finite: {text}; leave unknown values out.")
    if "depth limit" in text:
        return BadEventError(RejectReason.TOO_DEEP, f"values may be nested {DEPTH_MAX} deep; flatten them.")
    if "surrogate" in text:
        return BadEventError(RejectReason.NOT_UTF8, f"{text}; an emoji cut in half must be repaired or left out.")
    return BadEventError(RejectReason.NOT_JSON, f"{text}; send one JSON object a line.")


def _brackets_exceed(value: bytes, limit: int) -> bool:
    """Say whether there are more opening brackets than `limit`: fewer cannot be nested too deep."""
    left = limit
    for bracket in (b"{", b"["):
        # To find each is quicker than to count them: most events are long texts with few brackets.
        at = value.find(bracket)
        while at >= 0:
            left -= 1
            if left < 0:
                return True
            at = value.find(bracket, at + 1)
    return False


def _depth_exceeds(value: object, limit: int) -> bool:
    layer: list[object] = [value]
    for _ in range(limit):
        deeper: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                deeper.extend(inner for inner in item.values() if isinstance(inner, (dict, list)))
            elif isinstance(item, list):
                deeper.extend(inner for inner in item if isinstance(inner, (dict, list)))
        layer = deeper
    return bool(layer)


def _kind(value: object) -> str:
    names = {list: "an array", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), "null")
