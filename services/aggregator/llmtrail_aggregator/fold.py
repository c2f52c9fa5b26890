"""Fold partials into slots of time. Pure: says what is to be written, in which order; keeps and reads nothing itself.

Why counts are exact whatever is repeated: a message holds everything that one range of the log adds to one shard, and
the messages of a shard come in one order. Each slot remembers, per partition of the log, how far it has counted (its
fence), and skips a range that begins below it. A message may hold several ranges of different partitions. After a
crash the slots are as some prefix of the writes left them, so of all messages only the last may be half written, and
what was written of it since its last roll-up lies in slots that no roll-up touches.

Why roll-ups are exact: a slot is absorbed by its parent in one write, after which it is dead whether or not it was
deleted: the parent says through when it has absorbed. What arrives for that time later goes to the parent.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Protocol

from llmtrail.core.calendar import month_end_s, month_start_s
from llmtrail.core.partial import Cells, Partial, slot_of
from llmtrail.core.scope import ScopeKind, kind_of
from llmtrail.core.slot import MINUTE_S, QUARTER_S, SECONDS_OF, SlotKey, SlotState, Tier
from llmtrail_aggregator.contents import absorb, added

# A slot is absorbed once no window needs it any more, with a margin for windows that are read a little late.
AGE_S = {Tier.TEN_SECONDS: 6 * 60, Tier.MINUTE: 65 * 60, Tier.QUARTER: 26 * 3600}
_PARENT = {Tier.TEN_SECONDS: (Tier.MINUTE, MINUTE_S), Tier.MINUTE: (Tier.QUARTER, QUARTER_S)}
_START = attrgetter("start_s")
_FINER = (Tier.TEN_SECONDS, Tier.MINUTE, Tier.QUARTER)


class SlotView(Protocol):
    """The slots as the fold reads them."""

    def get(self, key: SlotKey) -> SlotState | None:
        """Return a slot, or None where there is none."""

    def kept(self, shard: int, tier: Tier) -> Collection[SlotKey]:
        """Return the keys of a shard's slots of one tier, in no order."""


Write = tuple[SlotKey, SlotState | None]  # None deletes the slot


@dataclass(slots=True)
class Changes:
    """What partials change. `writes` are to be made in this order."""

    writes: list[Write] = field(default_factory=list)
    applied: int = 0  # slots that the partial was added to
    repeated: int = 0  # slots that had counted it already
    late: int = 0  # calls older than anything that is kept


class _Overlay:
    """The view with the changes of this partial on top."""

    def __init__(self, view: SlotView) -> None:
        self._view = view
        self._changed: dict[SlotKey, SlotState | None] = {}
        self.changes = Changes()

    def get(self, key: SlotKey) -> SlotState | None:
        return self._changed[key] if key in self._changed else self._view.get(key)

    def kept(self, shard: int, tier: Tier) -> list[SlotKey]:
        there = [key for key in self._view.kept(shard, tier) if key not in self._changed]
        fresh = [key for key, slot in self._changed.items() if slot is not None and key.tier is tier]
        return there + [key for key in fresh if key.shard == shard]

    def put(self, key: SlotKey, slot: SlotState) -> None:
        self._changed[key] = slot
        self.changes.writes.append((key, slot))

    def delete(self, key: SlotKey) -> None:
        self._changed[key] = None
        self.changes.writes.append((key, None))


def apply(view: SlotView, partial: Partial, zones: Sequence[str]) -> Changes:
    """Return what a partial changes in its shard: roll-ups that are due by its time, then its own sums.

    `zones` are the time zones whose calendar months are kept; the first is the one that late arrivals are judged by.
    """
    return apply_all(view, [partial], zones)


def apply_all(view: SlotView, partials: Sequence[Partial], zones: Sequence[str]) -> Changes:
    """Return what partials of one shard change, one after the other as `apply` does, each slot written once."""
    overlay = _Overlay(view)
    for partial in partials:
        _roll_up(overlay, partial.shard, partial.watermark_s, zones)
        if partial.source is not None:
            _add(overlay, partial, zones)
    overlay.changes.writes = _once_each(overlay.changes.writes)
    return overlay.changes


def _once_each(writes: Sequence[Write]) -> list[Write]:
    """Return the writes with each slot once between two deletes.

    A roll-up's parent is written right before its child is deleted, so nothing passes it. Between roll-ups a slot's
    fence alone decides what is counted again, and it says the same of one write as of several.
    """
    found: list[Write] = []
    run: dict[SlotKey, Write] = {}
    for write in writes:
        key, slot = write
        run.pop(key, None)  # the last one counts, in its own place
        if slot is None:
            found += [*run.values(), write]
            run = {}
        else:
            run[key] = write
    return found + list(run.values())


def _add(overlay: _Overlay, partial: Partial, zones: Sequence[str]) -> None:
    """Add a partial's sums, those of several fine slots that are one coarse slot by now in one write."""
    targets: dict[SlotKey, Partial] = {}
    for start_s in sorted(partial.slots.keys() | partial.hitters.keys()):
        cells, hitters = partial.slots.get(start_s, {}), partial.hitters.get(start_s, {})
        keys = _targets(overlay, partial, start_s, zones)
        for key in keys:
            part = targets.setdefault(key, _share(partial))
            _merge(part, start_s, cells, hitters)
        if not keys:
            tenants = [cell for scope, cell in cells.items() if kind_of(scope) is ScopeKind.TENANT]
            overlay.changes.late += sum(cell.calls for cell in tenants)
    if partial.late or partial.skewed or partial.evicted:
        now = SlotKey(partial.shard, Tier.TEN_SECONDS, slot_of(partial.watermark_s * 1_000_000_000))
        for key in _targets(overlay, partial, now.start_s, zones)[:1]:
            part = targets.setdefault(key, _share(partial))
            part.late, part.skewed, part.evicted = partial.late, partial.skewed, partial.evicted
    for key, part in targets.items():
        _add_to(overlay, key, part)


def _add_to(overlay: _Overlay, key: SlotKey, part: Partial) -> None:
    slot = overlay.get(key) or _fresh(key)
    source = part.source
    if source is None or source.first_offset < slot.fence.get(source.name, 0):
        overlay.changes.repeated += 1
        return
    overlay.put(key, added(slot, part, source))
    overlay.changes.applied += 1


def _share(partial: Partial) -> Partial:
    return Partial(shard=partial.shard, watermark_s=partial.watermark_s, source=partial.source)


def _merge(part: Partial, start_s: int, cells: Cells, hitters: Cells) -> None:
    if cells:
        part.slots[start_s] = cells
    if hitters:
        part.hitters[start_s] = hitters


def _targets(overlay: _Overlay, partial: Partial, start_s: int, zones: Sequence[str]) -> list[SlotKey]:
    """Return the slots that a fine slot's sums go to: the finest one that holds its time still, or every month."""
    end_s = start_s + SECONDS_OF[Tier.TEN_SECONDS]
    months = [_month_key(partial.shard, start_s, zone) for zone in zones]
    if _is_past(overlay, months, Tier.QUARTER, end_s, partial.watermark_s):
        return [key for key in months if _is_kept(key, partial.watermark_s)]
    quarter = SlotKey(partial.shard, Tier.QUARTER, start_s // QUARTER_S * QUARTER_S)
    if _is_past(overlay, [quarter], Tier.MINUTE, end_s, partial.watermark_s):
        return [quarter]
    minute = SlotKey(partial.shard, Tier.MINUTE, start_s // MINUTE_S * MINUTE_S)
    if _is_past(overlay, [minute], Tier.TEN_SECONDS, end_s, partial.watermark_s):
        return [minute]
    return [SlotKey(partial.shard, Tier.TEN_SECONDS, start_s)]


def _is_past(overlay: _Overlay, parents: Iterable[SlotKey], tier: Tier, end_s: int, watermark_s: int) -> bool:
    """Say whether the time before `end_s` is no longer counted in `tier`: by its age, or because it was absorbed."""
    seconds = SECONDS_OF[tier]
    slot_end_s = -(-end_s // seconds) * seconds
    if slot_end_s <= watermark_s - AGE_S[tier]:
        return True
    return any((slot := overlay.get(key)) is not None and slot.through_s >= end_s for key in parents)


def _roll_up(overlay: _Overlay, shard: int, watermark_s: int, zones: Sequence[str]) -> None:
    for tier in _FINER:
        while kept := overlay.kept(shard, tier):
            # The eldest goes first, and what a crash left half absorbed is the eldest there is.
            key = min(kept, key=_START)
            parents = _parents(key, zones)
            end_s = key.start_s + SECONDS_OF[tier]
            behind = [parent for parent in parents if _through_s(overlay, parent) < end_s]
            if end_s > watermark_s - AGE_S[tier] and len(behind) == len(parents):
                break
            _absorb(overlay, key, [parent for parent in behind if _is_kept(parent, watermark_s)])
    for key in overlay.kept(shard, Tier.MONTH):
        if not _is_kept(key, watermark_s):
            overlay.delete(key)


def _absorb(overlay: _Overlay, key: SlotKey, parents: Iterable[SlotKey]) -> None:
    """Write each parent with the child in it, then delete the child: in this order, so that a crash loses nothing."""
    child = overlay.get(key)
    if child is not None:
        for parent in parents:
            overlay.put(parent, absorb(overlay.get(parent) or _fresh(parent), child))
    overlay.delete(key)


def _parents(key: SlotKey, zones: Sequence[str]) -> list[SlotKey]:
    if key.tier is Tier.QUARTER:
        return [_month_key(key.shard, key.start_s, zone) for zone in zones]
    tier, seconds = _PARENT[key.tier]
    return [SlotKey(key.shard, tier, key.start_s // seconds * seconds)]


def _month_key(shard: int, instant_s: int, zone: str) -> SlotKey:
    return SlotKey(shard, Tier.MONTH, month_start_s(instant_s, zone), zone)


def _is_kept(key: SlotKey, watermark_s: int) -> bool:
    """Say whether a slot is still kept: a month while it is the present or the former one."""
    if key.tier is not Tier.MONTH:
        return True
    former_s = month_start_s(month_start_s(watermark_s, key.zone) - 1, key.zone)
    return key.start_s >= former_s


def _through_s(overlay: _Overlay, key: SlotKey) -> int:
    slot = overlay.get(key)
    return slot.through_s if slot is not None else -1


def _fresh(key: SlotKey) -> SlotState:
    end_s = month_end_s(key.start_s, key.zone) if key.tier is Tier.MONTH else key.start_s + SECONDS_OF[key.tier]
    # A finest slot absorbs nothing; a coarser one has absorbed nothing yet.
    return SlotState(tier=key.tier, start_s=key.start_s, end_s=end_s, through_s=key.start_s, zone=key.zone)
