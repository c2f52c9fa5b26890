"""Lay a later revision of a call over a former one. Pure.

Merging is idempotent and, for revisions in order, associative: what is present in the later one wins, what is absent
keeps what the former said. Groups merge field by field, attributes and parameters key by
key; an attempt replaces the one of its number.
"""

from typing import Any

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import Attempt, Call

_OBJECT = json_decode.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
# A content field that is not there, or is null: neither says anything that could replace what was told before.
_ABSENT = (msgspec.Raw(), msgspec.Raw(b"null"))

_SIZES = (("input_bytes", ("messages", "prompt")), ("output_bytes", ("output", "tool_calls")))


def merge_calls(former: Call, later: Call) -> Call:
    """Return `later` laid over `former`."""
    merged: dict[str, Any] = {}
    for name in Call.__struct_fields__:
        old, new = getattr(former, name), getattr(later, name)
        merged[name] = _merged(name, old, new)
    # A size stands for a text that is left out: a text that comes later is no longer of that size.
    for size, texts in _SIZES:
        if getattr(later, size) is None and any(getattr(later, text) not in _ABSENT for text in texts):
            merged[size] = None
    return Call(**merged)


def _merged(name: str, old: Any, new: Any) -> Any:
    if new is None or new in _ABSENT or old == new:
        return old
    if old is None or old in _ABSENT:
        return new
    match name:
        case "attributes" | "parameters":
            return _merged_objects(old, new)
        case "attempts":
            return _merged_attempts(old, new)
        case _ if isinstance(new, msgspec.Struct) and isinstance(old, msgspec.Struct):
            return _merged_groups(old, new)
        case _:
            return new


def _merged_groups(old: msgspec.Struct, new: msgspec.Struct) -> msgspec.Struct:
    present = {name: _merged(name, getattr(old, name), getattr(new, name)) for name in new.__struct_fields__}
    return type(new)(**present)


def _merged_objects(old: msgspec.Raw, new: msgspec.Raw) -> msgspec.Raw:
    if old == new:
        return new  # As it was sent: merging a revision over its own outcome changes no byte.
    try:
        return msgspec.Raw(_ENCODER.encode({**_OBJECT.decode(bytes(old)), **_OBJECT.decode(bytes(new))}))
    except msgspec.DecodeError:
        return new  # One of them is no object: there are no keys to merge by.


def _merged_attempts(old: tuple[Attempt, ...], new: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    by_number = {attempt.number: attempt for attempt in (*old, *new)}
    return tuple(by_number[number] for number in sorted(by_number))
