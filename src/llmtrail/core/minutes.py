"""Which minutes of the statistics are to be written down, and what they come to. Pure.

Told of every change of a slot, in the order in which it was made. A minute is the sum of its slot and of those finer
ones that it has not absorbed. It is due half a minute after its end, and again when it has changed since.

What comes later than an hour is added to the slot of a quarter of an hour, and no slot tells its minute any more. The
quarter is due once its minutes are: what it holds beyond the minutes that it absorbed is a row of its own, so that all
rows together are all calls. What comes later than a day, by a log that lags two hours more, stands in the month alone:
it is counted in `unplaced`.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import assert_never

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.cell import Cell
from llmtrail.core.scope import SHARDS, STORED_KINDS
from llmtrail.core.slot import MINUTE_S, QUARTER_S, SECONDS_OF, BadSlotError, SlotKey, Tier
from llmtrail.core.slot_parts import head_of, is_of_kind, key_of

# Calls reach their slot within seconds; half a minute lets in nearly all of them before the first row.
SETTLE_S = 30
# A minute that keeps changing is written this often.
REWRITE_S = 30
# Minutes are absorbed when they are 65 minutes old: from then on a quarter holds what comes late.
QUARTER_SETTLE_S = 66 * 60


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """A minute, or a quarter of an hour, of one shard."""

    start_s: int
    seconds: int
    shard: int

    @property
    def end_s(self) -> int:
        """Return when it is over."""
        return self.start_s + self.seconds


@dataclass(frozen=True, slots=True)
class Due:
    """A stretch to be written: its sums by scope, and a version that grows with each change of them.

    A quarter's sums are everything that stands in it: less the minutes that end by `through_s` it is what is written.
    """

    stretch: Stretch
    version: int
    cells: dict[str, Cell]
    through_s: int


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    applied: int
    through_s: int


@dataclass(slots=True)
class _Open:
    """A stretch that may change, or is not written yet. `gone`: its slots were absorbed; this is what they were."""

    slots: dict[SlotKey, _Kept] = field(default_factory=dict)
    changed: bool = True
    gone: bool = False
    written_s: int = 0
    version: int = -1


class MinuteBook:
    """Minutes of some shards. `lock` guards it where several threads come."""

    def __init__(self, zone: str = "UTC", lock: "AbstractContextManager[object] | None" = None) -> None:
        """Start empty. `zone` is one whose calendar months the slots keep."""
        self._zone = zone
        self._lock = nullcontext() if lock is None else lock
        self._open: dict[Stretch, _Open] = {}
        self._months: dict[SlotKey, _Kept] = {}
        self.unplaced = 0

    def reset(self) -> None:
        """Forget everything: it is told anew."""
        with self._lock:
            self._open.clear()
            self._months.clear()

    def take(self, changes: Mapping[str, bytes | None]) -> None:
        """Take what became of some slots in one step, None for a slot that is gone.

        Raises ValueError, or its BadSlotError, where one is no slot; then nothing is taken.
        """
        by_stretch: dict[Stretch, list[tuple[SlotKey, _Kept | None]]] = {}
        months: list[tuple[SlotKey, _Kept]] = []
        for text, value in changes.items():
            key = key_of(text)
            kept = None if value is None else _kept(value)
            if key.tier is not Tier.MONTH:
                by_stretch.setdefault(_stretch_of(key), []).append((key, kept))
            elif kept is not None and key.zone == self._zone:
                months.append((key, kept))
        with self._lock:
            for stretch, changed in by_stretch.items():
                self._change(stretch, changed)
            for key, kept in months:
                self._watch(key, kept)

    def due(self, now_s: int, cells_max: int) -> list[Due]:
        """Return what is to be written now, the eldest first; minutes before the quarter that absorbed them.

        No more than one beyond `cells_max` rows. Raises BadSlotError.
        """
        with self._lock:
            waiting = sorted(
                stretch for stretch, one in self._open.items() if one.changed and _is_due(stretch, one, now_s)
            )
            unwritten = {
                (stretch.shard, stretch.start_s // QUARTER_S): stretch.start_s
                for stretch, one in sorted(self._open.items(), reverse=True)
                if one.changed and stretch.seconds == MINUTE_S
            }
            slots = {stretch: dict(self._open[stretch].slots) for stretch in waiting}
        found: list[Due] = []
        size = 0
        for stretch in waiting:
            through_s = max((kept.through_s for kept in slots[stretch].values()), default=0)
            if stretch.seconds == QUARTER_S:
                eldest_s = unwritten.get((stretch.shard, stretch.start_s // QUARTER_S), through_s)
                if eldest_s + MINUTE_S <= through_s:
                    continue
            one = _due(stretch, slots[stretch], through_s)
            found.append(one)
            size += len(one.cells)
            if size >= cells_max:
                break
        return found

    def written(self, done: Iterable[Due], now_s: int) -> None:
        """Note what was written down."""
        with self._lock:
            for due in done:
                one = self._open.get(due.stretch)
                if one is None:
                    continue
                one.written_s = now_s
                if one.slots and _version(one.slots) != due.version:
                    continue  # it has changed meanwhile
                one.changed, one.version = False, due.version
                if one.gone:
                    del self._open[due.stretch]
                elif due.stretch.seconds == QUARTER_S:
                    one.slots.clear()  # what comes to it comes as a new value of all of it

    def behind_s(self, now_s: int) -> int:
        """Return for how long the eldest unwritten minute has been due, in seconds; 0: none is."""
        with self._lock:
            waits = [now_s - _due_s(stretch, one) for stretch, one in self._open.items() if one.changed]
        return max(0, *waits) if waits else 0

    def _change(self, stretch: Stretch, changed: list[tuple[SlotKey, _Kept | None]]) -> None:
        one = self._open.get(stretch)
        if one is None:
            if all(kept is None for _, kept in changed):
                return
            one = self._open[stretch] = _Open()
        elif one.gone and any(kept is not None for _, kept in changed):
            # Told anew from the beginning: what came before is part of it.
            one.slots, one.gone = {}, False
        after = dict(one.slots)
        for key, kept in changed:
            if kept is None:
                after.pop(key, None)
            else:
                after[key] = kept
        if not after:
            # Absorbed in this very step: what it was before is what it came to.
            one.gone = True
            if not one.changed:
                del self._open[stretch]
            return
        one.slots = after
        one.changed = _version(after) != one.version

    def _watch(self, key: SlotKey, kept: _Kept) -> None:
        former = self._months.get(key)
        if former is not None and kept.through_s == former.through_s:
            self.unplaced += max(kept.applied - former.applied, 0)
        self._months[key] = _Kept(b"", kept.applied, kept.through_s)
        # The present month and the former one.
        while len(self._months) > 2 * SHARDS:
            del self._months[min(self._months, key=lambda one: one.start_s)]


class _Stored(msgspec.Struct):
    """A slot as it came, its cells not taken apart."""

    cells: dict[str, msgspec.Raw] = {}


class _Cells(msgspec.Struct):
    cells: dict[str, Cell] = {}


_STORED = json_decode.Decoder(_Stored)
_CELLS = json_decode.Decoder(_Cells)
_ENCODE = msgspec.json.Encoder().encode


def compact(value: bytes) -> bytes:
    """Return a slot with only those of its scopes that are written down: users are most of it; raises BadSlotError."""
    head = head_of(value)
    try:
        cells = _STORED.decode(value).cells
    except msgspec.DecodeError as error:
        raise BadSlotError(f"not a slot: {error}") from error
    wanted = {text: raw for text, raw in cells.items() if is_stored(text)}
    found = _ENCODE({"through_s": head.through_s, "applied": head.applied, "cells": wanted})
    _cells(found)  # what cannot be added up is turned away here, not when its minute is due
    return found


def is_stored(scope_text: str) -> bool:
    """Say whether a scope is of a kind whose minutes are written down."""
    return any(is_of_kind(scope_text, kind) for kind in STORED_KINDS)


def without(whole: Mapping[str, Cell], parts: Mapping[str, Cell]) -> dict[str, Cell]:
    """Return what a quarter holds beyond the minutes that it absorbed, leaving out scopes of which nothing is left."""
    rest: dict[str, Cell] = {}
    for scope in whole.keys() | parts.keys():
        cell = whole[scope].copy() if scope in whole else Cell()
        if scope in parts:
            cell.add(parts[scope].negated())
        if not cell.is_zero:
            rest[scope] = cell
    return rest


def _kept(value: bytes) -> _Kept:
    head = head_of(value)
    return _Kept(value, head.applied, head.through_s)


def _stretch_of(key: SlotKey) -> Stretch:
    match key.tier:
        case Tier.TEN_SECONDS | Tier.MINUTE:
            return Stretch(key.start_s // MINUTE_S * MINUTE_S, MINUTE_S, key.shard)
        case Tier.QUARTER:
            return Stretch(key.start_s, QUARTER_S, key.shard)
        case Tier.MONTH:
            raise ValueError("a month is no stretch that is written down.")
        case _:
            assert_never(key.tier)


def _due_s(stretch: Stretch, one: _Open) -> int:
    settled_s = stretch.end_s + (SETTLE_S if stretch.seconds == MINUTE_S else QUARTER_SETTLE_S)
    return max(settled_s, one.written_s + REWRITE_S) if one.written_s else settled_s


def _is_due(stretch: Stretch, one: _Open, now_s: int) -> bool:
    return now_s >= _due_s(stretch, one)


def _live(slots: Mapping[SlotKey, _Kept]) -> list[_Kept]:
    """Return the slots that count: the coarsest, and finer ones that it has not absorbed."""
    through_s = max((kept.through_s for key, kept in slots.items() if key.tier is not Tier.TEN_SECONDS), default=-1)
    return [
        kept
        for key, kept in slots.items()
        if key.tier is not Tier.TEN_SECONDS or key.start_s + SECONDS_OF[key.tier] > through_s
    ]


def _version(slots: Mapping[SlotKey, _Kept]) -> int:
    # Each addition counts one, also in what absorbs it.
    return sum(kept.applied for kept in _live(slots))


def _due(stretch: Stretch, slots: Mapping[SlotKey, _Kept], through_s: int) -> Due:
    sums: dict[str, Cell] = {}
    for kept in _live(slots):
        for scope, cell in _cells(kept.value).items():
            if is_stored(scope):
                sums.setdefault(scope, Cell()).add(cell)
    cells = {scope: cell for scope, cell in sums.items() if not cell.is_zero}
    return Due(stretch, _version(slots), cells, through_s)


def _cells(value: bytes) -> dict[str, Cell]:
    try:
        return _CELLS.decode(value).cells
    except msgspec.DecodeError as error:
        raise BadSlotError(f"not a slot: {error}") from error
