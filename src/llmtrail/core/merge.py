"""Lay a later revision of a call over a former one. Pure.

Merging is idempotent and, for revisions in order, associative: what is present in the later one wins, what is absent
keeps what the former said. Groups merge field by field, attributes key by key, attempts by their number.
"""

from typing import Any

import msgspec

from llmtrail.core.call import Attempt, Call

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_ABSENT_RAW = msgspec.Raw()


def merge_calls(former: Call, later: Call) -> Call:
    """Return `later` laid over `former`."""
    merged: dict[str, Any] = {}
    for name in Call.__struct_fields__:
        old, new = getattr(former, name), getattr(later, name)
        merged[name] = _merged(name, old, new)
    return Call(**merged)


def _merged(name: str, old: Any, new: Any) -> Any:
    if new is None or new == _ABSENT_RAW:
        return old
    if old is None or old == _ABSENT_RAW:
        return new
    match name:
        case "attributes" | "parameters":
            return _merged_objects(old, new)
        case "attempts":
            return _merged_attempts(old, new)
        case _ if isinstance(new, msgspec.Struct):
            return _merged_groups(old, new)
        case _:
            return new


def _merged_groups(old: msgspec.Struct, new: msgspec.Struct) -> msgspec.Struct:
    present = {name: _merged(name, getattr(old, name), getattr(new, name)) for name in new.__struct_fields__}
    return type(new)(**present)


def _merged_objects(old: msgspec.Raw, new: msgspec.Raw) -> msgspec.Raw:
    try:
        return msgspec.Raw(_ENCODER.encode({**_OBJECT.decode(bytes(old)), **_OBJECT.decode(bytes(new))}))
    except msgspec.DecodeError:
        return new  # One of them is no object: there are no keys to merge by.


def _merged_attempts(old: tuple[Attempt, ...], new: tuple[Attempt, ...]) -> tuple[Attempt, ...]:
    by_number = {attempt.number: attempt for attempt in old}
    for attempt in new:
        former = by_number.get(attempt.number)
        by_number[attempt.number] = attempt if former is None else _merged_attempt(former, attempt)
    return tuple(by_number[number] for number in sorted(by_number))


def _merged_attempt(old: Attempt, new: Attempt) -> Attempt:
    present = {name: _merged(name, getattr(old, name), getattr(new, name)) for name in Attempt.__struct_fields__}
    return Attempt(**present)
