"""The rolling statistics at hand: keeps every published slot, and answers what a window comes to now. Pure.

Slots are kept as they are encoded. One scope is looked up in the text of its own shard's slots; many are ranked by a
glance at each, and only those that are told are added up whole. So a million scopes cost the bytes they have in the
topic, and no question decodes what it does not tell.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from heapq import nlargest, nsmallest
from itertools import chain
from operator import attrgetter
from weakref import WeakSet

from llmtrail.core.calendar import check_zone, month_start_s
from llmtrail.core.cell import Cell
from llmtrail.core.gains import Follower, Gain, Gained
from llmtrail.core.partial import Evicted
from llmtrail.core.scope import HITTER_KINDS, SHARDS, Scope, ScopeKind, parse_scope, shard_of
from llmtrail.core.slot import SlotKey, SlotState, Tier
from llmtrail.core.slot_parts import SlotHead, Weight, cell_in, head_of, is_of_kind, key_of, mark_of, weights_of
from llmtrail.core.window import Figures, Window, figures, is_counted, is_dead, is_short, summed

# What nobody asked for in particular: more lines than a person reads.
LIMIT = 100
# An answer's size: a page of this many scopes is about a megabyte.
LIMIT_MAX = 1_000
# Choices of slots that are remembered for a shard until it changes: budgets and alarms ask about a handful of times.
_CHOICES_MAX = 64
_EVER_S = 2**62


class Order(StrEnum):
    """What the scopes of an answer are ranked by, the most first."""

    COST = "cost"
    CALLS = "calls"
    ERRORS = "errors"
    ATTEMPTS = "attempts"
    RETRIES = "retries"
    TOKENS = "tokens"  # in and out


class NotKeptError(ValueError):
    """A question about what no slot keeps; the text says what is kept."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which scopes to tell of, in which window."""

    window: Window
    kind: ScopeKind
    tenant: str | None = None  # None: every tenant; "": calls that told none
    values: tuple[str | None, ...] = ()  # what the scopes are called; None in a place, or no values at all: any
    order: Order = Order.COST
    limit: int = LIMIT
    zone: str = "UTC"  # of a calendar window


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for. `counted_s` is when the newest call that is counted in it reached the log, 0 for never."""

    scopes: list[tuple[Scope, Figures]]
    found: int  # scopes there are; the answer holds the first `limit` of them
    counted_s: int
    late: int  # calls that came too late for any slot, by their arrival
    skewed: int  # calls whose start lay after their arrival
    overflowed: int  # additions counted under "(other)", because a slot was full
    let_go: Evicted | None  # heavy hitters that were not kept: each weighed at most so much when it was let go


@dataclass(frozen=True, slots=True)
class Changed:
    """What has changed: every scope that may have other figures than at the generation that was asked about."""

    generation: int
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Kept:
    value: bytes
    head: SlotHead


@dataclass(slots=True)
class _Slots:
    """Everything that is kept. Changed as a whole under the board's lock."""

    shards: list[dict[SlotKey, _Kept]] = field(default_factory=lambda: [{} for _ in range(SHARDS)])
    # Slots by the generation that last changed what was counted in them.
    changed: dict[SlotKey, int] = field(default_factory=dict)
    counted_s: int = 0
    newest_s: int = 0


class Board:
    """Slots by key. `lock` guards it where several threads come; it is held for moments, not while sums are made."""

    def __init__(self, zones: Sequence[str] = ("UTC",), lock: "AbstractContextManager[object] | None" = None) -> None:
        """Start empty. `zones` are those whose calendar months the slots keep."""
        self._zones = tuple(zones)
        self._lock = nullcontext() if lock is None else lock
        self._slots = _Slots()
        self._generation = 0
        self._followers: WeakSet[Follower] = WeakSet()
        self._choices: list[dict[tuple[int, int], list[_Kept]]] = [{} for _ in range(SHARDS)]

    @property
    def zones(self) -> tuple[str, ...]:
        """Return the time zones whose months are kept."""
        return self._zones

    def keep(self, zones: Sequence[str]) -> None:
        """From now on take these for the zones whose calendar months the slots keep."""
        with self._lock:
            self._zones = tuple(zones)
            self._lose_all()

    def put(self, changes: Mapping[str, bytes | None]) -> None:
        """Take what became of some slots in one step, None for a slot that is gone.

        Raises ValueError, or its BadSlotError, where one is no slot; then nothing is taken.
        """
        read = [
            (key_of(text), None if value is None else _Kept(value, head_of(value))) for text, value in changes.items()
        ]
        with self._lock:
            self._generation += 1
            for key, kept in read:
                if kept is not None:
                    self._put(key, kept)
            # What was absorbed goes last: until then it tells what the coarser slot has it from.
            for key, kept in read:
                self._choices[key.shard].clear()
                if kept is None:
                    self._note_gone(key)
                    self._slots.shards[key.shard].pop(key, None)
                    self._slots.changed.pop(key, None)

    def frozen(self) -> "Board":
        """Return a board with what stands here now, which nothing changes any more. Costs no copy of any slot."""
        found = Board(self._zones)
        with self._lock:
            found._slots = replace(self._slots, shards=[dict(shard) for shard in self._slots.shards], changed={})
        return found

    def fences(self, shard: int) -> list[Mapping[str, int]]:
        """Return of each slot of a shard how far it has counted each source of calls."""
        with self._lock:
            return [kept.head.fence for kept in self._slots.shards[shard].values()]

    def reset(self) -> None:
        """Forget everything: it is told anew."""
        with self._lock:
            self._slots = _Slots()
            self._lose_all()

    def _lose_all(self) -> None:
        self._generation += 1
        self._choices = [{} for _ in range(SHARDS)]
        for follower in self._followers:
            follower.lose(range(SHARDS))

    def follow(self) -> Follower:
        """Return what collects all that slots gain from now on; all there is so far is unclear to it."""
        follower = Follower(unclear=set(range(SHARDS)))
        with self._lock:
            self._followers.add(follower)
        return follower

    def gained(self, follower: Follower) -> Gained:
        """Return what was gained since this was last asked."""
        with self._lock:
            found = Gained(self._generation, [*follower.closed, *follower.open.values()], frozenset(follower.unclear))
            follower.closed, follower.open, follower.unclear = [], {}, set()
        return found

    def standing(self, follower: Follower, shard: int, start_s: int) -> tuple[list[bytes], list[Gain]]:
        """Return a shard's live slots that begin at a time or later, as `since` counts them.

        And of what stands there, what the follower has not yet taken.
        """
        zone = self.month_zone(start_s)
        with self._lock:
            slots = self._live_now([shard], _between(start_s, _EVER_S, zone), zone or "UTC")[shard]
            gains = [*follower.closed, *follower.open.values()]
        return [kept.value for kept in slots], [gain for gain in gains if gain.key.shard == shard]

    def changed_since(self, generation: int) -> Changed:
        """Return what has changed since a generation, 0 for all there is. A roll-up changes nothing."""
        slots = self._slots
        with self._lock:
            now = self._generation
            values = [slots.shards[key.shard][key].value for key, at in slots.changed.items() if at > generation]
        scopes: set[str] = set()
        for value in values:
            told = weights_of(value)
            scopes.update(told.cells, told.hitters)
        return Changed(now, frozenset(scopes))

    def figures(self, scope: Scope, window: Window, now_s: int, zone: str = "UTC") -> Figures | None:
        """Return what one scope comes to, None where it has no calls; raises NotKeptError or UnknownZoneError."""
        self._check(scope.kind, window, zone)
        text = scope.text()
        cell = _whole(self._counted([shard_of(text)], window, now_s, zone), [text], window).get(text)
        return None if cell is None else figures(cell)

    def scopes(self, kind: ScopeKind, window: Window, now_s: int, zone: str = "UTC") -> dict[str, Cell]:
        """Return the sums of all scopes of a kind that have calls, by their text; raises as `figures`."""
        self._check(kind, window, zone)
        slots = self._counted(range(SHARDS), window, now_s, zone)
        weights = _weights(slots, kind, lambda text: is_of_kind(text, kind))
        return _whole(slots, chain.from_iterable(weights), window)

    def since(self, scopes: Sequence[str], start_s: int, end_s: int) -> dict[str, Cell]:
        """Return the sums of some scopes, by their text, over the slots that begin in [start_s, end_s).

        Exact where `start_s` is a boundary that is still kept: ten seconds for five minutes, a minute for an hour, a
        quarter of an hour for a day, and the beginning of the present month of a zone that is kept.
        """
        shards = sorted({shard_of(text) for text in scopes})
        return _whole({shard: self._chosen(shard, start_s, end_s) for shard in shards}, scopes, Window.HOUR)

    def scopes_since(self, kind: ScopeKind, start_s: int, end_s: int) -> list[str]:
        """Return the scopes of a kind that have calls in the slots that begin in [start_s, end_s)."""
        zone = self.month_zone(start_s)
        slots = self._live(range(SHARDS), _between(start_s, end_s, zone), zone or "UTC")
        return list(chain.from_iterable(_weights(slots, kind, lambda text: is_of_kind(text, kind))))

    @property
    def counted_s(self) -> int:
        """Return when the newest call that is counted here reached the log, in epoch seconds; 0: none is."""
        return self._slots.counted_s

    @property
    def newest_s(self) -> int:
        """Return when the newest slot begins, in epoch seconds; 0: there is none."""
        return self._slots.newest_s

    def answer(self, question: Question, now_s: int) -> Answer:
        """Return what is asked for, as of now; raises NotKeptError or UnknownZoneError."""
        self._check(question.kind, question.window, question.zone)
        slots = self._counted(range(SHARDS), question.window, now_s, question.zone)
        named = _named(question)
        if named is not None:
            cells = _whole(slots, [named], question.window)
            ranked, found = list(cells), len(cells)
        else:
            weights = _weights(slots, question.kind, _wanted(question), question.values)
            first = _first(weights, question.order, question.limit)
            cells = _whole(slots, first, question.window)
            ranked, found = [text for text in first if text in cells], sum(map(len, weights))
        heads = [kept.head for shard in slots.values() for kept in shard]
        return Answer(
            scopes=[(parse_scope(text), figures(cells[text])) for text in ranked],
            found=found,
            counted_s=self._slots.counted_s,
            late=sum(_late(head, question.tenant) for head in heads),
            skewed=sum(head.skewed for head in heads),
            overflowed=sum(head.overflowed for head in heads),
            let_go=_let_go(heads, question.kind) if question.kind in HITTER_KINDS else None,
        )

    def _check(self, kind: ScopeKind, window: Window, zone: str) -> None:
        check_zone(zone)
        if kind in HITTER_KINDS and not is_short(window):
            raise NotKeptError(f"the heaviest of kind {kind} are kept for an hour: ask for 1m, 5m or 1h.")
        if window is Window.MONTH and zone not in self._zones:
            raise NotKeptError(f"months are kept for {', '.join(self._zones)}, not for {zone}: see [stats] zones.")

    def month_zone(self, start_s: int) -> str | None:
        """Return a zone whose month is kept and begins then, None where none does."""
        return next((zone for zone in self._zones if month_start_s(start_s, zone) == start_s), None)

    def _chosen(self, shard: int, start_s: int, end_s: int) -> list[_Kept]:
        """Return the live slots of a shard that begin between two times."""
        # Slots begin each ten seconds: whoever asks for the time until now asks for the same slots for so long.
        when = start_s, -(-end_s // 10)
        chosen = self._choices[shard].get(when)
        if chosen is None:
            zone = self.month_zone(start_s)
            with self._lock:
                # Remembered under the lock, so that what has changed meanwhile is not taken for what stands.
                chosen = self._live_now([shard], _between(start_s, when[1] * 10, zone), zone or "UTC")[shard]
                if len(self._choices[shard]) >= _CHOICES_MAX:
                    self._choices[shard].clear()
                self._choices[shard][when] = chosen
        return chosen

    def _counted(self, shards: Iterable[int], window: Window, now_s: int, zone: str) -> dict[int, list[_Kept]]:
        """Return the live slots that make up a window, by shard, as they stand together at one moment."""
        return self._live(shards, lambda key: is_counted(key, window, now_s, zone), zone)

    def _live(self, shards: Iterable[int], is_wanted: Callable[[SlotKey], bool], zone: str) -> dict[int, list[_Kept]]:
        with self._lock:
            return self._live_now(shards, is_wanted, zone)

    def _live_now(
        self, shards: Iterable[int], is_wanted: Callable[[SlotKey], bool], zone: str
    ) -> dict[int, list[_Kept]]:
        """Return the live slots that are wanted; for who has the lock."""
        # The same few hundred times stand in every shard.
        wanted: dict[tuple[Tier, int, str], bool] = {}
        found: dict[int, list[_Kept]] = {}
        for shard in shards:
            there = self._slots.shards[shard]
            slots = found[shard] = []
            for key, kept in there.items():
                when = key.tier, key.start_s, key.zone
                if when not in wanted:
                    wanted[when] = is_wanted(key)
                if wanted[when] and not _is_dead(key, there, zone):
                    slots.append(kept)
        return found

    def _put(self, key: SlotKey, kept: _Kept) -> None:
        there, changed = self._slots.shards[key.shard], self._slots.changed
        absorbed = _absorbed(key, kept.head, there)
        if self._followers:
            self._note_put(key, kept, absorbed)
        if absorbed:
            # Nothing is new, but what was new in the finer ones stands here from now on.
            changed[key] = max(changed.get(one, 0) for one in (key, *absorbed))
        else:
            changed[key] = self._generation
        there[key] = kept
        self._slots.counted_s = max(self._slots.counted_s, kept.head.watermark_s)
        self._slots.newest_s = max(self._slots.newest_s, key.start_s)

    def _note_put(self, key: SlotKey, kept: _Kept, absorbed: Sequence[SlotKey]) -> None:
        """Tell followers what a slot gains."""
        there = self._slots.shards[key.shard]
        former = there.get(key)
        reach_s = key.start_s if former is None else former.head.through_s
        finer = _FINER[key.tier] if kept.head.through_s > reach_s else ()
        unlike = finer and not absorbed
        taken = unlike and any(one.tier in finer and reach_s <= one.start_s < kept.head.through_s for one in there)
        for follower in self._followers:
            if absorbed:
                # What it absorbed is not new; what it gained before stands for itself.
                for one in (key, *absorbed):
                    follower.close(one)
            elif taken or any(_is_dead(key, there, zone) for zone in self._zones):
                follower.lose([key.shard])
            elif key.shard not in follower.unclear:
                follower.gain(key, None if former is None else former.value, kept.value)

    def _note_gone(self, key: SlotKey) -> None:
        """Tell followers of a slot that goes, if nothing coarser has it."""
        there = self._slots.shards[key.shard]
        if key in there and not all(_is_dead(key, there, zone) for zone in self._zones):
            for follower in self._followers:
                follower.lose([key.shard])


_FINER: Mapping[Tier, tuple[Tier, ...]] = {
    Tier.TEN_SECONDS: (),
    Tier.MINUTE: (Tier.TEN_SECONDS,),
    Tier.QUARTER: (Tier.TEN_SECONDS, Tier.MINUTE),
    Tier.MONTH: (Tier.TEN_SECONDS, Tier.MINUTE, Tier.QUARTER),
}


def _absorbed(key: SlotKey, head: SlotHead, there: Mapping[SlotKey, _Kept]) -> list[SlotKey]:
    """Return the finer slots that a slot has absorbed since it was last seen, nothing where that is not all."""
    finer = _FINER[key.tier]
    former = there.get(key)
    from_s, applied = (key.start_s, 0) if former is None else (former.head.through_s, former.head.applied)
    if head.through_s <= from_s:
        return []
    absorbed = [
        one
        for one in there
        if one.tier in finer and from_s <= one.start_s < head.through_s and not _is_dead(one, there, key.zone)
    ]
    # Each range that is added counts one, also in what absorbs it.
    return absorbed if head.applied == applied + sum(there[one].head.applied for one in absorbed) else []


def _is_dead(key: SlotKey, there: Mapping[SlotKey, _Kept], zone: str) -> bool:
    def through_of(above: SlotKey) -> int:
        kept = there.get(above)
        return -1 if kept is None else kept.head.through_s

    return is_dead(key, through_of, zone)


def _between(start_s: int, end_s: int, zone: str | None) -> Callable[[SlotKey], bool]:
    """Return what says whether a slot begins between two times; of months only those of one zone count."""
    return lambda key: start_s <= key.start_s < end_s and (key.tier is not Tier.MONTH or key.zone == zone)


def _named(question: Question) -> str | None:
    """Return the text of the one scope that a question names, or None where it asks for several."""
    values = [value for value in question.values if value is not None]
    everything = question.kind is ScopeKind.TENANT or (values and len(values) == len(question.values))
    if question.tenant is None or not everything:
        return None
    return Scope(question.tenant, question.kind, tuple(values)).text()


def _wanted(question: Question) -> Callable[[str], bool]:
    kind, tenant, values = question.kind, question.tenant, question.values

    def is_wanted(text: str) -> bool:
        if not is_of_kind(text, kind):
            return False
        scope = parse_scope(text)
        if tenant is not None and scope.tenant != tenant:
            return False
        return all(value is None or value == told for value, told in zip(values, scope.values, strict=False))

    if tenant is None and all(value is None for value in values):
        return lambda text: is_of_kind(text, kind)
    return is_wanted


def _weights(
    slots: Mapping[int, Sequence[_Kept]],
    kind: ScopeKind,
    wanted: Callable[[str], bool],
    values: Sequence[str | None] = (),
) -> list[dict[str, Weight]]:
    """Return for each shard what each wanted scope with calls weighs. A scope stands in one shard only."""
    mark = mark_of(kind, values)
    marked = [[kept.value for kept in shard if mark in kept.value] for shard in slots.values()]
    return [_weights_of_shard(shard, kind, wanted) for shard in marked if shard]


def _weights_of_shard(values: Iterable[bytes], kind: ScopeKind, wanted: Callable[[str], bool]) -> dict[str, Weight]:
    weights: dict[str, Weight] = {}
    for value in values:
        told = weights_of(value)
        for text, weight in (told.hitters if kind in HITTER_KINDS else told.cells).items():
            former = weights.get(text)
            if former is not None:
                former.add(weight)
            elif wanted(text):
                weights[text] = weight
    return {text: weight for text, weight in weights.items() if weight.calls > 0}


def _first(weights: Sequence[Mapping[str, Weight]], order: Order, limit: int) -> list[str]:
    """Return the scopes that weigh most, equal ones by their text."""
    rank = _RANKS[order]
    most = nlargest(limit, (rank(weight) for shard in weights for weight in shard.values()))
    if not most:
        return []
    # Of a million scopes, only those that can be among the first are compared by more than a number.
    least = most[-1]
    able = {text: weight for shard in weights for text, weight in shard.items() if rank(weight) >= least}
    return nsmallest(limit, able, key=lambda text: (-rank(able[text]), text))


def _whole(slots: Mapping[int, Sequence[_Kept]], texts: Iterable[str], window: Window) -> dict[str, Cell]:
    """Return the full sums of some scopes."""
    parts = []
    for text in texts:
        hitter = parse_scope(text).kind in HITTER_KINDS
        for kept in slots[shard_of(text)]:
            cell = cell_in(kept.value, text)
            if cell is not None:
                found = {text: cell}
                # Where it stands decides whether a window tells it.
                parts.append(_part({}, found) if hitter else _part(found, {}))
    return summed(parts, lambda _: True, window)


def _part(cells: dict[str, Cell], hitters: dict[str, Cell]) -> SlotState:
    return SlotState(tier=Tier.TEN_SECONDS, start_s=0, end_s=0, through_s=0, cells=cells, hitters=hitters)


_RANKS: Mapping[Order, Callable[[Weight], int]] = {
    Order.COST: attrgetter("cost_nanousd"),
    Order.CALLS: attrgetter("calls"),
    Order.ERRORS: attrgetter("errors"),
    Order.ATTEMPTS: attrgetter("attempts"),
    Order.RETRIES: attrgetter("retries"),
    Order.TOKENS: lambda weight: weight.input_tokens + weight.output_tokens,
}


def _late(head: SlotHead, tenant: str | None) -> int:
    if tenant is None or not head.late:
        return sum(head.late.values())
    return head.late.get(Scope(tenant, ScopeKind.TENANT, ()).text(), 0)


def _let_go(heads: Iterable[SlotHead], kind: ScopeKind) -> Evicted:
    total = Evicted()
    for evicted in (head.evicted[kind] for head in heads if kind in head.evicted):
        total.add(evicted)
    return total
