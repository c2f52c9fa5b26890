"""Calls that the assembler holds, on disk as far as they are known: what is held must outlive its process too.

An entry is a record like a segment's: a call's event, or a mark that the call has gone on to a segment. A file whose
calls have all gone on is emptied or deleted, so what lies here is what is held, and a little more.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import orjson

from llmtrail.emit.segment import pack, scan

_SUFFIX: Final = ".held"
_FILE_MODE: Final = 0o600
# No JSON object begins so.
_GONE: Final = b"-"
# A file is not appended to beyond this; it goes when the last of its calls has gone on, two seconds later at most.
_FILE_BYTES_MAX: Final = 4 * 1024 * 1024
# Together with the segments' own bound: so much is held on disk, and no more.
HELD_BYTES_MAX: Final = 64 * 1024 * 1024


class HeldCalls:
    """The held calls of one process on disk. Not safe for several threads: its owner holds a lock."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        """Keep them in the folder that `folder` makes at first use."""
        self.live: dict[str, int] = {}  # call id -> the file that has its event
        self._folder = folder
        self._live_in: Counter[int] = Counter()
        self._paths: dict[int, Path] = {}
        self._descriptor = -1
        self._number = 0
        self._written_bytes = 0

    @property
    def is_full(self) -> bool:
        """Say whether so much is held that no more shall be."""
        return len(self._paths) * _FILE_BYTES_MAX >= HELD_BYTES_MAX

    def keep(self, call_id: str, event: bytes) -> None:
        """Write down a call that is held. Raises OSError."""
        if self._descriptor < 0 or self._written_bytes >= _FILE_BYTES_MAX:
            self._next_file()
        self._write(pack([event]))
        if (former := self.live.get(call_id)) is not None:
            self._live_in[former] -= 1
        self.live[call_id] = self._number
        self._live_in[self._number] += 1

    def forget(self, call_ids: Iterable[str]) -> None:
        """Write down which calls have gone on to a segment. Raises OSError."""
        gone = [(call_id, number) for call_id in call_ids if (number := self.live.pop(call_id, None)) is not None]
        if not gone:
            return
        for _, number in gone:
            self._live_in[number] -= 1
        for number in [number for number in self._paths if number != self._number and self._live_in[number] <= 0]:
            self._paths.pop(number).unlink(missing_ok=True)
            del self._live_in[number]
        if self.live:
            self._write(pack(_GONE + call_id.encode() for call_id, _ in gone))
        elif self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            self._written_bytes = 0

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _next_file(self) -> None:
        path = self._folder() / f"{self._number + 1:08d}{_SUFFIX}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, _FILE_MODE)
        self.close()
        self._number += 1
        self._descriptor, self._paths[self._number], self._written_bytes = descriptor, path, 0

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, memoryview(data)[written:])
        except OSError:
            # A torn record would hide what is written after it.
            os.ftruncate(self._descriptor, self._written_bytes)
            raise
        self._written_bytes += written


def files_of(folder: Path) -> list[Path]:
    """Return the files of held calls in a folder, oldest first."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def left_in(folder: Path, segments: bytes) -> list[bytes]:
    """Return the events that were held when their process died, but for those that reached `segments` after all."""
    found: dict[bytes, bytes] = {}
    for path in files_of(folder):
        for record in scan(path.read_bytes()).events:
            if record.startswith(_GONE):
                found.pop(record.removeprefix(_GONE), None)
            else:
                found[_call_id(record)] = record
    return [event for call_id, event in found.items() if not call_id or call_id not in segments]


def _call_id(event: bytes) -> bytes:
    try:
        return str(orjson.loads(event)["call_id"]).encode()
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return b""
