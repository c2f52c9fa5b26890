"""The spool's folders and segment files on disk. Decides nothing about what is kept or sent.

Each process owns one folder below the spool, held by a lock; its segments are `00000001.seg` and on. A process that
finds a folder without a living owner adopts it whole.
"""

import os
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrail.emit import folder_lock, held_calls
from llmtrail.emit.segment import Scan, pack, scan

_FOLDER_MODE: Final = 0o700
_FILE_MODE: Final = 0o600
_OTHERS_WRITE: Final = 0o022
_SUFFIX: Final = ".seg"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# New names are tried where another process adopted ours between making and locking it; more means a broken disk.
_NAME_TRIES: Final = 5
# In the lock's file: the segment being sent, and how much of it was acknowledged.
_PROGRESS: Final = struct.Struct("<QQ")
# Durable data alone, where the system can tell it from metadata; darwin has no fdatasync.
_sync_data: Final = getattr(os, "fdatasync", os.fsync)


@dataclass(slots=True)
class Folder:
    """A folder of segments whose lock this process holds."""

    path: Path
    lock: int
    segments_left: int = 0

    def note_progress(self, segment: "Segment") -> None:
        """Write down how much of a segment was acknowledged, so that whoever adopts it sends the rest alone."""
        with suppress(OSError):  # Then it is sent again, with the same call ids.
            os.pwrite(self.lock, _PROGRESS.pack(segment.number, segment.read_bytes), 0)

    def progress(self) -> tuple[int, int]:
        """Return the segment that was being sent, and how much of it was acknowledged; zeros where nothing was."""
        try:
            return _PROGRESS.unpack(os.pread(self.lock, _PROGRESS.size, 0))
        except (OSError, struct.error):
            return 0, 0


@dataclass(slots=True)
class Segment:
    """One file of records. `read_bytes` of its `size_bytes` are done; `records` are those still to do."""

    path: Path
    folder: Folder
    size_bytes: int = 0
    records: int = 0
    read_bytes: int = 0
    stripped: bool = False

    @property
    def number(self) -> int:
        """Return its place among the folder's segments."""
        return int(self.path.stem) if self.path.stem.isdecimal() else 0

    def read(self, records_max: int, bytes_max: int) -> Scan:
        """Return the next records and the offsets where they end, counted from the segment's start."""
        wanted = min(bytes_max, self.size_bytes - self.read_bytes)
        found = self._read_at(wanted, records_max, bytes_max)
        if not found.events and wanted < self.size_bytes - self.read_bytes:
            # One record longer than a batch: read all that is left to get it.
            found = self._read_at(self.size_bytes - self.read_bytes, 1, bytes_max)
        return Scan(found.events, [self.read_bytes + end for end in found.ends])

    def _read_at(self, length: int, records_max: int, bytes_max: int) -> Scan:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return scan(os.pread(descriptor, length, self.read_bytes), records_max, bytes_max)
        finally:
            os.close(descriptor)


class SegmentWriter:
    """Appends records to one new segment."""

    def __init__(self, segment: Segment) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self.segment = segment
        self.dirty_bytes = 0
        self._is_named = False
        self._descriptor = os.open(segment.path, flags, _FILE_MODE)

    def append(self, events: Sequence[bytes]) -> None:
        """Append all of `events`, or nothing. Raises OSError when the disk refuses."""
        data = memoryview(pack(events))
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._descriptor, data[written:], self.segment.size_bytes + written)
        except OSError:
            # A part may be on disk. The next append overwrites it; a reader after a crash stops at its torn record.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.segment.size_bytes)
            raise
        self.segment.size_bytes += len(data)
        self.segment.records += len(events)
        self.dirty_bytes += len(data)

    def sync(self) -> None:
        """Make durable what was appended. Raises OSError."""
        if self.dirty_bytes:
            if not self._is_named:
                sync_folder(self.segment.path.parent)
                self._is_named = True
            _sync_data(self._descriptor)
            self.dirty_bytes = 0

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def make_folder(root: Path, pid: int, token: str) -> Folder:
    """Make and lock this process's own folder below `root`. Raises OSError."""
    root.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    if not _is_safe_root(root):
        raise PermissionError(f"{root} belongs to another user: set LLMTRAIL_SPOOL to a folder of your own")
    boot = _boot_id()
    for attempt in range(_NAME_TRIES):
        path = root / f"{boot}-{pid}-{token}-{attempt}"
        try:
            path.mkdir(mode=_FOLDER_MODE)
        except FileExistsError:
            continue
        lock = folder_lock.lock_new(path)
        if lock is not None:
            return Folder(path, lock)
    raise OSError(f"cannot lock a folder of this process below {root}; is it on a file system without flock?")


def adopt_folders(root: Path, bytes_max: int | None = None) -> list[tuple[Folder, list[Segment]]]:
    """Take over every folder without a living owner, oldest first, while there are fewer than `bytes_max` in them."""
    adopted: list[tuple[Folder, list[Segment]]] = []
    size_bytes = 0
    try:
        paths = [path for path in root.iterdir() if _is_ours(path)] if _is_safe_root(root) else []
    except OSError:
        return adopted
    for path in sorted(paths, key=_modified_ns):
        lock = folder_lock.lock_orphan(path)
        if lock is None:
            continue
        size_bytes += _content_bytes(path)
        if bytes_max is not None and size_bytes > bytes_max:
            os.close(lock)
            break
        folder = Folder(path, lock)
        adopted.append((folder, _segments_of(folder)))
    return adopted


def next_path(folder: Folder, number: int) -> Path:
    """Return the path of the folder's segment of that number."""
    return folder.path / f"{number:08d}{_SUFFIX}"


def replace_segment(segment: Segment, events: Sequence[bytes]) -> None:
    """Put `events` durably in place of all records of a segment. Raises OSError; then the segment is unchanged."""
    data = pack(events)
    draft = segment.path.with_suffix(".draft")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _FILE_MODE)
    try:
        written = 0
        while written < len(data):
            written += os.write(descriptor, data[written:])
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(segment.path)
    sync_folder(segment.path.parent)
    segment.size_bytes = len(data)
    segment.records = len(events)
    segment.read_bytes = 0


def remove_folder(folder: Folder) -> None:
    """Remove a folder that holds no segment any more and let go of its lock."""
    leftovers = (*folder.path.glob("*.draft"), *held_calls.files_of(folder.path))
    for leftover in (*leftovers, folder.path / folder_lock.LOCK_NAME):
        leftover.unlink(missing_ok=True)
    try:
        folder.path.rmdir()
    finally:
        os.close(folder.lock)


def sync_folder(path: Path) -> None:
    """Make a folder's names durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder_bytes(root: Path) -> int:
    """Return how much all segments of all processes below `root` take."""
    total = 0
    for path in root.glob(f"*/*{_SUFFIX}"):
        try:
            total += path.stat().st_size
        except OSError:
            continue  # Another process finished it meanwhile.
    return total


def _segments_of(folder: Folder) -> list[Segment]:
    sent_number, sent_bytes = folder.progress()
    segments: list[Segment] = []
    last, known = sent_number, b""
    for path in sorted(folder.path.glob(f"*{_SUFFIX}")):
        data = path.read_bytes()
        found = scan(data)
        segment = Segment(path, folder, found.good_bytes, len(found.events))
        last = max(last, segment.number)
        if segment.number == sent_number:
            acknowledged = [end for end in found.ends if end <= sent_bytes]
            segment.records -= len(acknowledged)
            segment.read_bytes = acknowledged[-1] if acknowledged else 0
        known = data
        if segment.records > 0:
            segments.append(segment)
        else:
            path.unlink(missing_ok=True)
    held = held_calls.left_in(folder.path, known)
    if held:
        segment = Segment(next_path(folder, last + 1), folder)
        writer = SegmentWriter(segment)
        writer.append(held)
        writer.close()
        segments.append(segment)
    for path in held_calls.files_of(folder.path):
        path.unlink(missing_ok=True)
    folder.segments_left = len(segments)
    return segments


def _content_bytes(path: Path) -> int:
    try:
        return sum(each.stat().st_size for each in path.iterdir())
    except OSError:
        return 0


def _is_safe_root(root: Path) -> bool:
    """Whether no other user made the folder: its owner could take folders away and put others in their place.

    A name in the temporary folder can be taken by anybody before we are there. Root may have made it for us.
    """
    if not hasattr(os, "geteuid"):
        return True
    return {root.lstat().st_uid, root.stat().st_uid} <= {0, os.geteuid()}


def _is_ours(path: Path) -> bool:
    """Whether this user made the folder and nobody else may write to it: what it holds is sent with our token."""
    try:
        found = path.lstat()
    except OSError:
        return False  # Another process finished it meanwhile.
    if not stat.S_ISDIR(found.st_mode):
        return False
    return not hasattr(os, "geteuid") or (found.st_uid == os.geteuid() and not found.st_mode & _OTHERS_WRITE)


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _boot_id() -> str:
    """Return what tells this boot from others, for whoever looks at the folder; the lock decides, not the name."""
    try:
        return _BOOT_ID.read_text().strip()[:8]
    except OSError:
        return "boot"
