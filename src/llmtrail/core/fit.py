"""Bring an event that does not fit at once into shape, so that one bad field costs no record. Pure; the slow path.

What can mean one thing only is taken: 12.0 and "12" tokens, a number for an id, seconds for nanoseconds, one finish
reason without its list. What fits nowhere moves to `attributes` under its own name ("usage.input_tokens",
"attempts.0.http_status"), and `llmtrail.moved` there says of each known field why. Names that the schema does not know
move there as well. A provider's own usage is read by what its names mean there.

The start, a model, the revision and the schema's version are what a record cannot stand without: they are left as
they are, and the event is refused.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from types import NoneType
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import msgspec

from llmtrail.core import json_decode, times
from llmtrail.core.call import (
    ATTEMPTS_MAX,
    ERROR_LENGTH_MAX,
    MONEY_NANOUSD_MAX,
    REPORTED_BY,
    Attempt,
    Call,
    CallError,
    ErrorText,
    Usage,
)
from llmtrail.core.ids import is_uuid
from llmtrail.core.usage import cost_of, foreign_counts

# Where an event's attributes say which of its fields were moved there, and why.
MOVED: Final = "llmtrail.moved"

_SLICES = json_decode.Decoder(dict[str, msgspec.Raw])
_ARRAY = json_decode.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_COUNTS = frozenset(Usage.__struct_fields__)
_NANOUSD = 10**9
# Fields without which there is no record; codec says what is wrong with them.
_INDISPENSABLE: Final = frozenset({"started_at", "revision", "schema_version"})
# Call ids that are no UUIDs get one made from their text, so that a repeat and a revision find their call.
_CALL_IDS: Final = uuid.UUID("5f0e7c86-95c1-4a5e-9d3b-6b8f0a1c2d3e")

_Fields = dict[str, msgspec.Raw]


@dataclass(slots=True)
class _Strange:
    """What moves to the attributes, and why a known field does."""

    values: _Fields = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def move(self, path: str, raw: msgspec.Raw, why: str) -> None:
        self.values[path] = raw
        self.why[path] = why


def fitted(value: bytes, whole: Mapping[str, Any]) -> tuple[bytes, Mapping[str, str]]:
    """Return the event in a shape that fits, and of each field that moved to its attributes why.

    `whole` is the same event as plain objects.
    """
    strange = _Strange()
    fields = _fit(_with_foreign_usage(value, whole), Call, "", strange)
    own = fields.pop("attributes", None)
    named = _SLICES.decode(bytes(own)) if own is not None and bytes(own) != b"null" else {}
    notes: _Fields = {MOVED: _raw(strange.why)} if strange.why else {}
    # A name that stands in both is kept in both.
    moved = {(f"event.{name}" if name in named else name): raw for name, raw in strange.values.items()}
    attributes = {**moved, **named, **notes}
    if attributes:
        fields["attributes"] = _raw(attributes)
    return _ENCODER.encode(fields), strange.why


def _with_foreign_usage(value: bytes, whole: Mapping[str, Any]) -> bytes:
    """Return the event with our counts for those of a provider's own usage, and with the cost that it reports."""
    given = whole.get("usage")
    if not isinstance(given, Mapping) or not (counts := foreign_counts(given)):
        return value
    fields = _SLICES.decode(value)
    usage = _SLICES.decode(bytes(fields["usage"]))
    # A name of ours that means something else there, such as a total that leaves a part out.
    kept = {f"usage.{name}": usage.pop(name) for name in _COUNTS & usage.keys() - counts.keys()}
    fields["usage"] = _raw(usage | {name: _raw(count) for name, count in counts.items()})
    cost = cost_of(given)
    if cost is not None and whole.get("reported_cost_nanousd") is None:
        fields["reported_cost_nanousd"] = _raw(cost)
        kept[REPORTED_BY] = _raw("provider")
    own = whole.get("attributes")
    if kept and (own is None or isinstance(own, Mapping)):
        fields["attributes"] = _raw({**kept, **(_SLICES.decode(bytes(fields["attributes"])) if own else {})})
    return _ENCODER.encode(fields)


def _fit(value: bytes, kind: type[msgspec.Struct], path: str, strange: _Strange) -> _Fields:
    """Return the object's fields that fit; the others are strange."""
    hints = _hints(kind)
    kept: _Fields = {}
    fields = _SLICES.decode(value)
    if (
        kind is Call
        and "reported_cost_nanousd" not in fields
        and (cost := _nanousd(fields.get("cost_usd"))) is not None
    ):
        fields.pop("cost_usd")
        kept["reported_cost_nanousd"] = _raw(cost)
    for name, raw in fields.items():
        if name not in hints:
            strange.values[path + name] = raw
        elif not path and name in _INDISPENSABLE:
            kept[name] = _meant_time(raw) or raw if name == "started_at" else _meant(raw, hints[name]) or raw
        else:
            fit = _FITS.get((kind, name), _fit_plain)
            found = fit(raw, hints[name], path + name, strange)
            if found is not None:
                kept[name] = found
    return kept


def _fit_plain(raw: msgspec.Raw, hint: Any, path: str, strange: _Strange) -> msgspec.Raw | None:
    """Return a field's value as it fits, or None where it was moved."""
    group = _group_of(hint)
    if group is not None and bytes(raw)[:1] == b"{":
        return _raw(_fit(bytes(raw), group, f"{path}.", strange))
    why = _misfit(raw, hint)
    if not why:
        return raw
    meant = _meant(raw, hint)
    if meant is None:
        strange.move(path, raw, why)
    return meant


def _fit_object(raw: msgspec.Raw, _hint: Any, path: str, strange: _Strange) -> msgspec.Raw | None:
    if bytes(raw)[:1] == b"{" or bytes(raw) == b"null":
        return raw
    strange.move(path, raw, "Expected `object | null`")
    return None


def _fit_error(raw: msgspec.Raw, _hint: Any, path: str, strange: _Strange) -> msgspec.Raw | None:
    """Return an error as an object; text is its message."""
    if bytes(raw)[:1] == b'"':
        raw = _raw({"message": msgspec.Raw(bytes(raw))})
    return _fit_plain(raw, CallError | None, path, strange)


def _fit_call_id(raw: msgspec.Raw, hint: Any, path: str, strange: _Strange) -> msgspec.Raw | None:
    given = raw if not _misfit(raw, hint) else _meant(raw, hint)
    if given is None or bytes(given) == b"null":
        return _fit_plain(raw, hint, path, strange)
    text = json_decode.decode(bytes(given), type=str)
    if is_uuid(text):
        return given
    strange.move(path, raw, "no UUID: the call has one made from this text; put ids of yours into request_id")
    return _raw(str(uuid.uuid5(_CALL_IDS, text)))


def _fit_attempts(raw: msgspec.Raw, hint: Any, path: str, strange: _Strange) -> msgspec.Raw | None:
    if bytes(raw)[:1] != b"[":
        return _fit_plain(raw, hint, path, strange)
    kept: list[_Fields] = []
    given = _ARRAY.decode(bytes(raw))
    for index, one in enumerate(given[:ATTEMPTS_MAX]):
        if bytes(one)[:1] != b"{":
            strange.move(f"{path}.{index}", one, "Expected `object`")
            continue
        attempt = _fit(bytes(one), Attempt, f"{path}.{index}.", strange)
        attempt.setdefault("number", _raw(index + 1))
        kept.append(attempt)
    if len(given) > ATTEMPTS_MAX:
        strange.move(f"{path}.rest", _raw(given[ATTEMPTS_MAX:]), f"Expected `array` of length <= {ATTEMPTS_MAX}")
    return _raw(kept)


def _fit_attempt_time(raw: msgspec.Raw, hint: Any, path: str, strange: _Strange) -> msgspec.Raw | None:
    if bytes(raw) == b"null":
        return raw
    meant = _meant_time(raw)
    if meant is None:
        strange.move(path, raw, _misfit(raw, hint) or "no time: send RFC 3339 with an offset, or epoch nanoseconds")
    return meant


_Fit = Callable[[msgspec.Raw, Any, str, _Strange], msgspec.Raw | None]
_FITS: Final[Mapping[tuple[type[msgspec.Struct], str], _Fit]] = {
    (Call, "call_id"): _fit_call_id,
    (Call, "attributes"): _fit_object,
    (Call, "parameters"): _fit_object,
    (Call, "error"): _fit_error,
    (Call, "attempts"): _fit_attempts,
    (Attempt, "started_at"): _fit_attempt_time,
}


@cache
def _hints(kind: type[msgspec.Struct]) -> Mapping[str, Any]:
    return get_type_hints(kind, include_extras=True)


@cache
def _decoder(hint: Any) -> json_decode.Decoder[Any]:
    return json_decode.Decoder(hint)


def _misfit(raw: msgspec.Raw, hint: Any) -> str:
    """Return why a value is none of this type; "" where it is."""
    if hint is msgspec.Raw:
        return ""
    try:
        _decoder(hint).decode(bytes(raw))
    except msgspec.DecodeError as cause:
        return str(cause).partition(" - at `$")[0]
    return ""


def _meant(raw: msgspec.Raw, hint: Any) -> msgspec.Raw | None:
    """Return the one thing that a value of another type can mean, or None."""
    value = json_decode.decode(bytes(raw))
    for kind in _kinds(hint):
        for meant in _READINGS.get(kind, _no_reading)(value, bytes(raw)):
            candidate = _raw(meant)
            if not _misfit(candidate, hint):
                return candidate
    return None


def _kinds(hint: Any) -> Iterator[Any]:
    """Yield the plain types that a hint allows: `str`, `int`, `float`, `bool`, `tuple`, `Enum`."""
    if hint == ErrorText:
        yield ErrorText
    if get_origin(hint) is Annotated:
        yield from _kinds(get_args(hint)[0])
    elif get_origin(hint) is tuple:
        yield tuple
    elif isinstance(hint, type):
        yield Enum if issubclass(hint, Enum) else hint
    else:
        for one in get_args(hint):
            if one is not NoneType:
                yield from _kinds(one)


def _no_reading(_value: Any, _raw_value: bytes) -> Iterator[Any]:
    return iter(())


def _as_text(value: Any, raw: bytes) -> Iterator[str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield raw.decode()  # As it was written: no digit more or less.


def _as_whole(value: Any, raw: bytes) -> Iterator[int]:
    number = _number(value, raw)
    # What has more digits than any count is none; a long exponent would be written out.
    if number is not None and abs(number) < 10**20 and number == number.to_integral_value():
        yield int(number)


def _as_float(value: Any, raw: bytes) -> Iterator[float]:
    number = _number(value, raw)
    if number is not None:
        yield float(number)


def _as_flag(value: Any, _raw_value: bytes) -> Iterator[bool]:
    word = value.strip().lower() if isinstance(value, str) else value
    if word in (0, "false"):
        yield False
    elif word in (1, "true"):
        yield True


def _as_member(value: Any, _raw_value: bytes) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip().lower()


def _as_list(value: Any, _raw_value: bytes) -> Iterator[list[Any]]:
    if isinstance(value, list):
        yield [one for one in value if one is not None]
    elif value is not None:
        yield [value]


def _as_short(value: Any, _raw_value: bytes) -> Iterator[str]:
    if isinstance(value, str):
        yield value[: ERROR_LENGTH_MAX - 1] + "…"


_READINGS: Final[Mapping[Any, Callable[[Any, bytes], Iterator[Any]]]] = {
    str: _as_text,
    int: _as_whole,
    float: _as_float,
    bool: _as_flag,
    tuple: _as_list,
    Enum: _as_member,
    ErrorText: _as_short,
}


def _number(value: Any, raw: bytes) -> Decimal | None:
    """Return a number, or text that is one, digit for digit."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(value.strip() if isinstance(value, str) else raw.decode())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _meant_time(raw: msgspec.Raw) -> msgspec.Raw | None:
    """Return an instant as it stands, or one in seconds, milli- or microseconds as nanoseconds; None for no instant."""
    value = json_decode.decode(bytes(raw))
    if isinstance(value, str | int) and not isinstance(value, bool) and times.is_instant(value):
        return raw
    number = _number(value, bytes(raw))
    instant_ns = None if number is None else times.from_epoch(number)
    return None if instant_ns is None else _raw(instant_ns)


def _nanousd(raw: msgspec.Raw | None) -> int | None:
    """Return dollars as nano-dollars, or None where it is no price of a call."""
    number = None if raw is None else _number(json_decode.decode(bytes(raw)), bytes(raw))
    if number is None or not 0 <= number * _NANOUSD <= MONEY_NANOUSD_MAX:
        return None
    return int((number * _NANOUSD).to_integral_value())


def _group_of(hint: Any) -> type[msgspec.Struct] | None:
    for one in (hint, *get_args(hint)):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            return one
    return None


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(value))
