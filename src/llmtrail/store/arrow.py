"""Build Arrow columns quickly. Knows nothing of calls or tables."""

from array import array
from collections.abc import Iterator, Sequence
from io import IOBase
from itertools import accumulate
from typing import Any, TypeAlias, cast

import msgspec
import pyarrow as pa

# The stubs know Arrow arrays by their content, the run time does not.
Column: TypeAlias = "pa.Array[Any]"

DAY_NS = 86_400 * 1_000_000_000
# What DateTime64(9) can hold and show: 1970-01-01 to 2262-04-11.
TIME_MAX_NS = 9_223_286_400_000_000_000

_TIME = pa.timestamp("ns", "UTC")
_UUID = pa.binary(16)


def warm_up() -> None:
    """Let Arrow import what its first conversion needs (pandas: most of a second), so that no call waits for it."""
    pa.array([""], pa.string())


class Pieces:
    """The bytes of a block in Arrow's file format, as the pieces of memory where its columns already are.

    Reads as a file would, but a whole piece at a time, so that the only copy is the one into the file it is sent by.
    """

    def __init__(self, block: pa.Table) -> None:
        """Lay the block out; nothing is copied but what stands between the columns."""
        self.closed = False
        self._pieces: list[memoryview] = []
        with pa.RecordBatchFileWriter(pa.PythonFile(cast("IOBase", self), "w"), block.schema) as writer:
            writer.write_table(block)
        self._left: Iterator[memoryview] = iter(self._pieces)

    def read(self, size: int = -1) -> memoryview | bytes:
        """Return the next piece, whatever its size; nothing after the last."""
        del size
        return next(self._left, b"")

    def write(self, piece: Any) -> int:
        """Take the next piece from Arrow's writer, which keeps its memory as long as the piece is kept."""
        if size := len(piece):
            self._pieces.append(memoryview(piece))
            return size
        return 0

    def flush(self) -> None:
        """Do nothing: Arrow's writer asks."""

    def close(self) -> None:
        """Do nothing: Arrow's writer asks."""


def raw_texts(slices: Sequence[msgspec.Raw]) -> Column:
    """Build a nullable text column from byte slices with one copy; an empty slice is NULL."""
    lengths = list(map(len, slices))
    offsets = array("q", accumulate(lengths, initial=0))
    nulls = lengths.count(0)
    validity = pa.array(map(bool, lengths), pa.bool_(), size=len(lengths)).buffers()[1] if nulls else None
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(b"".join(slices))]
    return pa.Array.from_buffers(pa.large_utf8(), len(lengths), buffers, nulls)


def uuids(keys: Sequence[int]) -> Column:
    """Build a UUID column from 128-bit numbers."""
    joined = b"".join([key.to_bytes(16, "big") for key in keys])
    return pa.Array.from_buffers(_UUID, len(keys), [None, pa.py_buffer(joined)])


def times(instants_ns: Sequence[int]) -> Column:
    """Build a DateTime64(9) column, clamped to what it can hold."""
    clamped = array("q", [0 if ns < 0 else min(ns, TIME_MAX_NS) for ns in instants_ns])
    return pa.Array.from_buffers(_TIME, len(clamped), [None, pa.py_buffer(clamped)])


def optional_times(instants_ns: Sequence[int | None]) -> Column:
    """Build a nullable DateTime64(9) column, clamped to what it can hold."""
    clamped = [None if ns is None else 0 if ns < 0 else min(ns, TIME_MAX_NS) for ns in instants_ns]
    return pa.array(clamped, pa.int64()).cast(_TIME)


def days(instants_ns: Sequence[int]) -> Column:
    """Build a Date column: the UTC day of each instant, of one that no column holds the nearest that it does."""
    try:
        numbers = array("i", [ns // DAY_NS for ns in instants_ns])
    except OverflowError:
        numbers = array("i", [min(max(ns, 0), TIME_MAX_NS) // DAY_NS for ns in instants_ns])
    return pa.Array.from_buffers(pa.date32(), len(numbers), [None, pa.py_buffer(numbers)])
