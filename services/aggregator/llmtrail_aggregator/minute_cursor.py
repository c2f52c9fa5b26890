"""Follow one partition of `llm.stats` and write its minutes into the store. Decides nothing about which are due.

What holds is what the topic holds: whoever is given a partition reads it from its beginning, then writes what the
store lacks. So nothing but the topic and the table need survive, and the group's cursor only tells how far it is read.
While the store is away slots are read on, which is bounded by what the topic keeps, and minutes wait.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from llmtrail.clock import Clock
from llmtrail.core.minutes import compact
from llmtrail.log.port import STATS, GroupLog, LogClosedError, Records
from llmtrail_aggregator.minutes import MinuteWriter

_LOG = logging.getLogger(__name__)

GROUP = "llmtrail.minutes"
# Everything that the topic holds is read at the start, whatever the group's cursor says.
REREAD_RECORDS = 2**62
# How often minutes are looked at, and the cursor is moved.
LOOK_S = 2.0
# A slot of 20,000 users is 4 MB.
_READ_RECORDS = 500
_READ_BYTES = 16 * 1024 * 1024
# What is read is kept by the log until the cursor has passed it.
_COMMIT_RECORDS = 2_000
_IDLE_S = 0.5
_RETRY_S = 2.0
# Silent reads after which all is known: a topic may end in what is no record, a transaction's marker.
_SILENT = 10
_NS_PER_S = 1_000_000_000


class TableLog(GroupLog, Protocol):
    """A partition of a compacted topic, which can be read from its beginning."""

    def start(self, topic: str, partition: int) -> int:
        """Return the offset of the first record that is read again."""

    def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record."""


class MinuteCursor:
    """Works on one partition of `llm.stats`. For one thread; `stop` may come from any."""

    def __init__(
        self,
        log: TableLog,
        partition: int,
        writer: MinuteWriter,
        clock: Clock,
        turn_away: Callable[[Records, Sequence[tuple[int, str]]], object] = lambda *_: None,
    ) -> None:
        """Take the partition's log, a writer whose book is empty, and what keeps and counts records that are no slots.

        `turn_away` is told of some records of a run, by index and with why; it raises nothing.
        """
        self._log = log
        self._partition = partition
        self._writer = writer
        self._clock = clock
        self._turn_away = turn_away
        self._stopped = threading.Event()
        self._next = 0
        self._uncommitted = 0
        self._uncommitted_bytes = 0
        self._looked_ns = 0

    def run(self) -> None:
        """Read the topic and write minutes until stopped, or until the partition has another owner."""
        try:
            self._next = self._log.start(STATS, self._partition)
            # What is older is part of what is newer: nothing is written before all of it is known.
            known_to = self._log.end(STATS, self._partition)
            silent = 0
            while not self._stopped.is_set():
                silent = 0 if self._read() else silent + 1
                if self._next >= known_to or silent >= _SILENT:
                    known_to = 0
                    self._look()
        except LogClosedError:
            return

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopped.set()

    def _read(self) -> bool:
        if not self._log.wait(STATS, self._partition, self._next, _IDLE_S):
            return False
        records = self._log.read(STATS, self._partition, self._next, _READ_RECORDS, _READ_BYTES)
        strange = [(index, why) for index in range(len(records.values)) if (why := self._take(records, index))]
        if strange:
            self._turn_away(records, strange)
        self._next = max(records.next_offset, self._next)
        self._uncommitted += len(records.values)
        self._uncommitted_bytes += sum(map(len, records.values))
        if self._uncommitted >= _COMMIT_RECORDS or self._uncommitted_bytes >= _READ_BYTES:
            self._commit()
        return True

    def _take(self, records: Records, index: int) -> str:
        """Take a record; return why it cannot be read, "" where it can."""
        key, value = records.keys[index].decode("utf-8", "replace"), records.values[index]
        try:
            # A tombstone comes as no bytes: no slot is encoded so.
            self._writer.book.take({key: compact(value) if value else None})
        except ValueError as cause:
            _LOG.warning("%s: %r is left out: %s", STATS, key[:80], cause)
            return f"{key[:80]!r}: {cause}"
        return ""

    def _look(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns < LOOK_S * _NS_PER_S:
            return
        self._commit()
        try:
            self._writer.write_due(self._clock.now_ns() // _NS_PER_S)
        except LogClosedError:
            raise
        except Exception as cause:  # noqa: BLE001 - the loop's edge: minutes wait until the store is back.
            _LOG.warning("minutes of %s[%d] are written later: %s", STATS, self._partition, cause)
        self._looked_ns = self._clock.monotonic_ns()

    def _commit(self) -> None:
        if self._uncommitted and self._next > self._log.committed(GROUP, STATS, self._partition):
            self._log.commit(GROUP, STATS, self._partition, self._next)
        self._uncommitted = self._uncommitted_bytes = 0


class MinuteLoop:
    """Writes the minutes of a book that somebody else keeps up, from a thread of its own."""

    def __init__(self, writer: MinuteWriter, clock: Clock) -> None:
        """Take a writer whose book has a lock."""
        self._writer = writer
        self._clock = clock
        self._stopped = threading.Event()

    def run(self) -> None:
        """Write until `stop`."""
        while not self._stopped.wait(LOOK_S):
            try:
                self._writer.write_due(self._clock.now_ns() // _NS_PER_S)
            except Exception as cause:  # noqa: BLE001 - the loop's edge: minutes wait until the store is back.
                _LOG.warning("minutes are written later: %s", cause)
                self._stopped.wait(_RETRY_S)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopped.set()
