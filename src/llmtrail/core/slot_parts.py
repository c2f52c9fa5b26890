"""Read parts of an encoded slot without decoding the rest: a slot of 20,000 users is 4 MB. Pure.

Knows how `core.slot` encodes: a slot's text is always that encoder's own.
"""

from collections.abc import Sequence
from itertools import takewhile

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.calendar import check_zone
from llmtrail.core.cell import Cell
from llmtrail.core.partial import Evicted
from llmtrail.core.scope import SHARDS, ScopeKind, parse_scope
from llmtrail.core.slot import BadSlotError, SlotKey, Tier, decode_slot


class SlotHead(msgspec.Struct, gc=False):
    """What a slot says of itself. Reading it passes over the cells, at gigabytes a second."""

    through_s: int = 0
    watermark_s: int = 0
    applied: int = 0
    overflowed: int = 0
    late: dict[str, int] = {}
    skewed: int = 0
    evicted: dict[str, Evicted] = {}
    fence: dict[str, int] = {}


class Weight(msgspec.Struct, gc=False):
    """Of a cell, what scopes are ranked by."""

    calls: int = 0
    errors: int = 0
    cost_nanousd: int = 0
    attempts: int = 0
    retries: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, other: "Weight") -> None:
        """Add another slot's."""
        self.calls += other.calls
        self.errors += other.errors
        self.cost_nanousd += other.cost_nanousd
        self.attempts += other.attempts
        self.retries += other.retries
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens


class SlotWeights(msgspec.Struct, gc=False):
    """What each scope of a slot weighs."""

    cells: dict[str, Weight] = {}
    hitters: dict[str, Weight] = {}


_HEAD = json_decode.Decoder(SlotHead)
_WEIGHTS = json_decode.Decoder(SlotWeights)
_CELL = json_decode.Decoder(Cell)
_ENCODE = msgspec.json.Encoder().encode
# Times beyond it no calendar, and no column of the store, has room for.
START_S_END = 2**32
# Between a scope's tenant and its kind. It cannot stand within a name: a quote in there has a backslash before it.
_TENANT_ENDS = '","'
_NO_TENANT = '["","'
_NO_TENANT_ENDS = _NO_TENANT.index(_TENANT_ENDS)


def head_of(value: bytes) -> SlotHead:
    """Return what a slot says of itself; raises BadSlotError."""
    try:
        return _HEAD.decode(value)
    except msgspec.DecodeError as error:
        raise BadSlotError(f"not a slot: {error}") from error


def key_of(text: str) -> SlotKey:
    """Return the key of a slot; raises ValueError, or its BadSlotError or UnknownZoneError, where it is none."""
    key = SlotKey.parse(text)
    if key.text() != text:
        raise BadSlotError(f"{key.text()!r} is how this key is written")
    if not 0 <= key.shard < SHARDS:
        raise BadSlotError(f"shards are 0 to {SHARDS - 1}, not {key.shard}")
    if not 0 <= key.start_s < START_S_END:
        raise BadSlotError(f"{key.start_s} is no time of this century")
    if key.zone or key.tier is Tier.MONTH:
        check_zone(key.zone)
    return key


def check_slot(value: bytes) -> None:
    """Raise BadSlotError where any part of a slot cannot be read.

    For slots that others may have written: whoever sums them up takes them apart later, and only as far as asked.
    """
    slot = decode_slot(value)
    try:
        for text in (*slot.cells, *slot.hitters):
            parse_scope(text)
    except ValueError as error:
        raise BadSlotError(f"not a slot: {error}") from error


def weights_of(value: bytes) -> SlotWeights:
    """Return what each scope of a slot weighs; raises BadSlotError."""
    try:
        return _WEIGHTS.decode(value)
    except msgspec.DecodeError as error:
        raise BadSlotError(f"not a slot: {error}") from error


def cell_in(value: bytes, scope_text: str) -> Cell | None:
    """Return one scope's cell of a slot, None where it has none there."""
    # An unescaped quote, and an object after the colon: the scope's text within another name has neither.
    sought = _ENCODE(scope_text) + b":{"
    found = value.find(sought)
    if found < 0:
        return None
    start = found + len(sought) - 1
    end = value.index(b"}", start) + 1
    # A cell holds objects, but no text with braces: failure modes are a closed set.
    while value.count(b"{", start, end) > value.count(b"}", start, end):
        end = value.index(b"}", end) + 1
    return _CELL.decode(value[start:end])


def mark_of(kind: ScopeKind, values: Sequence[str | None]) -> bytes:
    """Return bytes that a slot with scopes of a kind holds, whatever their tenant; of this name where it is whole."""
    known = list(takewhile(lambda value: value is not None, values))
    scope = [kind, *known]
    whole = kind is ScopeKind.TENANT or (known and len(known) == len(values))
    # Within the text of a slot a scope is a name in quotes, so its own quotes have a backslash before them.
    told = "," + _ENCODE(scope).decode()[1:]
    return _ENCODE(told)[1:] + b":{" if whole else _ENCODE(told[:-1] + ",")[1:-1]


def is_of_kind(scope_text: str, kind: ScopeKind) -> bool:
    """Say whether a scope's text is of a kind, without taking it apart: this is asked of every cell there is."""
    ends = _NO_TENANT_ENDS if scope_text.startswith(_NO_TENANT) else scope_text.index(_TENANT_ENDS)
    after = ends + len(_TENANT_ENDS)
    return scope_text.startswith(kind, after) and scope_text[after + len(kind)] == '"'
