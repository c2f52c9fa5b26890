"""A durable log in a folder of this machine, for one process that appends. Knows nothing of what records mean."""

import os
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from llmtrail import clock
from llmtrail.log import log_file
from llmtrail.log.appender import IDLE_S, Appender, Job, State
from llmtrail.log.groups import Waiters, check_plans, only_partition
from llmtrail.log.log_file import TopicState
from llmtrail.log.port import Append, LogClosedError, LogCorruptError, Plan, Records
from llmtrail.log.readers import Readers
from llmtrail.log.recent import Recent
from llmtrail.log.retention import Keep, offset_to_keep
from llmtrail.log.rows import Chunk, Gathering, Row, Span, chunks_of, encode

# Two of the writer's batches: a reader that keeps up reads from memory alone.
RECENT_BYTES_MAX = 64_000_000
# Rows deleted in one transaction: appends wait no longer than for a large append.
TRIM_ROWS = 64


@dataclass(frozen=True, slots=True)
class LocalLogSettings:
    """The local log's limits."""

    bytes_max: int | None = None  # of rows kept; appends over it raise LogFullError
    recent_bytes_max: int = RECENT_BYTES_MAX
    idle_s: float = IDLE_S  # without appends for so long, free space is given back to the disk


class LocalLog:
    """A `Log` of one partition a topic, in a SQLite file that is fsynced before an append returns."""

    def __init__(
        self,
        path: Path | str,
        settings: LocalLogSettings | None = None,
        *,
        random_bytes: Callable[[int], bytes] = clock.random_bytes,
    ) -> None:
        """Open the log in the folder `path`, making it where there is none.

        Raises LogBusyError where another process has it open for appending.
        """
        settings = settings or LocalLogSettings()
        self.folder = Path(path)
        self._random_bytes = random_bytes
        self._waiters = Waiters()
        self._recent = Recent(settings.recent_bytes_max)
        self._closed = False
        self._lock = log_file.lock_folder(self.folder)
        file = self.folder / log_file.FILE_NAME
        try:
            self._connection = log_file.open_for_writing(file)
            state = State(log_file.load_topics(self._connection), log_file.load_groups(self._connection))
        except BaseException:  # whatever it was, the folder must be free for the next try
            os.close(self._lock)
            raise
        self._readers = Readers(file)
        self._appender = Appender(self._connection, self.folder, state, settings.bytes_max)
        self._appender.start(settings.idle_s)

    def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append all of `appends` in one durable step; return the first offset of each.

        Raises LogFullError, LogClosedError or RecordTooLargeError, and then nothing was kept.
        """
        return self.append_async(appends, now_ns).result()

    def append_async(self, appends: Sequence[Append], now_ns: int) -> "Future[list[int]]":
        """Begin to append; the future ends as `append` would have."""
        self._check_open()
        cut = [(append.topic, [_encoded(chunk) for chunk in chunks_of(append)]) for append in appends]
        placed: list[tuple[str, Row]] = []

        def run(connection: sqlite3.Connection, state: State) -> list[int]:
            placed.clear()
            return [self._insert(connection, self._made(connection, state, name), chunks, now_ns, placed)
                    for name, chunks in cut]  # fmt: skip

        def after() -> None:
            for name, row in placed:
                self._recent.add(name, row)
            for name, row in dict(placed).items():
                self._waiters.tell(name, row.next_offset)

        return self._appender.submit(Job(run, after, sum(len(blob) for _, chunks in cut for _, blob, _ in chunks)))

    def read(self, topic: str, partition: int, offset: int, records_max: int, bytes_max: int) -> Records:
        """Return records from `offset` on, or from the start where `offset` was trimmed.

        Raises LogCorruptError where a row is not what was appended.
        """
        only_partition(partition)
        while True:
            kept = self._topic(topic)
            gathering = Gathering(Span(max(offset, kept.start), records_max, bytes_max))
            if records_max <= 0 or gathering.next_offset >= kept.end:
                break
            try:
                self._gather(kept, gathering)
            except LogCorruptError:
                # Rows that a trim took away in the meantime are no damage.
                if self._topic(topic).start > gathering.next_offset:
                    continue
                raise
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
        known = self._state().topics.get(topic)
        return known.end if known else 0

    def start(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record still kept."""
        only_partition(partition)
        known = self._state().topics.get(topic)
        return known.start if known else 0

    def topic_id(self, topic: str) -> str:
        """Return the topic's own id, made when the topic was."""
        return self._topic(topic).topic_id

    def partitions(self, topic: str) -> int:
        """Return 1: in one process one partition is enough."""
        del topic
        return 1

    def plan(self, group: str, topic: str, plans: Sequence[Plan]) -> None:
        """Make the group's ranges in flight durable."""
        kept = tuple(plans)

        def run(connection: sqlite3.Connection, state: State) -> None:
            check_plans(kept, self._made(connection, state, topic).end)
            state.groups.plan(group, topic, kept)
            log_file.write_group(connection, state.groups, group, topic)

        self._do(run)

    def plans(self, group: str, topic: str) -> list[Plan]:
        """Return the group's ranges in flight, in offset order."""
        return list(self._state().groups.plans.get((group, topic), []))

    def commit(self, group: str, topic: str, partition: int, next_offset: int) -> None:
        """Make durable that the group is done with every record before `next_offset`; never goes back."""
        only_partition(partition)

        def run(connection: sqlite3.Connection, state: State) -> None:
            end = self._made(connection, state, topic).end
            if next_offset > end:
                raise ValueError(f"{topic} ends at {end}; {next_offset} cannot be committed")
            state.groups.commit(group, topic, next_offset)
            log_file.write_group(connection, state.groups, group, topic)

        self._do(run)
        # Readers are done with these: their memory is better spent on what comes.
        self._recent.forget(topic, self._state().groups.done_by_all(topic) or 0)

    def committed(self, group: str, topic: str, partition: int) -> int:
        """Return the group's committed offset, or the partition's start where it never committed."""
        return max(self.start(topic, partition), self._state().groups.cursors.get((group, topic), 0))

    def trim(self, topic: str, partition: int, before_offset: int) -> int:
        """Forget records below `before_offset` that every group has committed; return the new start.

        The space is used for new rows at once, and given back to the disk when the log is idle.
        """
        only_partition(partition)

        def move(connection: sqlite3.Connection, state: State) -> int:
            kept = self._made(connection, state, topic)
            kept.start = max(kept.start, min(before_offset, kept.end, state.groups.done_by_all(topic) or 0))
            log_file.write_start(connection, kept)
            return kept.start

        def delete(connection: sqlite3.Connection, state: State) -> int:
            return log_file.delete_rows(connection, state.topics[topic], TRIM_ROWS)

        start: int = self._do(move)
        while self._do(delete) == TRIM_ROWS:
            pass
        self._recent.forget(topic, start)
        return start

    def retain(self, topic: str, partition: int, keep: Keep, now_ns: int) -> int:
        """Trim committed records that are older than `keep` says or over its bytes; return the new start."""
        only_partition(partition)
        kept = self._topic(topic)
        with self._readers.borrow() as connection:
            before = offset_to_keep(log_file.row_sizes(connection, kept), keep, now_ns)
        return self.trim(topic, partition, kept.start if before is None else before)

    def close(self) -> None:
        """Finish what was begun, and close; later calls raise LogClosedError."""
        if self._closed:
            return
        self._closed = True
        self._waiters.tell_all()
        self._readers.close()
        self._appender.close()
        self._connection.close()
        os.close(self._lock)

    def _gather(self, kept: TopicState, gathering: Gathering) -> None:
        rows = self._recent.rows(kept.name, gathering.next_offset)
        if not rows:
            recent = self._recent.start(kept.name)
            end = kept.end if recent is None or recent <= gathering.next_offset else recent
            with (
                self._readers.borrow() as connection,
                closing(log_file.read_rows(connection, kept, gathering.next_offset, end)) as found,
            ):
                for row in found:
                    if not gathering.add(row):
                        return
            rows = self._recent.rows(kept.name, gathering.next_offset)
        for row in rows:
            # A row may be in memory a moment before the end says so: it is durable by then.
            if not gathering.add(row):
                return

    def _insert(
        self,
        connection: sqlite3.Connection,
        topic: TopicState,
        chunks: Sequence[tuple[Chunk, bytes, int]],
        now_ns: int,
        placed: list[tuple[str, Row]],
    ) -> int:
        first = topic.end
        for chunk, blob, blob_crc in chunks:
            topic.last_at_ns = max(topic.last_at_ns, now_ns)
            row = chunk.placed(topic.end, topic.last_at_ns)
            log_file.insert_row(connection, topic, row, blob, blob_crc)
            topic.end = row.next_offset
            placed.append((topic.name, row))
        return first

    def _made(self, connection: sqlite3.Connection, state: State, name: str) -> TopicState:
        topic = state.topics.get(name)
        if topic is None:
            topic_id = str(uuid.UUID(bytes=self._random_bytes(16), version=4))
            topic = state.topics[name] = TopicState(name, len(state.topics) + 1, topic_id)
            log_file.insert_topic(connection, topic)
        return topic

    def _topic(self, name: str) -> TopicState:
        if name not in self._state().topics:
            self._do(lambda connection, state: self._made(connection, state, name))
        return self._state().topics[name]

    def _do(self, run: Callable[[sqlite3.Connection, State], Any]) -> Any:
        return self._appender.submit(Job(run, lambda: None, 0)).result()

    def _state(self) -> State:
        self._check_open()
        return self._appender.state

    def _check_open(self) -> None:
        if self._closed:
            raise LogClosedError("the log was closed")


def _encoded(chunk: Chunk) -> tuple[Chunk, bytes, int]:
    blob = encode(chunk)
    return chunk, blob, crc32(blob)
