"""The disk spool: calls that the gateway cannot take now, in order, within a limit. Knows nothing of threads or HTTP.

Not safe for several threads: its owner holds a lock. Several processes share the root folder safely.
"""

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrail.emit import spool_files
from llmtrail.emit.held_calls import HeldCalls
from llmtrail.emit.segment import packed_bytes
from llmtrail.emit.spool_files import Folder, Segment, SegmentWriter
from llmtrail.emit.stub import stub_bytes
from llmtrail.emit.tally import DropReason, StripReason, Tally

# Large enough to amortise a file's making, small enough that rewriting one as stubs takes some 0.1 s.
SEGMENT_BYTES_MAX: Final = 16 * 1024 * 1024
# A day of 4 calls/s of 3 kB; an application's disk is not ours to fill.
SPOOL_BYTES_MAX: Final = 1024 * 1024 * 1024
# What a power cut may take: the last 200 ms or 1 MB.
SYNC_BYTES: Final = 1024 * 1024
SYNC_NS: Final = 200_000_000
# How old a count of what other processes have on disk may be.
_OTHERS_NS: Final = 5_000_000_000

# Makes what is left of an event where its text cannot be kept: event, reason -> stub, or None where there is none.
MakeStub = Callable[[bytes, str], bytes | None]


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How large the spool may grow."""

    segment_bytes: int = SEGMENT_BYTES_MAX
    total_bytes: int = SPOOL_BYTES_MAX


class Spool:
    """An ordered queue of events on disk."""

    def __init__(
        self, root: Path, token: str, tally: Tally, limits: SpoolLimits | None = None, stub: MakeStub = stub_bytes
    ) -> None:
        """Keep events below `root`; `stub` says what is left of one for want of room (None: all of it, or nothing)."""
        self.pending = 0
        self._root = root
        self._token = token
        self._tally = tally
        self._limits = limits or SpoolLimits()
        self._stub = stub
        self._folder: Folder | None = None
        self.held = HeldCalls(lambda: self._own_folder().path)
        self._writer: SegmentWriter | None = None
        # Full, and not durable yet: while the gateway answers nobody waits for the disk.
        self._unsynced: list[SegmentWriter] = []
        self._segments: deque[Segment] = deque()
        self._reading: tuple[Segment, list[int]] | None = None
        self._number = 0
        self._own_bytes = 0
        self._others_bytes = 0
        self._others_at_ns: int | None = None
        self._dirty_since_ns: int | None = None

    def append(self, events: Sequence[bytes], now_ns: int, *, is_durable: bool = True) -> None:
        """Append all of `events`, or raise OSError and keep nothing of them.

        They survive the process at once, and a power cut soon where they are to be durable. Over the limit the oldest
        text goes first, then the oldest calls; both are counted.
        """
        size_bytes = sum(map(packed_bytes, events))
        self._count_others(now_ns)
        self._make_room(size_bytes)
        self._writer_for(size_bytes).append(events)
        self._own_bytes += size_bytes
        self.pending += len(events)
        if self._dirty_since_ns is None:
            self._dirty_since_ns = now_ns
        if is_durable:
            self.sync_if_due(now_ns)

    def sync_if_due(self, now_ns: int) -> None:
        """Make appended records durable when 1 MB or 200 ms of them wait. Raises OSError."""
        writer = self._writer
        if writer is None or self._dirty_since_ns is None:
            return
        if writer.dirty_bytes >= SYNC_BYTES or now_ns - self._dirty_since_ns >= SYNC_NS:
            self.sync()

    def sync(self) -> None:
        """Make every appended record durable. Raises OSError."""
        while self._unsynced:
            self._unsynced[0].sync()
            self._unsynced.pop(0).close()
        if self._writer is not None:
            self._writer.sync()
        self._dirty_since_ns = None

    @property
    def unread_bytes(self) -> int:
        """Return how many bytes wait to be acknowledged."""
        return sum(segment.size_bytes - segment.read_bytes for segment in self._segments)

    @property
    def piece_bytes(self) -> int:
        """Return how much to append at most in one go."""
        return self._limits.segment_bytes

    @property
    def is_dirty(self) -> bool:
        """Say whether a record waits to be made durable."""
        return self._dirty_since_ns is not None

    def read(self, records_max: int, bytes_max: int) -> list[bytes]:
        """Return the oldest events not acknowledged; the same ones again until they are."""
        while self._segments:
            segment = self._segments[0]
            try:
                found = segment.read(records_max, bytes_max)
            except OSError as error:
                self._give_up(segment, error)
                continue
            if found.events:
                self._reading = (segment, found.ends)
                return found.events
            self._give_up(segment, "damaged record")
        return []

    def acknowledge(self, count: int) -> None:
        """Forget the first `count` events of the last read: they are someone else's to keep now."""
        if self._reading is None or count <= 0:
            return
        segment, ends = self._reading
        segment.read_bytes = ends[count - 1]
        segment.records -= count
        self.pending -= count
        rest = ends[count:]
        self._reading = (segment, rest) if rest else None
        if segment.read_bytes >= segment.size_bytes:
            self._remove(segment)
        else:
            segment.folder.note_progress(segment)

    def put_back(self) -> None:
        """Forget that a read is going on."""
        self._reading = None

    def attach(self, adopted: Sequence[tuple[Folder, list[Segment]]]) -> int:
        """Put what dead processes left (`spool_files.adopt_folders`) before our own; return how many calls it is.

        Raises OSError where an empty folder cannot be removed.
        """
        # The read going on, if any, stays first.
        position = 1 if self._reading is not None else 0
        calls = 0
        for folder, segments in adopted:
            for segment in segments:
                self._segments.insert(position, segment)
                position += 1
                calls += segment.records
                self._own_bytes += segment.size_bytes
            if not segments:
                spool_files.remove_folder(folder)
        self.pending += calls
        return calls

    def close(self) -> None:
        """Make all durable and let go; the next process finds what is left. Raises OSError."""
        try:
            self.sync()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Let go of every file and lock without writing: as a forked child, or as a test's crash."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        for writer in self._unsynced:
            writer.close()
        self._unsynced.clear()
        self.held.close()
        folders = {id(segment.folder): segment.folder for segment in self._segments}
        if self._folder is not None:
            folders[id(self._folder)] = self._folder
        for folder in folders.values():
            os.close(folder.lock)
        self._segments.clear()
        self._folder = None
        self._reading = None

    def remove_if_empty(self) -> None:
        """Remove our own folder where nothing is left in it, so that no empty folders pile up. Raises OSError."""
        if self.pending == 0 and self._folder is not None:
            while self._segments:
                self._remove(self._segments[0])
            folder, self._folder = self._folder, None
            if folder is not None:
                spool_files.remove_folder(folder)

    def _writer_for(self, size_bytes: int) -> SegmentWriter:
        writer = self._writer
        if writer is not None and writer.segment.size_bytes + size_bytes <= self._limits.segment_bytes:
            return writer
        self._seal()
        folder = self._own_folder()
        self._number += 1
        segment = Segment(spool_files.next_path(folder, self._number), folder)
        self._writer = SegmentWriter(segment)
        folder.segments_left += 1
        self._segments.append(segment)
        return self._writer

    def _own_folder(self) -> Folder:
        if self._folder is None:
            self._folder = spool_files.make_folder(self._root, os.getpid(), self._token)
        return self._folder

    def _count_others(self, now_ns: int) -> None:
        if self._others_at_ns is None or now_ns - self._others_at_ns >= _OTHERS_NS:
            self._others_at_ns = now_ns
            self._others_bytes = max(0, spool_files.folder_bytes(self._root) - self._own_bytes)

    def _seal(self) -> None:
        """End the segment being written; it is made durable with the next `sync`."""
        if self._writer is not None:
            self._unsynced.append(self._writer)
            self._writer = None

    def _make_room(self, size_bytes: int) -> None:
        """Shrink the oldest until the new records fit: text first, then whole segments."""
        while self._own_bytes + self._others_bytes + size_bytes > self._limits.total_bytes:
            idle = [segment for segment in self._segments if not self._is_busy(segment)]
            with_text = next((segment for segment in idle if not segment.stripped), None)
            if with_text is not None:
                self._strip(with_text)
            elif self._writer is not None and self._writer.segment.records and not self._is_read(self._writer.segment):
                # The newest text goes before the oldest call: money is worth more than words.
                self._seal()
            elif idle:
                self._tally.drop(DropReason.SPOOL_FULL, "the spool is at its limit", idle[0].records)
                self.pending -= idle[0].records
                self._remove(idle[0])
            else:
                raise OSError("the spool is at its limit and everything in it is being sent")

    def _is_busy(self, segment: Segment) -> bool:
        return self._is_read(segment) or (self._writer is not None and self._writer.segment is segment)

    def _is_read(self, segment: Segment) -> bool:
        return self._reading is not None and self._reading[0] is segment

    def _strip(self, segment: Segment) -> None:
        """Rewrite a segment as accounting stubs."""
        found = segment.read(segment.records, segment.size_bytes)
        stubs = [self._stub(event, StripReason.SPOOL_FULL) for event in found.events]
        kept = [stub or event for stub, event in zip(stubs, found.events, strict=True)]
        self._close_unsynced(segment)
        before_bytes, before_records = segment.size_bytes, segment.records
        spool_files.replace_segment(segment, kept)
        segment.stripped = True
        self._own_bytes += segment.size_bytes - before_bytes
        self.pending += segment.records - before_records
        self._tally.drop(DropReason.SPOOL_CORRUPT, segment.path.name, before_records - segment.records)
        self._tally.strip(StripReason.SPOOL_FULL, "the spool is at its limit", len(stubs) - stubs.count(None))

    def _give_up(self, segment: Segment, why: object) -> None:
        """Drop the rest of a segment that cannot be read."""
        self._tally.drop(DropReason.SPOOL_CORRUPT, why, segment.records)
        self.pending -= segment.records
        self._remove(segment)

    def _remove(self, segment: Segment) -> None:
        """Delete a segment, and the folder of a dead process with its last one."""
        if self._writer is not None and self._writer.segment is segment:
            self._seal()
        self._close_unsynced(segment)
        if self._writer is None and not self._unsynced:
            self._dirty_since_ns = None
        self._segments.remove(segment)
        self._own_bytes -= segment.size_bytes
        segment.path.unlink(missing_ok=True)
        segment.folder.segments_left -= 1
        if segment.folder.segments_left == 0 and segment.folder is not self._folder:
            spool_files.remove_folder(segment.folder)

    def _close_unsynced(self, segment: Segment) -> None:
        """Forget a writer whose segment goes, or is durably replaced."""
        for writer in [writer for writer in self._unsynced if writer.segment is segment]:
            writer.close()
            self._unsynced.remove(writer)
