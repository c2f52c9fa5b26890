"""A log in this process's memory, for tests and for trying things out: nothing outlives it."""

import threading
import uuid
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llmtrail import clock
from llmtrail.log.groups import Groups, Waiters, check_plans, only_partition
from llmtrail.log.port import Append, LogClosedError, LogFullError, Plan, Records
from llmtrail.log.rows import Gathering, Row, Span, chunks_of


@dataclass(slots=True)
class _Topic:
    topic_id: str
    rows: list[Row] = field(default_factory=list)
    start: int = 0
    end: int = 0
    last_at_ns: int = 0


class MemoryLog:
    """A `Log` of one partition a topic, kept in memory."""

    def __init__(
        self, *, bytes_max: int | None = None, random_bytes: Callable[[int], bytes] = clock.random_bytes
    ) -> None:
        """Make an empty log that holds `bytes_max` bytes of values at most."""
        self._bytes_max = bytes_max
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._topics: dict[str, _Topic] = {}
        self._groups = Groups()
        self._waiters = Waiters()
        self._bytes = 0
        self._closed = False

    def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append all of `appends` together; return the first offset of each."""
        cut = [(append.topic, chunks_of(append)) for append in appends]
        size = sum(chunk.bytes for _, chunks in cut for chunk in chunks)
        with self._lock:
            self._check_open()
            if self._bytes_max is not None and self._bytes + size > self._bytes_max:
                raise LogFullError(f"{self._bytes} bytes held of {self._bytes_max}; commit and trim to make room")
            offsets = []
            for name, chunks in cut:
                topic = self._topic(name)
                offsets.append(topic.end)
                topic.last_at_ns = max(now_ns, topic.last_at_ns)
                for chunk in chunks:
                    row = chunk.placed(topic.end, topic.last_at_ns)
                    topic.rows.append(row)
                    topic.end = row.next_offset
            self._bytes += size
            ends = {name: self._topics[name].end for name, _ in cut}
        for name, end in ends.items():
            self._waiters.tell(name, end)
        return offsets

    def read(self, topic: str, partition: int, offset: int, records_max: int, bytes_max: int) -> Records:
        """Return records from `offset` on, or from the start where `offset` was trimmed."""
        only_partition(partition)
        with self._lock:
            self._check_open()
            kept = self._topic(topic)
            gathering = Gathering(Span(max(offset, kept.start), records_max, bytes_max))
            place = bisect_right(kept.rows, gathering.next_offset, key=lambda row: row.first_offset) - 1
            if records_max > 0 and gathering.next_offset < kept.end:
                for row in kept.rows[max(place, 0) :]:
                    if not gathering.add(row):
                        break
            return gathering.records(topic, kept.topic_id)

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until a record at `offset` exists or the time is over; say whether it exists."""
        waiter = self._waiters.add(topic, offset)
        try:
            if self.end(topic, partition) <= offset:
                waiter.wait(timeout_s)
            return self.end(topic, partition) > offset
        finally:
            self._waiters.remove(waiter)

    def end(self, topic: str, partition: int) -> int:
        """Return the offset that the next appended record will get."""
        only_partition(partition)
        with self._lock:
            self._check_open()
            return self._topics[topic].end if topic in self._topics else 0

    def start(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record still kept."""
        only_partition(partition)
        with self._lock:
            self._check_open()
            return self._topics[topic].start if topic in self._topics else 0

    def topic_id(self, topic: str) -> str:
        """Return the topic's own id."""
        with self._lock:
            self._check_open()
            return self._topic(topic).topic_id

    def partitions(self, topic: str) -> int:
        """Return 1."""
        del topic
        return 1

    def plan(self, group: str, topic: str, plans: Sequence[Plan]) -> None:
        """Remember the group's ranges in flight."""
        with self._lock:
            self._check_open()
            check_plans(plans, self._topic(topic).end)
            self._groups.plan(group, topic, plans)

    def plans(self, group: str, topic: str) -> list[Plan]:
        """Return the group's ranges in flight, in offset order."""
        with self._lock:
            self._check_open()
            return list(self._groups.plans.get((group, topic), []))

    def commit(self, group: str, topic: str, partition: int, next_offset: int) -> None:
        """Remember that the group is done with every record before `next_offset`."""
        only_partition(partition)
        with self._lock:
            self._check_open()
            end = self._topic(topic).end
            if next_offset > end:
                raise ValueError(f"{topic} ends at {end}; {next_offset} cannot be committed")
            self._groups.commit(group, topic, next_offset)

    def committed(self, group: str, topic: str, partition: int) -> int:
        """Return the group's committed offset, or the partition's start where it never committed."""
        start = self.start(topic, partition)
        with self._lock:
            return max(start, self._groups.cursors.get((group, topic), 0))

    def trim(self, topic: str, partition: int, before_offset: int) -> int:
        """Forget records below `before_offset` that every group has committed; return the new start."""
        only_partition(partition)
        with self._lock:
            self._check_open()
            kept = self._topic(topic)
            kept.start = max(kept.start, min(before_offset, kept.end, self._groups.done_by_all(topic) or 0))
            gone = bisect_right(kept.rows, kept.start, key=lambda row: row.next_offset)
            self._bytes -= sum(row.bytes for row in kept.rows[:gone])
            del kept.rows[:gone]
            return kept.start

    def close(self) -> None:
        """Close; later calls raise LogClosedError."""
        with self._lock:
            self._closed = True
        self._waiters.tell_all()

    def _topic(self, name: str) -> _Topic:
        if name not in self._topics:
            self._topics[name] = _Topic(str(uuid.UUID(bytes=self._random_bytes(16), version=4)))
        return self._topics[name]

    def _check_open(self) -> None:
        if self._closed:
            raise LogClosedError("the log was closed")
