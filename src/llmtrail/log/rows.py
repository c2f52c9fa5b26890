"""A batch of records as one row, in memory and as bytes. Pure: knows neither files nor threads."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from zlib import crc32

import orjson

from llmtrail.log.port import Append, Records, RecordTooLargeError

# The largest record that any implementation takes: Kafka's message.max.bytes here is the same.
RECORD_BYTES_MAX = 8_000_000
# One append is held in memory several times over until it is durable.
APPEND_BYTES_MAX = 64_000_000
# A reader must decode a whole row, so rows stay well below what it asks for at once.
ROW_BYTES_MAX = 4_000_000
ROW_RECORDS_MAX = 20_000

_FORMAT = 1
_HEAD = struct.Struct("<BII")  # format, records, bytes of headers
_PLACE = struct.Struct("<qqq")  # first offset, next offset, append time


@dataclass(frozen=True, slots=True)
class Row:
    """Records that were appended together: one place in the log, one append time, one set of headers."""

    first_offset: int
    appended_at_ns: int
    values: Sequence[bytes]
    keys: Sequence[bytes]
    headers: Mapping[str, str]
    bytes: int  # of the values

    @property
    def next_offset(self) -> int:
        """Return the offset after the row's last record."""
        return self.first_offset + len(self.values)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What will be a row as soon as the log gives it a place."""

    values: Sequence[bytes]
    keys: Sequence[bytes]
    headers: Mapping[str, str]
    bytes: int

    def placed(self, first_offset: int, appended_at_ns: int) -> Row:
        """Return the row at its place."""
        return Row(first_offset, appended_at_ns, self.values, self.keys, self.headers, self.bytes)


def chunks_of(append: Append) -> list[Chunk]:
    """Cut an append into rows to be.

    Raises RecordTooLargeError over a limit, and ValueError where keys and values do not pair up.
    """
    values, keys = tuple(append.values), tuple(append.keys)
    if len(keys) != len(values):
        raise ValueError(f"{len(values)} values need as many keys, not {len(keys)}")
    sizes = list(map(len, values))
    total = sum(sizes)
    largest = max(sizes, default=0)
    if largest > RECORD_BYTES_MAX:
        raise RecordTooLargeError(f"a record of {largest} bytes is over the limit of {RECORD_BYTES_MAX}")
    if total > APPEND_BYTES_MAX:
        raise RecordTooLargeError(f"an append of {total} bytes is over the limit of {APPEND_BYTES_MAX}: send less")
    headers = dict(append.headers)
    if total <= ROW_BYTES_MAX and len(values) <= ROW_RECORDS_MAX:
        return [Chunk(values, keys, headers, total)] if values else []
    return [
        Chunk(values[first:end], keys[first:end], headers, sum(sizes[first:end]))
        for first, end in pairwise(_cuts(sizes))
    ]


def _cuts(sizes: Sequence[int]) -> Iterable[int]:
    yield 0
    held, first = 0, 0
    for index, size in enumerate(sizes):
        if index > first and (held + size > ROW_BYTES_MAX or index - first >= ROW_RECORDS_MAX):
            yield index
            held, first = 0, index
        held += size
    yield len(sizes)


def encode(chunk: Chunk) -> bytes:
    """Return the bytes of a row to be: lengths first, then headers, keys and values as they are."""
    count = len(chunk.values)
    headers = orjson.dumps(dict(chunk.headers))
    lengths = struct.pack(f"<{2 * count}I", *map(len, chunk.keys), *map(len, chunk.values))
    return b"".join((_HEAD.pack(_FORMAT, count, len(headers)), lengths, headers, *chunk.keys, *chunk.values))


def decode(blob: bytes, first_offset: int, appended_at_ns: int) -> Row:
    """Return the row that `encode` wrote; ValueError where the bytes are no such row."""
    try:
        form, count, headers_bytes = _HEAD.unpack_from(blob)
        if form != _FORMAT:
            raise ValueError(f"row format {form} is not known to this version")
        lengths = struct.unpack_from(f"<{2 * count}I", blob, _HEAD.size)
        place = _HEAD.size + 8 * count + headers_bytes
    except struct.error as error:
        raise ValueError("row ends before its lengths") from error
    ends = list(accumulate(lengths, initial=place))
    if ends[-1] != len(blob):
        raise ValueError(f"row has {len(blob)} bytes, its lengths say {ends[-1]}")
    headers: dict[str, str] = orjson.loads(blob[place - headers_bytes : place])
    parts = [blob[start:end] for start, end in pairwise(ends)]
    return Row(first_offset, appended_at_ns, parts[count:], parts[:count], headers, ends[-1] - ends[count])


def checksum(blob_crc: int, first_offset: int, next_offset: int, appended_at_ns: int) -> int:
    """Return the checksum of a row at its place, from the checksum of its bytes."""
    return crc32(_PLACE.pack(first_offset, next_offset, appended_at_ns), blob_crc)


@dataclass(frozen=True, slots=True)
class Span:
    """What a reader asks for: from an offset on, so many records and bytes at most (one record at least)."""

    offset: int
    records_max: int
    bytes_max: int


class Gathering:
    """Gathers records of one partition out of successive rows until a reader has what it asked for."""

    __slots__ = ("_at", "_bytes_left", "_first", "_headers", "_keys", "_records_left", "_values")

    def __init__(self, span: Span) -> None:
        """Begin with nothing."""
        self._first = span.offset
        self._records_left = span.records_max
        self._bytes_left = span.bytes_max
        self._values: list[bytes] = []
        self._keys: list[bytes] = []
        self._at: list[int] = []
        self._headers: list[Mapping[str, str]] = []

    @property
    def next_offset(self) -> int:
        """Return the offset that is wanted next."""
        return self._first + len(self._values)

    def add(self, row: Row) -> bool:
        """Take what fits of `row`, which holds or follows the next offset; say whether more may be added."""
        if not self._values:
            self._first = max(self._first, row.first_offset)
        begin = self.next_offset - row.first_offset
        end = min(len(row.values), begin + self._records_left)
        if begin or end < len(row.values) or row.bytes > self._bytes_left:
            end = self._fitting(row.values, begin, end)
            values, keys = row.values[begin:end], row.keys[begin:end]
            size = sum(map(len, values))
        else:
            values, keys, size = row.values, row.keys, row.bytes
        self._values += values
        self._keys += keys
        self._at += [row.appended_at_ns] * len(values)
        self._headers += [row.headers] * len(values)
        self._records_left -= len(values)
        self._bytes_left -= size
        return end == len(row.values) and self._records_left > 0 and self._bytes_left > 0

    def _fitting(self, values: Sequence[bytes], begin: int, end: int) -> int:
        left = self._bytes_left
        for index in range(begin, end):
            left -= len(values[index])
            # One record at least, or a reader with a small limit would stand still for ever.
            if left < 0 and (self._values or index > begin):
                return index
        return end

    def records(self, topic: str, topic_id: str) -> Records:
        """Return what was gathered."""
        return Records(topic, topic_id, 0, self._first, self._values, self._keys, self._at, self._headers)
