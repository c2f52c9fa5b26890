"""Events as bytes, and back. Pure: knows nothing of where bytes come from or go to.

Two readers share the work: msgspec decodes the typed fields and leaves content as raw slices; orjson reads the whole
once, only to refuse what a raw slice would let through (invalid UTF-8, lone surrogates, infinite numbers).
"""

import re
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import msgspec
import orjson

from llmtrail.core import json_decode
from llmtrail.core.call import SCHEMA_VERSION, Call, Parser, Retrieval
from llmtrail.core.checks import check_objects, read_whole
from llmtrail.core.fit import fitted
from llmtrail.core.ids import is_uuid
from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.core.times import to_ns

# The one hot place: each call of these names all that they raise.
_FAST = msgspec.json.Decoder(Call)  # tidy: every event passes here
_SLICES = json_decode.Decoder(dict[str, msgspec.Raw])
_ARRAY = json_decode.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},]', re.DOTALL)
# So deep no sender nests by accident: the search for the elements of a broken array ends there.
_DEPTH_MAX = 65_536
_NULL = msgspec.Raw(b"null")
_PLACE = re.compile(r" - at `\$\.?(.*)`$")


def _raw_defaults(kind: type[msgspec.Struct]) -> dict[str, msgspec.Raw]:
    """Return the fields that are raw slices with their defaults: the encoder leaves out these very objects only."""
    defaults = zip(reversed(kind.__struct_fields__), reversed(kind.__struct_defaults__), strict=False)
    return {name: default for name, default in defaults if isinstance(default, msgspec.Raw)}


_RAW_FIELDS = _raw_defaults(Call)
_RAW_SLICES = attrgetter(*_RAW_FIELDS)
_RAW_GROUPS = (("retrieval", _raw_defaults(Retrieval)), ("parser", _raw_defaults(Parser)))


class Fitted(msgspec.Struct, frozen=True, gc=False):
    """A call, and the event that tells it: the very one that came, or one in a shape that fits.

    `moved` says of each known field that went to the attributes why.
    """

    call: Call
    value: bytes
    moved: Mapping[str, str] = {}


def fit_call(value: bytes) -> Fitted:
    """Return the call in `value`; raise BadEventError, and nothing else, when there is none.

    Unknown names go to `attributes`, a group's unknown names as "group.name"; so does a field that has no sense, with
    a note. What can mean one thing only is taken for that.
    """
    whole = read_whole(value)
    try:
        call = _FAST.decode(value)
        check_objects(whole, "attributes", "parameters")
        _check(call)
    except (msgspec.ValidationError, BadEventError):
        return _fit(value, whole)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as cause:
        raise BadEventError(RejectReason.NOT_JSON, f"{cause}; send one JSON object.") from cause
    return Fitted(_without_nulls(call), value)


def decode_call(value: bytes) -> Call:
    """Return the call in `value`, as `fit_call` does."""
    return fit_call(value).call


def decode_checked(value: bytes) -> Call:
    """Return the call in `value` that `decode_call` accepted before: the whole is not validated a second time.

    Raises BadEventError all the same where the typed fields do not fit.
    """
    try:
        call = _FAST.decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return decode_call(value)  # Unknown names, most likely; if it is worse, this says what.
    return _without_nulls(call)


def encode_call(call: Call) -> bytes:
    """Return the event's JSON; fields that are absent stay absent."""
    return _ENCODER.encode(call)


def split_events(body: bytes) -> list[bytes]:
    """Return the events of a body: one object, an array of them, or one a line (NDJSON).

    Lines and elements are not yet checked; blank lines are no events. Raises BadEventError when the body is none of
    the three.
    """
    text = body.strip()
    if not text:
        raise BadEventError(RejectReason.NOT_JSON, "the body is empty; send one event, an array, or one a line.")
    if text[:1] == b"[":
        return _split_array(text)
    lines = [line for line in text.split(b"\n") if line and not line.isspace()]
    if _is_json(lines[0]):
        return lines
    if len(lines) > 1 and _is_json(text):
        return [text]  # One object, written over several lines.
    # The first line alone may be bad; but where no line can be an object, the sender means something else.
    if not any(line.lstrip()[:1] == b"{" for line in lines):
        raise BadEventError(RejectReason.NOT_JSON, "the body is no JSON; send one event, an array, or one a line.")
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
    except msgspec.DecodeError as cause:
        elements = _split_by_brackets(text)
        if elements is None:
            raise BadEventError(RejectReason.NOT_JSON, f"the array is no JSON: {cause}.") from cause
        return elements


def _split_by_brackets(text: bytes) -> list[bytes] | None:
    """Return an array's elements by its brackets and commas alone, so that one bad element spares its neighbours."""
    elements: list[bytes] = []
    depth, start = 0, 1
    for token in _TOKEN.finditer(text):
        match token.group()[:1]:
            case b"{" | b"[":
                depth += 1
                if depth > _DEPTH_MAX:
                    return None
            case b"}" | b"]":
                depth -= 1
                if depth == 0:
                    elements.append(text[start : token.start()].strip())
                    return elements if token.end() == len(text) else None
            case b"," if depth == 1:
                elements.append(text[start : token.start()].strip())
                start = token.end()
            case _:
                pass  # Text, or a comma further inside.
    return None


def _without_nulls(call: Call) -> Call:
    """Return the call with raw fields absent that were sent as null: to the typed fields both are the same."""
    # To look at the slices is quicker than to look for the word in the whole event.
    changes: dict[str, Any] = _nulls(call, _RAW_FIELDS) if _NULL in _RAW_SLICES(call) else {}
    for name, fields in _RAW_GROUPS:
        group = getattr(call, name)
        if group is not None and (inner := _nulls(group, fields)):
            changes[name] = msgspec.structs.replace(group, **inner)
    return msgspec.structs.replace(call, **changes) if changes else call


def _nulls(struct: msgspec.Struct, fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    return {name: default for name, default in fields.items() if getattr(struct, name) == _NULL}


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _fit(value: bytes, whole: Mapping[str, Any]) -> Fitted:
    """Return the call of an event that has something strange; raises BadEventError where it is none all the same."""
    value, moved = fitted(value, whole)
    try:
        call = _FAST.decode(value)
    except msgspec.ValidationError as cause:
        raise _validation(cause, whole) from cause
    for name in ("request_model", "response_model"):
        if name in moved and call.request_model is None and call.response_model is None:
            raise BadEventError(RejectReason.WRONG_TYPE, f"{name}: {moved[name]}.")
    _check(call)
    return Fitted(_without_nulls(call), value, moved)


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
    if call.call_id is not None and not is_uuid(call.call_id):
        raise BadEventError(RejectReason.WRONG_TYPE, f"call_id {call.call_id[:40]!r} is no UUID.")
