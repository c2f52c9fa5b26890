"""Encoded calls between the encoder and the sender: on disk, or in memory where there is none. Knows nothing of HTTP.

What is here survives the process, kill -9 included, from the moment it came; it survives a power cut where the gateway
is away. Used by background threads only, so its lock and its disk never hold up a caller.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum, auto
from pathlib import Path
from threading import Condition, Lock
from typing import Final

from llmtrail.emit import spool_files
from llmtrail.emit.spool import Spool
from llmtrail.emit.tally import DropReason, Tally

# Together with the hand-off queue this stays below the 64 MB that an application lends us.
MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024
# An endpoint that has not acknowledged for this long is treated as away: a power cut must not take more than this.
UNACKNOWLEDGED_NS_MAX: Final = 2_000_000_000
# A batch is sent when it has this many calls or bytes.
BATCH_EVENTS_MAX: Final = 500
BATCH_BYTES_MAX: Final = 1024 * 1024
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
        # Whoever waits for all to be sent waits for what another thread is adopting, too.
        self._adopting = Lock()
        self._tally = tally
        self._spool = spool
        self._spool_root = spool_root
        self._memory: deque[bytes] = deque()
        self._memory_bytes = 0
        self._in_flight: deque[bytes] = deque()
        self._source = _Source.NONE
        self._taken_ns = 0
        self._is_failing = False
        self._closed = False
        self.arrived = 0  # calls ever put or adopted
        # When the oldest call that nobody has taken came, or None where there is none.
        self.waiting_since_ns: int | None = None

    @property
    def has_spool(self) -> bool:
        """Say whether there is a disk."""
        return self._spool is not None

    @property
    def departed(self) -> int:
        """Return how many calls have left, whatever became of them."""
        return self.arrived - self.in_memory - self.spooled

    @property
    def spooled(self) -> int:
        """Return how many calls are on disk, those being sent included."""
        return self._spool.pending if self._spool is not None else 0

    @property
    def in_memory(self) -> int:
        """Return how many calls are in memory alone, those being sent included."""
        return len(self._memory) + len(self._in_flight)

    @property
    def is_batch(self) -> bool:
        """Say whether as much waits as is sent in one go."""
        unread_bytes = self._spool.unread_bytes if self._spool is not None else 0
        calls, size_bytes = len(self._memory) + self.spooled, self._memory_bytes + unread_bytes
        return calls >= BATCH_EVENTS_MAX or size_bytes >= BATCH_BYTES_MAX

    @property
    def is_dirty(self) -> bool:
        """Say whether calls on disk wait to be made durable."""
        return self._spool is not None and self._spool.is_dirty and self._is_failing

    def put(self, events: Sequence[bytes], now_ns: int, no_longer_held: Iterable[str] = ()) -> None:
        """Take encoded calls; where neither disk nor memory has room they are dropped and counted."""
        with self.changed:
            self.arrived += len(events)
            for event in events:
                self._memory.append(event)
                self._memory_bytes += len(event)
            self._spill(now_ns)
            self._forget_held(no_longer_held)
            while self._memory_bytes > MEMORY_BYTES_MAX:
                self._memory_bytes -= len(self._memory.pop())
                self._tally.drop(DropReason.SPOOL_FAILED, "memory is full and nothing could be spooled")
            if self._begin_to_wait(now_ns) or self.is_batch:
                self.changed.notify_all()

    def hold(self, call_id: str, event: bytes) -> bool:
        """Write a call down that is held elsewhere, so that it outlives the process; say whether more may be held."""
        with self.changed:
            if self._spool is None:
                return True
            try:
                self._spool.held.keep(call_id, event)
            except OSError as error:
                self._tally.tell("cannot write down what waits for its request's end", "spool_failed", error)
            return not self._spool.held.is_full

    def is_held(self, call_id: str) -> bool:
        """Say whether a held call was written down."""
        return self._spool is not None and call_id in self._spool.held.live

    def take(self, now_ns: int) -> list[bytes]:
        """Return the oldest calls, at least one where there is one; they stay ours until settled or put back."""
        with self.changed:
            if self._closed or self._source is not _Source.NONE:
                return []
            self._taken_ns = now_ns
            events = self._from_spool() or self._from_memory()
            left = self.spooled + self.in_memory - len(events)
            self.waiting_since_ns = now_ns if left else None
            return events

    def settle(self, count: int, accepted: int = 0) -> bool:
        """Forget the first `count` calls taken; `accepted` of them were acknowledged, the caller counts the others.

        Returns False where they were spooled at exit meanwhile: they are not done, the gateway will see duplicates.
        """
        with self.changed:
            if self._closed:
                return False
            self._is_failing = False
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
        """Take back what was not settled, in order; from now on what is on disk is made durable too."""
        with self.changed:
            if self._closed:
                return
            self._is_failing = True
            self._return_in_flight()
            self.release()
            self._spill(now_ns)
            self.waiting_since_ns = None
            self._begin_to_wait(now_ns)

    def sync_if_due(self, now_ns: int) -> None:
        """Make what was spooled durable in time, where the gateway is away. Raises OSError."""
        with self.changed:
            if self._spool is not None and self._is_away(now_ns):
                self._spool.sync_if_due(now_ns)

    def adopt(self, now_ns: int, bytes_max: int | None = None) -> None:
        """Take over what dead processes left in the spool, at most so many bytes of it. Raises OSError."""
        if self._spool is None or self._spool_root is None:
            return
        with self._adopting:
            found = spool_files.adopt_folders(self._spool_root, bytes_max)  # Reads files: outside the other lock.
            if not found:
                return
            with self.changed:
                calls = self._spool.attach(found)
                self._tally.adopted += calls
                self.arrived += calls
                self._begin_to_wait(now_ns)
                self.changed.notify_all()

    def close(self, now_ns: int) -> None:
        """Make all that is here durable; nothing is taken any more. What comes later goes to disk at once."""
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

    def _from_spool(self) -> list[bytes]:
        if self._spool is None or not self._spool.pending:
            return []
        events = self._spool.read(BATCH_EVENTS_MAX, BATCH_BYTES_MAX)
        if events:
            self._source = _Source.SPOOL
        return events

    def _from_memory(self) -> list[bytes]:
        size_bytes = 0
        while self._memory and len(self._in_flight) < BATCH_EVENTS_MAX:
            size_bytes += len(self._memory[0])
            if self._in_flight and size_bytes > BATCH_BYTES_MAX:
                break
            event = self._memory.popleft()
            self._memory_bytes -= len(event)
            self._in_flight.append(event)
        if self._in_flight:
            self._source = _Source.MEMORY
        return list(self._in_flight)

    def _begin_to_wait(self, now_ns: int) -> bool:
        """Note since when something waits; say whether nothing did before."""
        if self.waiting_since_ns is not None or not (self._memory or self.spooled):
            return False
        self.waiting_since_ns = now_ns
        return True

    def _is_away(self, now_ns: int) -> bool:
        is_slow = self._source is not _Source.NONE and now_ns - self._taken_ns > UNACKNOWLEDGED_NS_MAX
        self._is_failing = self._is_failing or is_slow
        return self._closed or self._is_failing

    def _return_in_flight(self) -> None:
        while self._in_flight:
            event = self._in_flight.pop()
            self._memory.appendleft(event)
            self._memory_bytes += len(event)

    def _forget_held(self, call_ids: Iterable[str]) -> None:
        if self._spool is None:
            return
        try:
            self._spool.held.forget(call_ids)
        except OSError as error:
            self._tally.tell("cannot write down what waits for its request's end", "spool_failed", error)

    def _spill(self, now_ns: int) -> None:
        """Write memory (not what is being sent) to disk, piece by piece; where the disk refuses, the rest stays."""
        while self._memory and self._spool is not None:
            piece: list[bytes] = []
            piece_bytes = 0
            for event in self._memory:
                piece_bytes += len(event)
                if piece and piece_bytes > min(_PIECE_BYTES, self._spool.piece_bytes):
                    break
                piece.append(event)
            try:
                self._spool.append(piece, now_ns, is_durable=self._is_away(now_ns))
            except OSError as error:
                self._tally.tell("cannot spool, keeps calls in memory while there is room", "spool_failed", error)
                return
            for event in piece:
                self._memory.popleft()
                self._memory_bytes -= len(event)
