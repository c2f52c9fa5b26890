"""Encoded calls between the encoder and the sender: in memory while all is well, else on disk. Knows nothing of HTTP.

Used by background threads only, so its lock and its disk never hold up a caller.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from threading import Condition
from typing import Final

from llmtrail.emit import spool_files
from llmtrail.emit.spool import Spool
from llmtrail.emit.tally import DropReason, Tally

# Together with the hand-off queue this stays below the 64 MB that an application lends us.
MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024
# An endpoint that has not acknowledged for this long is treated as away: a crash must not take more than this.
UNACKNOWLEDGED_NS_MAX: Final = 2_000_000_000
# Calls are moved to disk in pieces of this size, so that a refusal leaves most of them where they can be.
_PIECE_BYTES: Final = 1024 * 1024


class _Source(Enum):
    NONE = auto()
    MEMORY = auto()
    SPOOL = auto()


class Outbox:
    """An ordered queue with one reader. A batch taken is either settled, event by event from its front, or put back."""

    def __init__(self, tally: Tally, spool: Spool | None, spool_root: Path | None) -> None:
        self.changed = Condition(tally.lock)
        self._tally = tally
        self._spool = spool
        self._spool_root = spool_root
        self._memory: deque[tuple[int, bytes]] = deque()
        self._memory_bytes = 0
        self._in_flight: deque[tuple[int, bytes]] = deque()
        self._source = _Source.NONE
        self._closed = False
        self.arrived = 0  # calls ever put or adopted

    @property
    def has_spool(self) -> bool:
        """Say whether there is a disk to fall back to."""
        return self._spool is not None

    @property
    def departed(self) -> int:
        """Return how many calls have left, whatever became of them."""
        return self.arrived - self.in_memory - self.spooled

    @property
    def spooled(self) -> int:
        """Return how many calls wait on disk."""
        return self._spool.pending if self._spool is not None else 0

    @property
    def in_memory(self) -> int:
        """Return how many calls wait in memory, those being sent included."""
        return len(self._memory) + len(self._in_flight)

    @property
    def oldest_ns(self) -> int | None:
        """Return when the oldest call in memory was put here, or None."""
        if self._in_flight:
            return self._in_flight[0][0]
        return self._memory[0][0] if self._memory else None

    @property
    def waiting(self) -> tuple[int, int]:
        """Return how many calls, and bytes of them, in memory are ready to be taken."""
        return len(self._memory), self._memory_bytes

    @property
    def is_dirty(self) -> bool:
        """Say whether calls on disk wait to be made durable."""
        return self._spool is not None and self._spool.is_dirty

    def put(self, events: Sequence[bytes], now_ns: int) -> None:
        """Take encoded calls; where neither disk nor memory has room they are dropped and counted."""
        with self.changed:
            self.arrived += len(events)
            wants_disk = self._wants_disk(now_ns)
            for event in events:
                self._memory.append((now_ns, event))
                self._memory_bytes += len(event)
            if wants_disk or self._memory_bytes > MEMORY_BYTES_MAX:
                self._spill(now_ns)
            while self._memory_bytes > MEMORY_BYTES_MAX:
                self._memory_bytes -= len(self._memory.pop()[1])
                self._tally.drop(DropReason.SPOOL_FAILED, "memory is full and nothing could be spooled")
            self.changed.notify_all()

    def take(self, events_max: int, bytes_max: int) -> list[bytes]:
        """Return the oldest calls, at least one where there is one; they stay ours until settled or put back."""
        with self.changed:
            if self._closed or self._source is not _Source.NONE:
                return []
            if self._spool is not None and self._spool.pending:
                events = self._spool.read(events_max, bytes_max)
                if events:
                    self._source = _Source.SPOOL
                    return events
            size_bytes = 0
            while self._memory and len(self._in_flight) < events_max:
                size_bytes += len(self._memory[0][1])
                if self._in_flight and size_bytes > bytes_max:
                    break
                entry = self._memory.popleft()
                self._memory_bytes -= len(entry[1])
                self._in_flight.append(entry)
            if self._in_flight:
                self._source = _Source.MEMORY
            return [event for _, event in self._in_flight]

    def settle(self, count: int, accepted: int = 0) -> bool:
        """Forget the first `count` calls taken; `accepted` of them were acknowledged, the caller counts the others.

        Returns False where they were spooled at exit meanwhile: they are not done, the gateway will see duplicates.
        """
        with self.changed:
            if self._closed:
                return False
            self._tally.accepted += accepted
            match self._source:
                case _Source.SPOOL if self._spool is not None:
                    self._spool.acknowledge(count)
                case _:
                    for _ in range(count):
                        self._in_flight.popleft()
            self.changed.notify_all()
            return True

    def release(self) -> None:
        """End a batch all of whose calls were settled."""
        with self.changed:
            if self._source is _Source.SPOOL and self._spool is not None:
                self._spool.put_back()
            self._source = _Source.NONE
            self.changed.notify_all()

    def put_back(self, now_ns: int) -> None:
        """Take back what was not settled, in order, and move all of memory to disk."""
        with self.changed:
            if self._closed:
                return
            self._return_in_flight()
            self.release()
            self._spill(now_ns)

    def sync_if_due(self, now_ns: int) -> None:
        """Make what was spooled durable in time. Raises OSError."""
        with self.changed:
            if self._spool is not None:
                self._spool.sync_if_due(now_ns)

    def adopt(self) -> None:
        """Take over what dead processes left in the spool. Raises OSError."""
        if self._spool is None or self._spool_root is None:
            return
        found = spool_files.adopt_folders(self._spool_root)  # Reads files: outside the lock.
        with self.changed:
            calls = self._spool.attach(found)
            self._tally.adopted += calls
            self.arrived += calls
            self.changed.notify_all()

    def close(self, now_ns: int) -> None:
        """Move what is in memory to disk, durably; nothing is taken any more. What comes later goes to disk at once."""
        with self.changed:
            if not self._closed:
                self._return_in_flight()
                self._source = _Source.NONE
                self._closed = True
            if self._spool is not None:
                self._spool.put_back()
            self._spill(now_ns)
            if self._spool is not None:
                self._spool.sync()
            self.changed.notify_all()

    def let_go(self) -> None:
        """Release files and locks after `close`; an empty spool leaves no folder behind. Raises OSError."""
        with self.changed:
            if self._spool is not None:
                self._spool.remove_if_empty()
                self._spool.close()

    def abandon(self) -> None:
        """Let go of files and locks without writing; for a forked child, whose parent keeps the calls."""
        if self._spool is not None:
            self._spool.abandon()

    def _wants_disk(self, now_ns: int) -> bool:
        oldest_ns = self.oldest_ns
        stale = oldest_ns is not None and now_ns - oldest_ns > UNACKNOWLEDGED_NS_MAX
        # Once calls are on disk, later ones queue up behind them, so that order holds.
        return self._closed or self.spooled > 0 or stale or self._memory_bytes > MEMORY_BYTES_MAX * 4 // 5

    def _return_in_flight(self) -> None:
        while self._in_flight:
            entry = self._in_flight.pop()
            self._memory.appendleft(entry)
            self._memory_bytes += len(entry[1])

    def _spill(self, now_ns: int) -> None:
        """Move memory (not what is being sent) to disk, piece by piece; where the disk refuses, the rest stays."""
        while self._memory and self._spool is not None:
            piece: list[bytes] = []
            piece_bytes = 0
            for _, event in self._memory:
                piece_bytes += len(event)
                if piece and piece_bytes > min(_PIECE_BYTES, self._spool.piece_bytes):
                    break
                piece.append(event)
            try:
                self._spool.append(piece, now_ns)
            except OSError as error:
                self._tally.tell("cannot spool, keeps calls in memory while there is room", "spool_failed", error)
                return
            for event in piece:
                self._memory.popleft()
                self._memory_bytes -= len(event)
