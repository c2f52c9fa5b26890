"""The rows last appended, still in memory, so that a reader close behind needs neither disk nor decoding."""

import threading
from bisect import bisect_right
from collections import deque

from llmtrail.log.rows import Row

# What a record costs in memory beside its value: two objects and their places in lists.
_RECORD_BYTES = 120


class Recent:
    """Recent rows by topic, each topic's without a gap, bounded by bytes over all topics."""

    def __init__(self, bytes_max: int) -> None:
        """Begin with nothing."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._lock = threading.Lock()
        self._rows: dict[str, deque[Row]] = {}
        self._order: deque[str] = deque()  # topics, in the order of their rows' arrival

    def add(self, topic: str, row: Row) -> None:
        """Keep a row that follows the topic's last one; forget the oldest rows of any topic over the limit."""
        with self._lock:
            self._rows.setdefault(topic, deque()).append(row)
            self._order.append(topic)
            self._bytes += _weight(row)
            while self._bytes > self._bytes_max and self._order:
                oldest = self._rows[self._order.popleft()]
                if oldest:
                    self._bytes -= _weight(oldest.popleft())

    def forget(self, topic: str, before_offset: int) -> None:
        """Forget rows wholly below `before_offset`: every group is done with them."""
        with self._lock:
            rows = self._rows.get(topic)
            while rows and rows[0].next_offset <= before_offset:
                self._bytes -= _weight(rows.popleft())
                # Which entry of the order goes does not matter: there is one for each row of the topic.
                self._order.remove(topic)

    def rows(self, topic: str, offset: int) -> list[Row]:
        """Return the kept rows from the one that holds `offset` on; none where that one is not kept."""
        with self._lock:
            rows = list(self._rows.get(topic, ()))
        if not rows or not rows[0].first_offset <= offset < rows[-1].next_offset:
            return []
        return rows[bisect_right(rows, offset, key=lambda row: row.first_offset) - 1 :]

    def start(self, topic: str) -> int | None:
        """Return the first offset that is kept, or None where nothing is."""
        with self._lock:
            rows = self._rows.get(topic)
            return rows[0].first_offset if rows else None


def _weight(row: Row) -> int:
    return row.bytes + _RECORD_BYTES * len(row.values)
