"""Find the record that ends nearest to a moment, or last before it, among those that are left. Pure.

Each question costs a few steps whatever the number of records: a trace of thousands of calls that all look the same
must not be looked through for each of its records.
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

Record = TypeVar("Record", bound=Hashable)
# What tells records of one end apart: a start and a span id, or a span id alone.
Key = tuple[int, str]


class ByEnd(Generic[Record]):
    """Records by when they end, until they are removed."""

    def __init__(
        self, records: Iterable[Record], end_ns: Callable[[Record], int], key: Callable[[Record], Key]
    ) -> None:
        """Take all records; `key` orders those of one end."""
        groups: dict[int, deque[Record]] = {}
        for record in sorted(records, key=key):
            groups.setdefault(end_ns(record), deque()).append(record)
        self._end_ns, self._key = end_ns, key
        self._ends = sorted(groups)
        self._groups = [groups[end] for end in self._ends]
        self._removed: set[Record] = set()
        # For each end the next one, itself included, that may have records left; one stands before all, one behind.
        self._before = list(range(len(self._ends) + 1))
        self._after = list(range(len(self._ends) + 1))

    def remove(self, record: Record) -> None:
        """Leave a record out from now on; one that is not here changes nothing."""
        self._removed.add(record)

    def nearest(self, moment_ns: int, low_ns: int, high_ns: int) -> Record | None:
        """Return the record ending nearest to a moment, within bounds; of several the one of the least key."""
        found = []
        after = self._left_from(bisect_left(self._ends, max(moment_ns, low_ns)))
        if after < len(self._ends) and self._ends[after] <= high_ns:
            found.append(self._groups[after][0])
        before = self._left_until(bisect_right(self._ends, min(moment_ns, high_ns)) - 1)
        if before >= 0 and self._ends[before] >= low_ns:
            found.append(self._groups[before][0])
        return min(found, key=lambda one: (abs(self._end_ns(one) - moment_ns), self._key(one)), default=None)

    def latest(self, low_ns: int, high_ns: int) -> Record | None:
        """Return the record ending last within bounds; of several the one of the greatest key."""
        place = self._left_until(bisect_right(self._ends, high_ns) - 1)
        return self._groups[place][-1] if place >= 0 and self._ends[place] >= low_ns else None

    def _left_from(self, place: int) -> int:
        """Return the first place from this one on that has records left, else the one behind all."""
        while (place := _root(self._after, place)) < len(self._ends) and not self._has_left(place):
            self._after[place] = place + 1
        return place

    def _left_until(self, place: int) -> int:
        """Return the last place up to this one that has records left, else the one before all: -1."""
        while (root := _root(self._before, place + 1)) > 0 and not self._has_left(root - 1):
            self._before[root] = root - 1
        return root - 1

    def _has_left(self, place: int) -> bool:
        group = self._groups[place]
        while group and group[0] in self._removed:
            group.popleft()
        while group and group[-1] in self._removed:
            group.pop()
        return bool(group)


def _root(parents: list[int], place: int) -> int:
    """Follow parents to the end, and halve the way for whoever follows them next."""
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place
