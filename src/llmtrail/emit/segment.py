"""The spool's record format: `length u32 | crc32 u32 | bytes`, little-endian. Pure; knows nothing of files."""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_HEADER: Final = struct.Struct("<II")
# No event is longer (the gateway refuses far less); a larger length is damage, not data.
RECORD_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Scan:
    """The good records at a segment's head. `ends[i]` is the offset just after `events[i]`."""

    events: list[bytes]
    ends: list[int]

    @property
    def good_bytes(self) -> int:
        """Return where the last good record ends: everything behind it is torn or damaged."""
        return self.ends[-1] if self.ends else 0


def pack(events: Iterable[bytes]) -> bytes:
    """Return the records of `events`, ready to be appended."""
    parts: list[bytes] = []
    for event in events:
        parts.append(_HEADER.pack(len(event), zlib.crc32(event)))
        parts.append(event)
    return b"".join(parts)


def packed_bytes(event: bytes) -> int:
    """Return how many bytes the record of `event` takes."""
    return _HEADER.size + len(event)


def scan(data: bytes, records_max: int | None = None, bytes_max: int | None = None) -> Scan:
    """Read records from the start of `data` until it ends, one is torn or damaged, or a limit is reached.

    At least one good record is returned where there is one, whatever `bytes_max` says.
    """
    events: list[bytes] = []
    ends: list[int] = []
    position = 0
    while records_max is None or len(events) < records_max:
        start = position + _HEADER.size
        if start > len(data):
            break
        length, checksum = _HEADER.unpack_from(data, position)
        end = start + length
        if length > RECORD_BYTES_MAX or end > len(data):
            break
        if bytes_max is not None and events and end > bytes_max:
            break
        event = data[start:end]
        # A file that grew but was never written is full of zeros: an empty record with checksum 0, never written by us.
        if length == 0 or zlib.crc32(event) != checksum:
            break
        events.append(event)
        ends.append(end)
        position = end
    return Scan(events, ends)
