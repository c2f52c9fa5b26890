"""Writes due minutes of the statistics into the store. Decides nothing about which are due.

The store itself says what is written already, so a writer that starts over, or takes over from another, writes the
same rows or none. A row that says less than the stored one never replaces it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from llmtrail.core.cell import Cell
from llmtrail.core.minutes import Due, MinuteBook, Stretch, without
from llmtrail.core.slot import MINUTE_S, QUARTER_S
from llmtrail.store.minutes import MinuteRow

# Rows of one insert, about 1 kB each with their histograms.
ROWS_MAX = 20_000


class MinuteStore(Protocol):
    """The store as minutes need it."""

    def insert(self, rows: Sequence[MinuteRow]) -> None:
        """Insert rows; the same again change nothing."""

    def versions(self, stretches: Collection[Stretch]) -> Mapping[Stretch, int]:
        """Return the highest stored version of each stretch that has a row."""

    def scopes(self, stretches: Collection[Stretch]) -> Mapping[Stretch, Collection[str]]:
        """Return the scopes that have a row in each stretch."""

    def sums(self, wholes: Mapping[Stretch, Collection[Stretch]]) -> Mapping[Stretch, Mapping[str, Cell]]:
        """Return what the stored minutes of each quarter come to."""


@dataclass(slots=True)
class MinuteWriter:
    """Carries a book's minutes into the store. For one thread; where the store raises, the rest waits."""

    book: MinuteBook
    store: MinuteStore
    # Told how many rows of so many seconds were written.
    count: Callable[[int, int], None] = lambda *_: None

    def write_due(self, now_s: int) -> int:
        """Write everything that is due; return how many rows that were."""
        total = 0
        while found := self.book.due(now_s, ROWS_MAX):
            rows = self._rows(found)
            self.store.insert(rows)
            self.book.written(found, now_s)
            total += len(rows)
            for seconds in (MINUTE_S, QUARTER_S):
                self.count(seconds, sum(1 for row in rows if row.stretch.seconds == seconds))
        return total

    def _rows(self, found: Sequence[Due]) -> list[MinuteRow]:
        wanted = self._less_their_minutes(found)
        stored = self.store.versions([due.stretch for due in wanted])
        fresh = [due for due in wanted if due.version > stored.get(due.stretch, 0)]
        former = self.store.scopes([due.stretch for due in fresh if due.stretch in stored])
        rows: list[MinuteRow] = []
        for due in fresh:
            rows += [MinuteRow(due.stretch, scope, due.version, cell) for scope, cell in due.cells.items()]
            # A revision that names another feature leaves nothing of the former one.
            left = sorted(set(former.get(due.stretch, ())) - due.cells.keys())
            rows += [MinuteRow(due.stretch, scope, due.version, None) for scope in left]
        return rows

    def _less_their_minutes(self, found: Sequence[Due]) -> list[Due]:
        """Return what is found, quarters less the minutes that they absorbed, as the store has those."""
        minutes_of = {due.stretch: _minutes(due) for due in found if due.stretch.seconds == QUARTER_S}
        if not minutes_of:
            return list(found)
        sums = self.store.sums(minutes_of)
        versions = self.store.versions([minute for minutes in minutes_of.values() for minute in minutes])
        return [
            # Should a minute be written after all, the rest of its quarter has another version.
            replace(
                due,
                version=due.version + sum(versions.get(minute, 0) for minute in minutes_of[due.stretch]),
                cells=without(due.cells, sums[due.stretch]),
            )
            if due.stretch in minutes_of
            else due
            for due in found
        ]


def _minutes(quarter: Due) -> list[Stretch]:
    """Return the minutes that a quarter may have absorbed."""
    stretch = quarter.stretch
    end_s = min(stretch.end_s, quarter.through_s)
    return [Stretch(start, MINUTE_S, stretch.shard) for start in range(stretch.start_s, end_s - MINUTE_S + 1, MINUTE_S)]
