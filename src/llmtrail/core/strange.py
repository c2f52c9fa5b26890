"""Bring an event that does not fit at once into shape, so that nothing is lost. Pure; the slow path.

Names that the schema does not know move to `attributes`; a provider's own usage is read by what its names mean there,
and whole numbers written as text or with a point are counts.

An unknown field keeps its name there; one inside a group becomes "group.name", inside an attempt "attempts.0.name".
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import REPORTED_BY, Attempt, Call, CallError, Parser, Retrieval, Served, Usage, Versions
from llmtrail.core.usage import cost_of, foreign_counts
from llmtrail.core.usage_places import count_of

_SLICES = json_decode.Decoder(dict[str, msgspec.Raw])
_ARRAY = json_decode.Decoder(list[msgspec.Raw])
_ENCODER = msgspec.json.Encoder()
_Groups = Mapping[str, type[msgspec.Struct]]
_CALL_GROUPS: _Groups = {
    "usage": Usage,
    "served": Served,
    "versions": Versions,
    "error": CallError,
    "parser": Parser,
    "retrieval": Retrieval,
}
_COUNTS = frozenset(Usage.__struct_fields__)
_ATTEMPT_GROUPS: _Groups = {"usage": Usage, "error": CallError}


def move_strange(value: bytes, whole: Mapping[str, Any]) -> bytes:
    """Return the event with unknown fields moved to `attributes`; `whole` is the same event as plain objects."""
    strange: dict[str, msgspec.Raw] = {}
    fields = _known(value, Call, _CALL_GROUPS, "", strange)
    if isinstance(whole.get("attempts"), list):
        kept = []
        for index, raw in enumerate(_ARRAY.decode(bytes(fields["attempts"]))):
            if bytes(raw)[:1] == b"{":
                kept.append(_raw(_known(bytes(raw), Attempt, _ATTEMPT_GROUPS, f"attempts.{index}.", strange)))
            else:
                kept.append(raw)
        fields["attempts"] = _raw(kept)
    own = fields.get("attributes")
    if own is None or bytes(own) == b"null":
        fields["attributes"] = _raw(strange)
    elif bytes(own)[:1] == b"{":
        named = _SLICES.decode(bytes(own))
        # A name that stands in both is kept in both.
        fields["attributes"] = _raw({**{(f"event.{k}" if k in named else k): v for k, v in strange.items()}, **named})
    return _ENCODER.encode(fields)


def with_counts(value: bytes, whole: Mapping[str, Any]) -> bytes:
    """Return the event with counts of its usage that are written as 12.0 or "12" as whole numbers; else the same.

    A provider's own usage becomes our counts. Its names stay, for `move_strange`.
    """
    usage = whole.get("usage")
    if not isinstance(usage, Mapping):
        return value
    if foreign := foreign_counts(usage):
        return _with_foreign(value, whole, foreign)
    counts = {
        name: count
        for name, given in usage.items()
        if isinstance(given, float | str) and name in _COUNTS and (count := count_of(given)) is not None
    }
    if not counts:
        return value
    fields = _SLICES.decode(value)
    fields["usage"] = _raw(_SLICES.decode(bytes(fields["usage"])) | {name: _raw(one) for name, one in counts.items()})
    return _ENCODER.encode(fields)


def _with_foreign(value: bytes, whole: Mapping[str, Any], counts: Mapping[str, int]) -> bytes:
    """Return the event with these counts for those of a provider's own usage, and with the cost that it reports."""
    fields = _SLICES.decode(value)
    usage = _SLICES.decode(bytes(fields["usage"]))
    # A name of ours that means something else there, such as a total that leaves a part out.
    kept = {f"usage.{name}": usage.pop(name) for name in _COUNTS & usage.keys() - counts.keys()}
    fields["usage"] = _raw(usage | {name: _raw(count) for name, count in counts.items()})
    cost = cost_of(whole["usage"])
    if cost is not None and whole.get("reported_cost_nanousd") is None:
        fields["reported_cost_nanousd"] = _raw(cost)
        kept[REPORTED_BY] = _raw("provider")
    own = whole.get("attributes")
    if kept and (own is None or isinstance(own, Mapping)):
        fields["attributes"] = _raw({**kept, **(_SLICES.decode(bytes(fields["attributes"])) if own else {})})
    return _ENCODER.encode(fields)


def _known(
    value: bytes, kind: type[msgspec.Struct], groups: _Groups, path: str, strange: dict[str, msgspec.Raw]
) -> dict[str, msgspec.Raw]:
    """Return the object's known fields; add the others to `strange`."""
    fields = _SLICES.decode(value)
    names = kind.__struct_fields__
    for name in [name for name in fields if name not in names]:
        strange[path + name] = fields.pop(name)
    for name, group in groups.items():
        if name in fields and bytes(fields[name])[:1] == b"{":
            fields[name] = _raw(_known(bytes(fields[name]), group, {}, f"{path}{name}.", strange))
    return fields


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(value))
