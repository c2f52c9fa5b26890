"""Events as bytes, and back. Pure: knows nothing of where bytes come from or go to.

Two readers share the work: msgspec decodes the typed fields and leaves content as raw slices; orjson reads the whole
once, only to refuse what a raw slice would let through (invalid UTF-8, lone surrogates, infinite numbers).
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from llmtrail.core.call import SCHEMA_VERSION, Attempt, Call, CallError, Parser, Retrieval, Usage, Versions
from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.core.times import to_ns

# Larger than any context window's text; what is larger is a mistake, and would hold up its neighbours.
EVENT_BYTES_MAX = 8 * 1024 * 1024
# Deeper than any message format; recursive readers downstream have limits of their own.
DEPTH_MAX = 64

_FAST = msgspec.json.Decoder(Call)
_SLICES = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_GROUPS: Mapping[str, type[msgspec.Struct]] = {
    "usage": Usage,
    "versions": Versions,
    "error": CallError,
    "parser": Parser,
    "retrieval": Retrieval,
}
_FIELDS = frozenset(Call.__struct_fields__)
_GROUP_FIELDS = {name: frozenset(group.__struct_fields__) for name, group in _GROUPS.items()}
_ATTEMPT_FIELDS = frozenset(Attempt.__struct_fields__)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", re.ASCII)
_PLACE = re.compile(r" - at `\$\.?(.*)`$")


def decode_call(value: bytes) -> Call:
    """Return the call in `value`; raise BadEventError, and nothing else, when there is none.

    Unknown names go to `attributes`; a group's unknown names go there as "group.name".
    """
    if len(value) > EVENT_BYTES_MAX:
        raise BadEventError(RejectReason.TOO_LARGE, f"an event may hold {EVENT_BYTES_MAX} bytes; cut its content.")
    whole = _read_whole(value)
    try:
        call = _FAST.decode(value)
    except msgspec.ValidationError as cause:
        if "unknown field" not in str(cause):
            raise _validation(cause, whole) from cause
        call = _decode_slowly(value, whole)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as cause:
        raise BadEventError(RejectReason.NOT_JSON, f"{cause}; send one JSON object.") from cause
    _check(call)
    return call


def encode_call(call: Call) -> bytes:
    """Return the event's JSON; fields that are absent stay absent."""
    return _ENCODER.encode(call)


def content_hash(value: bytes) -> int:
    """Return 64 bits by which the same event, sent twice, is known again."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=8).digest(), "big")


def split_events(body: bytes) -> list[bytes]:
    """Return the events of a body: one object, an array of them, or one a line (NDJSON).

    Lines and elements are not yet checked; blank lines are no events. Raises BadEventError when the body is none of
    the three.
    """
    text = body.strip(b" \t\r\n\x0b\x0c")
    if not text:
        raise BadEventError(RejectReason.NOT_JSON, "the body is empty; send one event, an array, or one a line.")
    if text[:1] == b"[":
        return _split_array(text)
    lines = [line for line in text.split(b"\n") if line and not line.isspace()]
    if len(lines) > 1 and _is_one_value(text, lines):
        return [text]
    return lines


def with_call_id(value: bytes, call_id: str) -> bytes:
    """Return the event with `call_id` put in; `value` must be an object without one (or with null)."""
    fields = _SLICES.decode(value)
    if "call_id" in fields:
        fields["call_id"] = msgspec.Raw(_ENCODER.encode(call_id))
        return _ENCODER.encode(fields)
    start = value.index(b"{") + 1
    comma = b"," if fields else b""
    return b"".join((value[:start], b'"call_id":"', call_id.encode(), b'"', comma, value[start:]))


def _split_array(text: bytes) -> list[bytes]:
    try:
        return [bytes(element) for element in _ARRAY.decode(text)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as cause:
        raise BadEventError(RejectReason.NOT_JSON, f"the array is no JSON: {cause}.") from cause


def _is_one_value(text: bytes, lines: list[bytes]) -> bool:
    """Say whether several lines are one object written over them: then the first line alone is no object."""
    first = lines[0].strip()
    if first.startswith(b"{") and first.endswith(b"}"):
        return False
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _read_whole(value: bytes) -> dict[str, Any]:
    """Return the event as plain objects, refusing what may not be stored."""
    try:
        whole = orjson.loads(value)
    except orjson.JSONDecodeError as cause:
        raise _json_error(value, cause) from cause
    if not isinstance(whole, dict):
        raise BadEventError(RejectReason.NOT_AN_OBJECT, f"an event is a JSON object, not {_kind(whole)}.")
    # As many brackets as that cannot be nested too deep; more of them are looked at one by one.
    if value.count(b"{") + value.count(b"[") > DEPTH_MAX and _depth_exceeds(whole, DEPTH_MAX):
        raise BadEventError(RejectReason.TOO_DEEP, f"values may be nested {DEPTH_MAX} deep; flatten them.")
    return whole


def _json_error(value: bytes, cause: orjson.JSONDecodeError) -> BadEventError:
    text = str(cause)
    try:
        value.decode()
    except UnicodeDecodeError:
        return BadEventError(RejectReason.NOT_UTF8, f"the event is not UTF-8: {text}.")
    if "infinity" in text or b"NaN" in value or b"Infinity" in value:
        return BadEventError(RejectReason.NOT_FINITE, f"numbers must be finite: {text}; leave unknown values out.")
    if "recursion" in text:
        return BadEventError(RejectReason.TOO_DEEP, f"values may be nested {DEPTH_MAX} deep; flatten them.")
    if "surrogate" in text:
        return BadEventError(RejectReason.NOT_UTF8, f"{text}; an emoji cut in half must be repaired or left out.")
    return BadEventError(RejectReason.NOT_JSON, f"{text}; send one JSON object a line.")


def _depth_exceeds(value: object, limit: int) -> bool:
    layer: list[object] = [value]
    for _ in range(limit + 1):
        deeper: list[object] = []
        for item in layer:
            if isinstance(item, dict):
                deeper.extend(item.values())
            elif isinstance(item, list):
                deeper.extend(item)
        layer = deeper
    return any(isinstance(item, (dict, list)) for item in layer)


def _decode_slowly(value: bytes, whole: Mapping[str, Any]) -> Call:
    """Decode an event with names we do not know: they are moved to `attributes`, never lost."""
    fields = _SLICES.decode(value)
    strange = {name: fields.pop(name) for name in list(fields) if name not in _FIELDS}
    for name, known in _GROUP_FIELDS.items():
        if isinstance(whole.get(name), dict):
            group = _SLICES.decode(bytes(fields[name]))
            strange |= {f"{name}.{inner}": group.pop(inner) for inner in list(group) if inner not in known}
            fields[name] = msgspec.Raw(_ENCODER.encode(group))
    if isinstance(whole.get("attempts"), list):
        strange |= _strange_of_attempts(fields)
    if strange:
        fields["attributes"] = _joined_attributes(fields.get("attributes"), strange)
    try:
        return _FAST.decode(_ENCODER.encode(fields))
    except msgspec.ValidationError as cause:
        raise _validation(cause, whole) from cause


def _strange_of_attempts(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    strange: dict[str, msgspec.Raw] = {}
    kept: list[object] = []
    for index, raw in enumerate(_ARRAY.decode(bytes(fields["attempts"]))):
        try:
            attempt = _SLICES.decode(bytes(raw))
        except msgspec.ValidationError:
            kept.append(raw)
            continue
        strange |= {
            f"attempts.{index}.{inner}": attempt.pop(inner) for inner in list(attempt) if inner not in _ATTEMPT_FIELDS
        }
        kept.append(attempt)
    fields["attempts"] = msgspec.Raw(_ENCODER.encode(kept))
    return strange


def _joined_attributes(attributes: msgspec.Raw | None, strange: Mapping[str, msgspec.Raw]) -> msgspec.Raw:
    """Put strange fields beside the event's own attributes; a name that stands in both is kept in both."""
    own: dict[str, msgspec.Raw] = {}
    if attributes is not None and bytes(attributes) != b"null":
        try:
            own = _SLICES.decode(bytes(attributes))
        except msgspec.ValidationError:
            own = {"attributes": attributes}
    return msgspec.Raw(_ENCODER.encode({**{(f"event.{k}" if k in own else k): v for k, v in strange.items()}, **own}))


def _validation(cause: msgspec.ValidationError, whole: Mapping[str, Any]) -> BadEventError:
    text = str(cause)
    place = _PLACE.search(text)
    name = place.group(1) if place else ""
    what = text[: place.start()] if place else text
    if "missing required field" in what:
        return BadEventError(RejectReason.MISSING_FIELD, f"{what}; every event says when it started.")
    if what.startswith("Expected") and "got" in what:
        return BadEventError(RejectReason.WRONG_TYPE, f"{name}: {what}.")
    number = any(word in what for word in (">=", "<=", "out of range", "length"))
    reason = RejectReason.OUT_OF_RANGE if number else RejectReason.WRONG_TYPE
    if name and not number and name in whole:
        what = f"{what} {str(whole[name])[:40]!r}"
    return BadEventError(reason, f"{name}: {what}.")


def _check(call: Call) -> None:
    """Refuse what types alone cannot tell."""
    if call.request_model is None and call.response_model is None:
        raise BadEventError(RejectReason.MISSING_FIELD, "request_model or response_model is needed.")
    if call.schema_version > SCHEMA_VERSION or call.schema_version < 1:
        detail = f"schema_version {call.schema_version} is not known here; this llmtrail reads {SCHEMA_VERSION}."
        raise BadEventError(RejectReason.UNKNOWN_SCHEMA_VERSION, detail)
    to_ns(call.started_at)
    for attempt in call.attempts or ():
        if attempt.started_at is not None:
            to_ns(attempt.started_at)
    if call.call_id is not None and _UUID.fullmatch(call.call_id) is None:
        detail = f"call_id {call.call_id[:40]!r} is no UUID; put your own ids into request_id."
        raise BadEventError(RejectReason.BAD_ID, detail)


def _kind(value: object) -> str:
    names = {list: "an array", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), "null")
