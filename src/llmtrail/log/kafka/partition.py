"""One assigned partition of a group as its worker sees it: what was fetched, what is planned, what is done.

Filled by the group's polling thread, emptied by the partition's one worker. Records are kept until they are committed,
so a worker that starts over finds them again.
"""

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from llmtrail.log.kafka.notes import to_metadata
from llmtrail.log.port import LogClosedError, Plan, Records

# What one partition may hold in memory, fetched and not yet committed: two batches of 10,000 calls of 3 kB in flight
# and one being gathered. Past it the partition is paused until half of it is free.
BUFFER_BYTES_MAX = 96 * 1024 * 1024
BUFFER_RECORDS_MAX = 60_000
# All partitions of one member share this much, or a member that has twelve would hold a gigabyte of a backlog.
SHARED_BYTES_MAX = 384 * 1024 * 1024
# Records that are known to exist (a planned range, those before a cursor) are waited for so long.
FETCH_S_MAX = 10.0

# offset, key, value, appended at (ns), headers
Fetched = tuple[int, bytes, bytes, int, Mapping[str, str]]
# (partition, next offset, metadata): made durable when it returns.
Commit = Callable[[int, int, str], None]


class PartitionLog:
    """A `Log` of one partition for one group. `read` and what follows are for one worker at a time."""

    def __init__(self, topic: str, topic_id: str, partition: int, commit: Commit) -> None:
        """Begin with nothing; `begin` tells where the group stands."""
        self.topic = topic
        self.partition = partition
        self._topic_id = topic_id
        self._commit = commit
        self._changed = threading.Condition()
        self._lost = False
        self._committed = 0
        self._first = 0
        self._plans: list[Plan] = []
        self._offsets: list[int] = []
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._times_ns: list[int] = []
        self._headers: list[Mapping[str, str]] = []
        self._bytes = 0
        self._share_bytes = BUFFER_BYTES_MAX
        self._repeated_to = 0
        self._end = 0

    # --- the polling thread's side ---

    def begin(self, committed: int, plans: Sequence[Plan], first: int, end: int) -> None:
        """Tell where the group stands, where fetching starts and where the partition ended when it was assigned."""
        self._committed, self._plans, self._first, self._end = committed, list(plans), first, end
        self._repeated_to = max((plan.next_offset for plan in plans), default=0)

    def fill(self, fetched: Sequence[Fetched]) -> None:
        """Add fetched records, in offset order."""
        with self._changed:
            for offset, key, value, appended_at_ns, headers in fetched:
                self._offsets.append(offset)
                self._keys.append(key)
                self._values.append(value)
                self._times_ns.append(appended_at_ns)
                self._headers.append(headers)
                self._bytes += len(value)
            self._end = max(self._end, self._offsets[-1] + 1)
            self._changed.notify_all()

    def share(self, partitions: int) -> None:
        """Take this partition's share of the memory that so many have together."""
        self._share_bytes = min(BUFFER_BYTES_MAX, SHARED_BYTES_MAX // max(partitions, 1))

    @property
    def is_full(self) -> bool:
        """Say whether fetching must pause."""
        return self._bytes >= self._bytes_max or len(self._offsets) >= BUFFER_RECORDS_MAX

    @property
    def has_room(self) -> bool:
        """Say whether fetching may go on after a pause."""
        return self._bytes <= self._bytes_max // 2 and len(self._offsets) <= BUFFER_RECORDS_MAX // 2

    @property
    def lag(self) -> int:
        """Return how many fetched or announced records are not committed yet."""
        return max(self._end - self._committed, 0)

    def announce_end(self, end: int) -> None:
        """Tell how far the partition reaches, for the lag."""
        self._end = max(self._end, end)

    def lose(self) -> None:
        """Tell the worker that the partition has another owner now: every later call raises LogClosedError."""
        with self._changed:
            self._lost = True
            self._changed.notify_all()

    # --- the worker's side ---

    def read(self, topic: str, partition: int, offset: int, records_max: int, bytes_max: int) -> Records:
        """Return a run of records from `offset` on, up to the next gap that a transaction's marker left."""
        del topic, partition
        with self._changed:
            self._check()
            first = bisect_left(self._offsets, offset)
            if first == len(self._offsets) and offset < self._end:
                self._changed.wait_for(lambda: self._lost or self._reaches(offset), FETCH_S_MAX)
                self._check()
                first = bisect_left(self._offsets, offset)
            after = self._run_end(first, records_max, bytes_max)
            run = slice(first, after)
            records = Records(
                topic=self.topic,
                topic_id=self._topic_id,
                partition=self.partition,
                first_offset=self._offsets[first] if first < after else offset,
                values=self._values[run],
                keys=self._keys[run],
                appended_at_ns=self._times_ns[run],
                headers=self._headers[run],
            )
            self._forget(min(offset, self._committed))
            return records

    def _run_end(self, first: int, records_max: int, bytes_max: int) -> int:
        size, after = 0, first
        most = min(first + records_max, len(self._offsets))
        while after < most:
            if after > first and self._offsets[after] != self._offsets[after - 1] + 1:
                break
            size += len(self._values[after])
            if size > bytes_max and after > first:
                break
            after += 1
        return after

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until a record at or after `offset` was fetched, the buffer is full or the time is over."""
        del topic, partition
        with self._changed:
            self._changed.wait_for(lambda: self._lost or self._reaches(offset) or self.is_full, timeout_s)
            self._check()
            return self._reaches(offset)

    def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record that is known of."""
        del topic, partition
        return self._end

    def start(self, topic: str, partition: int) -> int:
        """Return the offset from which records are fetched: at the cursor, or before it where a worker looks back."""
        del topic, partition
        return self._first

    def topic_id(self, topic: str) -> str:
        """Return the topic's own id."""
        del topic
        return self._topic_id

    def plan(self, group: str, topic: str, plans: Sequence[Plan]) -> None:
        """Make the ranges in flight durable; raises PlanTooLongError, or what the broker says to a stale owner."""
        del group, topic
        self._check()
        self._commit(self.partition, self._committed, to_metadata(self._topic_id, plans))
        self._plans = list(plans)

    def plans(self, group: str, topic: str) -> list[Plan]:
        """Return the ranges in flight as last made durable, in offset order."""
        del group, topic
        return sorted(self._plans, key=lambda plan: plan.first_offset)

    def commit(self, group: str, topic: str, partition: int, next_offset: int) -> None:
        """Make durable that every record before `next_offset` is done."""
        del group, topic, partition
        self._check()
        left = [plan for plan in self._plans if plan.next_offset > next_offset]
        self._commit(self.partition, next_offset, to_metadata(self._topic_id, left))
        with self._changed:
            self._committed, self._plans = next_offset, left
            self._forget(next_offset)

    def committed(self, group: str, topic: str, partition: int) -> int:
        """Return the group's committed offset."""
        del group, topic, partition
        return self._committed

    @property
    def _bytes_max(self) -> int:
        # A range that a former owner planned is repeated whole, and it may have had more room.
        return BUFFER_BYTES_MAX if self._committed < self._repeated_to else self._share_bytes

    def _reaches(self, offset: int) -> bool:
        return bool(self._offsets) and self._offsets[-1] >= offset

    def _forget(self, before_offset: int) -> None:
        count = bisect_left(self._offsets, before_offset)
        if not count:
            return
        self._bytes -= sum(map(len, self._values[:count]))
        for kept in (self._offsets, self._keys, self._values, self._times_ns, self._headers):
            del kept[:count]

    def _check(self) -> None:
        if self._lost:
            raise LogClosedError(f"{self.topic}[{self.partition}] has another owner now.")
