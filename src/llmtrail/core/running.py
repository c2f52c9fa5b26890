"""Sums that go on running: what a scope came to since a time, kept up by what is new in each changed slot. Pure.

A board adds a period up from hundreds of slots. Whoever asks about thousands of scopes a second keeps the sums here:
each is added up once, and then what a slot gained since it was last looked at is added to it. A roll-up gains nothing.
Where it cannot be told what was gained, the sums of that shard are forgotten and added up anew.
"""

from collections.abc import Iterable, Mapping
from itertools import chain

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.board import Board
from llmtrail.core.cell import Cell
from llmtrail.core.gains import Follower, Gain
from llmtrail.core.scope import SHARDS, ScopeKind, kind_of, shard_of
from llmtrail.core.slot import QUARTER_S, SlotKey, Tier
from llmtrail.core.slot_parts import cell_in, is_of_kind

# A sum is about 700 bytes, so this many are 70 MB: 50,000 scopes under two budgets. Beyond that all are forgotten, and
# those that are asked about are added up anew.
SUMS_MAX = 100_000
# Adding up all scopes of a shard at once costs what decoding its slots does; beyond so many bytes only the one that is
# asked about is looked for.
TOGETHER_BYTES_MAX = 8 * 1024 * 1024


class _Raws(msgspec.Struct, gc=False):
    """The cells of a slot, not decoded."""

    cells: dict[str, msgspec.Raw] = {}
    hitters: dict[str, msgspec.Raw] = {}


class _Spent(msgspec.Struct, gc=False):
    """Of a cell, what a running sum holds."""

    calls: int = 0
    cost_nanousd: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    failures: dict[str, int] = {}


class _SlotSpent(msgspec.Struct, gc=False):
    cells: dict[str, _Spent] = {}


_RAWS = json_decode.Decoder(_Raws)
_SPENT = json_decode.Decoder(_Spent)
_SLOT = json_decode.Decoder(_SlotSpent)
_NONE = _Spent()


class RunningSums:
    """The sums of a board's scopes since some times. For one thread; the board may be filled by another."""

    def __init__(self, board: Board) -> None:
        """Follow a board from now on."""
        self._board = board
        self._follower: Follower = board.follow()
        # By shard: scope -> time -> the sum of the slots that begin then or later.
        self._sums: list[dict[str, dict[int, Cell]]] = [{} for _ in range(SHARDS)]
        self._together: set[tuple[int, ScopeKind, int]] = set()
        self._count = 0
        self._generation = 0

    def refresh(self) -> Iterable[str]:
        """Take in what is new; return the scopes that may have other figures than when this was last called."""
        gained = self._board.gained(self._follower)
        former, self._generation = self._generation, gained.generation
        for shard in gained.unclear:
            self._forget(shard)
        changed: set[str] = set()
        for gain in gained.gains:
            changed |= self._take(gain, unclear=gain.key.shard in gained.unclear)
        if gained.unclear:
            changed |= self._board.changed_since(former).scopes
        return changed

    def spent(self, scope_text: str, start_s: int) -> Cell:
        """Return what a scope used since a quarter of an hour's beginning: calls, cost, tokens, failures; no others.

        Not to be changed. As of the last `refresh`, or as of now where it was never asked.
        """
        shard = shard_of(scope_text)
        found = self._sums[shard].get(scope_text, {}).get(start_s)
        if found is None:
            self._add_up(shard, scope_text, start_s)
            found = self._sums[shard].get(scope_text, {}).get(start_s)
        return Cell() if found is None else found

    # --- what is new ---

    def _take(self, gain: Gain, *, unclear: bool) -> set[str]:
        former, latest = _raws(gain)
        changed = set(_changed(former.cells, latest.cells))
        if not unclear:
            sums = self._sums[gain.key.shard]
            for text in changed & sums.keys():
                self._gain(sums[text], gain.key, former.cells.get(text), latest.cells.get(text))
        changed.update(_changed(former.hitters, latest.hitters))
        return changed

    def _gain(
        self, sums: Mapping[int, Cell], key: SlotKey, former: msgspec.Raw | None, latest: msgspec.Raw | None
    ) -> None:
        before = _NONE if former is None else _SPENT.decode(former)
        after = _NONE if latest is None else _SPENT.decode(latest)
        for start_s, total in sums.items():
            counts = key.tier is not Tier.MONTH or self._board.month_zone(start_s) == key.zone
            if start_s <= key.start_s and counts:
                _add(total, after, 1)
                _add(total, before, -1)

    # --- what was never asked ---

    def _add_up(self, shard: int, scope_text: str, start_s: int) -> None:
        if self._count >= SUMS_MAX:
            for number in range(SHARDS):
                self._forget(number)
        values, gains = self._board.standing(self._follower, shard, start_s)
        kind = kind_of(scope_text)
        found: dict[str, Cell] = {}
        if (shard, kind, start_s) not in self._together and sum(map(len, values)) <= TOGETHER_BYTES_MAX:
            self._together.add((shard, kind, start_s))
            known = self._sums[shard]
            found = {text: cell for text, cell in _all_of(values, kind).items() if start_s not in known.get(text, {})}
        if scope_text not in found:
            found[scope_text] = _one_of(values, scope_text)
        # What is not yet taken comes with the next `refresh`.
        for gain in gains:
            former, latest = _raws(gain)
            for text in found.keys() & {*former.cells, *latest.cells}:
                self._gain({start_s: found[text]}, gain.key, latest.cells.get(text), former.cells.get(text))
        for text, total in found.items():
            self._keep(shard, text, start_s, total)

    def _keep(self, shard: int, text: str, start_s: int, total: Cell) -> None:
        by_start = self._sums[shard].setdefault(text, {})
        self._count += start_s not in by_start
        by_start[start_s] = total

    def _forget(self, shard: int) -> None:
        self._count -= sum(map(len, self._sums[shard].values()))
        self._sums[shard] = {}
        self._together = {one for one in self._together if one[0] != shard}


def is_kept_boundary(start_s: int) -> bool:
    """Say whether sums since a time stay what they are when slots are rolled up."""
    return start_s % QUARTER_S == 0


def _all_of(values: Iterable[bytes], kind: ScopeKind) -> dict[str, Cell]:
    """Add up all scopes of a kind."""
    found: dict[str, Cell] = {}
    for text, spent in chain.from_iterable(_SLOT.decode(value).cells.items() for value in values):
        if text not in found and is_of_kind(text, kind):
            found[text] = Cell(failures={})
        if text in found:
            _add(found[text], spent, 1)
    return found


def _one_of(values: Iterable[bytes], scope_text: str) -> Cell:
    """Add up one scope."""
    total = Cell(failures={})
    for cell in filter(None, (cell_in(value, scope_text) for value in values)):
        _add(total, _Spent(*(getattr(cell, name) for name in _Spent.__struct_fields__)), 1)
    return total


def _raws(gain: Gain) -> tuple[_Raws, _Raws]:
    return _Raws() if gain.former is None else _RAWS.decode(gain.former), _RAWS.decode(gain.latest)


def _changed(former: Mapping[str, msgspec.Raw], latest: Mapping[str, msgspec.Raw]) -> Iterable[str]:
    for text, raw in latest.items():
        old = former.get(text)
        if old is None or bytes(old) != bytes(raw):
            yield text
    if former.keys() - latest.keys():
        yield from former.keys() - latest.keys()


def _add(total: Cell, spent: _Spent, sign: int) -> None:
    total.calls += sign * spent.calls
    total.cost_nanousd += sign * spent.cost_nanousd
    total.unpriced += sign * spent.unpriced
    total.input_tokens += sign * spent.input_tokens
    total.output_tokens += sign * spent.output_tokens
    for mode, count in spent.failures.items():
        total.failures[mode] = total.failures.get(mode, 0) + sign * count
