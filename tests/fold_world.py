"""A table of slots that can be killed: what tests of the fold apply partials to, and what they compare it with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from llmtrail.core.cell import Cell
from llmtrail.core.partial import Partial, Source
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.slot import SECONDS_OF, SlotKey, SlotState, Tier
from llmtrail.core.window import Window, is_counted, is_dead, summed
from llmtrail_aggregator.fold import Changes, apply_all
from llmtrail_aggregator.shelf import Shelf

SHARD = 3
ZONES = ("UTC", "Asia/Kolkata")
TENANT = Scope("", ScopeKind.TENANT, ()).text()
FEATURE = Scope("", ScopeKind.FEATURE, ("search",)).text()
USER = Scope("", ScopeKind.USER, ("u-1",)).text()


@dataclass
class World:
    """Slots in a table of bytes, as a worker holds them."""

    zones: Sequence[str] = ZONES
    table: dict[str, bytes] = field(default_factory=dict)
    now_s: int = 0
    shelf: Shelf = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Know only what the table holds."""
        self.shelf = Shelf(self.table, decoded_cells_max=5)
        self.shelf.reindex(self.table)

    def fold(self, *partials: Partial, writes_max: int | None = None) -> Changes:
        """Apply the partials of a message, or as many of its writes as were made before the worker was killed."""
        self.now_s = max(self.now_s, *(partial.watermark_s for partial in partials))
        changes = apply_all(self.shelf, partials, self.zones)
        for key, slot in changes.writes[:writes_max]:
            if slot is None:
                self.shelf.delete(key)
            else:
                self.shelf.put(key, slot)
        if writes_max is not None:
            self.restart()
        return changes

    def beat(self, watermark_s: int) -> None:
        """Let time pass."""
        self.fold(Partial(shard=SHARD, watermark_s=watermark_s))

    def slots(self, zone: str = "UTC") -> dict[SlotKey, SlotState]:
        """Return the slots that a reader of `zone` counts."""
        found = {key: self.shelf.get(key) for key in map(SlotKey.parse, self.table)}
        there = {key: slot for key, slot in found.items() if slot is not None}

        def through(key: SlotKey) -> int:
            return there[key].through_s if key in there else -1

        return {key: slot for key, slot in there.items() if key.zone in {"", zone} and not is_dead(key, through, zone)}

    def total(self, zone: str = "UTC") -> dict[str, Cell]:
        """Return the sums of everything that is kept."""
        return nonzero(self._sums(self.slots(zone).values()))

    def window(self, window: Window, now_s: int, zone: str = "UTC") -> dict[str, Cell]:
        """Return the sums of a window."""
        slots = self.slots(zone).items()
        return summed((slot for key, slot in slots if is_counted(key, window, now_s, zone)), lambda _: True, window)

    @staticmethod
    def _sums(slots: Iterable[SlotState]) -> dict[str, Cell]:
        sums: dict[str, Cell] = {}
        for slot in slots:
            for scope, cell in slot.cells.items():
                sums.setdefault(scope, Cell()).add(cell)
        return sums


def nonzero(cells: dict[str, Cell]) -> dict[str, Cell]:
    """Leave out what adds nothing."""
    return {scope: cell for scope, cell in cells.items() if not cell.is_zero}


def once(partials: Iterable[Partial], wanted: Callable[[int], bool] = lambda _: True) -> dict[str, Cell]:
    """Return the sums of different partials, each counted once, of the fine slots that are wanted."""
    different = {repr(partial.source): partial for partial in partials if partial.source is not None}
    sums: dict[str, Cell] = {}
    for partial in different.values():
        for start_s, cells in partial.slots.items():
            for scope, cell in cells.items() if wanted(start_s) else ():
                sums.setdefault(scope, Cell()).add(cell)
    return nonzero(sums)


def range_of(source: str, number: int) -> Source:
    """Return the ten offsets of a log that are its range of this number."""
    topic, _, partition = source.partition("/")
    return Source(topic, int(partition), number * 10, number * 10 + 10)


def granule(start_s: int, tier: Tier) -> int:
    """Return the start of the slot of `tier` that holds this time."""
    return start_s - start_s % SECONDS_OF[tier]
