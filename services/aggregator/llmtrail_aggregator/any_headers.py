"""Records as aiokafka reads them, whatever the names of their headers. Knows no topic; the worker reads no headers.

Kafka's protocol says that a header's name is a text, and no broker looks. aiokafka raises UnicodeDecodeError for one
that is none, and its fetch then meets the same record again for ever: the partition stands still.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy, _DefaultRecordPy
from aiokafka.record.memory_records import _MemoryRecordsPy
from aiokafka.record.util import decode_varint

# The first format of batches with headers.
_MAGIC_WITH_HEADERS = 2


class _WithoutHeaders(_DefaultRecordBatchPy):  # type: ignore[misc]  # the only reader that shows its place
    """A batch whose records' headers are passed over unread."""

    _pos: int

    def _read_msg(self, *_: Any) -> _DefaultRecordPy:
        length, begin = decode_varint(self._buffer, self._pos)
        _, pos = decode_varint(self._buffer, begin)  # attributes: none are defined
        ts_delta, pos = decode_varint(self._buffer, pos)
        offset_delta, pos = decode_varint(self._buffer, pos)
        key, pos = self._bytes_at(pos)
        value, pos = self._bytes_at(pos)
        self._pos = begin + length
        is_brokers = self.timestamp_type == self.LOG_APPEND_TIME
        timestamp = self.max_timestamp if is_brokers else self.first_timestamp + ts_delta
        return _DefaultRecordPy(self.base_offset + offset_delta, timestamp, self.timestamp_type, key, value, [])

    def _bytes_at(self, pos: int) -> tuple[bytes | None, int]:
        length, pos = decode_varint(self._buffer, pos)
        return (None, pos) if length < 0 else (bytes(self._buffer[pos : pos + length]), pos + length)


class _Batch:
    """A batch of aiokafka's, which goes on without headers from the first record whose headers cannot be read."""

    def __init__(self, raw: memoryview) -> None:
        self._raw = raw
        self._batch = DefaultRecordBatch(raw)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        read = 0
        try:
            for record in self._batch:
                yield record
                read += 1
        except UnicodeDecodeError:
            yield from islice(_WithoutHeaders(self._raw), read, None)


class RecordsWithAnyHeaders(_MemoryRecordsPy):  # type: ignore[misc]  # the only one that shows its slices
    """The batches of one fetch of a partition."""

    def next_batch(self, *_: Any) -> Any:
        """Return the next batch, None after the last."""
        raw = self._next_slice
        if raw is None or len(raw) < self.MIN_SLICE or raw[self.MAGIC_OFFSET] < _MAGIC_WITH_HEADERS:
            return super().next_batch()
        self._cache_next()
        return _Batch(raw)


def read_any_headers() -> None:
    """Have every consumer of this process read records so: aiokafka has no setting for it."""
    if not hasattr(fetcher, "MemoryRecords"):
        raise RuntimeError("this aiokafka reads records elsewhere; see requirements.lock.")
    fetcher.MemoryRecords = RecordsWithAnyHeaders
