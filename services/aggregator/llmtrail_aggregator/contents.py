"""What stands in a slot and how it adds up: cells of scopes, the heaviest requests, limits of both. Pure."""

from collections.abc import Iterable, Mapping

import msgspec

from llmtrail.core.cell import Cell
from llmtrail.core.partial import Cells, Evicted, Partial, Source
from llmtrail.core.scope import OTHER, USER_KINDS, Scope, ScopeKind, parse_scope
from llmtrail.core.slot import SlotState, Tier

# Scopes of one slot: 64 shards hold 1.28 million. Past it new users, features and models are counted together as
# "(other)", so that a sender who makes names up cannot fill the memory.
CELLS_MAX = 20_000
# Requests, sessions and prompts of one slot and kind: 64 shards hold the 320 heaviest of every ten seconds.
HITTERS_MAX = 5
# Tiers that outlive the hour for which the heaviest and the users' histograms are kept.
COARSE = frozenset({Tier.QUARTER, Tier.MONTH})


def added(slot: SlotState, part: Partial, source: Source) -> SlotState:
    """Return the slot with a partial's sums; the caller has looked at the fence."""
    cells, hitters = dict(slot.cells), dict(slot.hitters)
    evicted = {kind: msgspec.structs.replace(one) for kind, one in slot.evicted.items()}
    overflowed = slot.overflowed
    coarse = slot.tier in COARSE
    for more in part.slots.values():
        # What comes late, or takes back, must not leave in a histogram what its like was left out of.
        overflowed += _add_cells(cells, _without_user_histograms(more) if coarse else more)
    if not coarse:
        for more in part.hitters.values():
            _sum(hitters, more)
        _evict(hitters, evicted)
        for kind, one in part.evicted.items():
            evicted.setdefault(kind, Evicted()).add(one)
    return msgspec.structs.replace(
        slot,
        applied=slot.applied + 1,
        fence={**slot.fence, source.name: source.next_offset},
        cells=cells,
        hitters=hitters,
        evicted=evicted,
        overflowed=overflowed,
        late=_counts(slot.late, part.late),
        skewed=slot.skewed + part.skewed,
        watermark_s=max(slot.watermark_s, part.watermark_s),
    )


def absorb(parent: SlotState, child: SlotState) -> SlotState:
    """Return the parent with a finished child in it; its `through_s` says so."""
    cells, hitters = dict(parent.cells), dict(parent.hitters)
    evicted = {kind: msgspec.structs.replace(one) for kind, one in parent.evicted.items()}
    overflowed = parent.overflowed + child.overflowed
    coarse = parent.tier in COARSE
    overflowed += _add_cells(cells, _without_user_histograms(child.cells) if coarse else child.cells)
    if not coarse:  # The heaviest are kept for an hour.
        _sum(hitters, child.hitters)
        _evict(hitters, evicted)
        for kind, one in child.evicted.items():
            evicted.setdefault(kind, Evicted()).add(one)
    fence = {name: max(parent.fence.get(name, 0), after) for name, after in child.fence.items()}
    return msgspec.structs.replace(
        parent,
        through_s=max(parent.through_s, child.end_s),
        applied=parent.applied + child.applied,
        fence={**parent.fence, **fence},
        cells=cells,
        hitters=hitters,
        evicted=evicted,
        overflowed=overflowed,
        late=_counts(parent.late, child.late),
        skewed=parent.skewed + child.skewed,
        watermark_s=max(parent.watermark_s, child.watermark_s),
    )


def _sum(into: Cells, more: Mapping[str, Cell]) -> None:
    """Add cells, replacing those that change: the ones that were there belong to another slot's value."""
    for scope, cell in more.items():
        former = into.get(scope)
        if former is None:
            total = cell.copy()
        else:
            total = former.copy()
            total.add(cell)
        if total.is_zero:
            into.pop(scope, None)
        else:
            into[scope] = total


def _add_cells(into: Cells, more: Mapping[str, Cell]) -> int:
    """Add cells within the limit; return how many scopes were counted together with others."""
    room = CELLS_MAX - len(into)
    if len(more) <= room:
        _sum(into, more)
        return 0
    overflowed = 0
    for scope, cell in more.items():
        if scope in into or len(into) < CELLS_MAX:
            _sum(into, {scope: cell})
        else:
            overflowed += 1
            _sum(into, {_other(scope): cell})
    return overflowed


def _other(scope_text: str) -> str:
    """Return where a scope is counted that found no room: one place for each kind, whatever names there are."""
    scope = parse_scope(scope_text)
    return Scope(OTHER, scope.kind, (OTHER,) * len(scope.values)).text()


def _without_user_histograms(cells: Mapping[str, Cell]) -> Cells:
    return {
        scope: msgspec.structs.replace(cell, latency={}, time_to_first_token={})
        if (cell.latency or cell.time_to_first_token) and parse_scope(scope).kind in USER_KINDS
        else cell
        for scope, cell in cells.items()
    }


def _evict(hitters: Cells, evicted: dict[str, Evicted]) -> None:
    """Keep the heaviest of each kind, by attempts and by cost in turns, and note what was let go."""
    by_kind: dict[ScopeKind, list[str]] = {}
    for scope in hitters:
        by_kind.setdefault(parse_scope(scope).kind, []).append(scope)
    for kind, scopes in by_kind.items():
        if len(scopes) > HITTERS_MAX:
            for scope in lightest(scopes, hitters, HITTERS_MAX):
                gone = hitters.pop(scope)
                evicted.setdefault(kind, Evicted()).add(Evicted(1, gone.attempts, gone.cost_nanousd))


def lightest(scopes: Iterable[str], cells: Mapping[str, Cell], keep: int) -> list[str]:
    """Return what goes when the `keep` heaviest stay: half of them by attempts, the rest by cost."""
    # The scope's own text decides between equals, so that every worker lets the same ones go.
    by_attempts = sorted(scopes, key=lambda scope: (-cells[scope].attempts, -cells[scope].cost_nanousd, scope))
    stay = by_attempts[: (keep + 1) // 2]
    rest = sorted(by_attempts[len(stay) :], key=lambda scope: (-cells[scope].cost_nanousd, scope))
    return rest[keep - len(stay) :]


def _counts(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    total = dict(one)
    for name, count in other.items():
        total[name] = total.get(name, 0) + count
    return total
