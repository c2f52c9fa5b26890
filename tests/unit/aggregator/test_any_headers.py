"""Records of any headers, as the aggregator's driver reads them: no name of one holds up what comes after it."""

import struct
from collections.abc import Sequence

import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy
from aiokafka.record.util import calc_crc32c

from llmtrail_aggregator.any_headers import RecordsWithAnyHeaders

# zstd is what our producers write; 0 is none at all.
CODECS = (0, 1, 3, 4)
_CRC_AT, _CRC_OF = 17, 21
# Names that public producers were seen to send, and what Kafka's own clients would refuse.
NAMES = (
    b"\xc3\x28xx",
    b"\xffxxx",
    b"\xed\xa0\x80x",
    b"na\x80e",
    b"\xf8\x88\x80\x80",
    b"\xc0\x80xx",
    b"\xf5\x80\x80\x80",
)


def batch(codec: int, name: bytes, *, at: int, records: int = 6) -> bytes:
    """Return a batch of which one record has a header of this name, of four bytes."""
    builder = _DefaultRecordBatchBuilderPy(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1_000_000,
    )
    for number in range(records):
        key = None if number == 1 else b"key"
        value = None if number == 2 else b"value %d" % number
        builder.append(number, 1_000 + number, key, value, [("before", None), (name_of(number, at), b"x")])
    buffer = builder._buffer
    position = buffer.find(b"NAME")
    buffer[position : position + 4] = name
    return with_crc(builder.build())


def name_of(number: int, at: int) -> str:
    return "NAME" if number == at else "name"


def with_crc(raw: bytes) -> bytes:
    made = bytearray(raw)
    made[_CRC_AT:_CRC_OF] = struct.pack(">I", calc_crc32c(bytes(made[_CRC_OF:])))
    return bytes(made)


def read(raw: bytes) -> list[tuple[int, int, bytes | None, bytes | None]]:
    records, found = RecordsWithAnyHeaders(raw), []
    while records.has_next():
        one = records.next_batch()
        assert one.validate_crc()
        found += [(record.offset, record.timestamp, record.key, record.value) for record in one]
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("at", [0, 3, 5])
@pytest.mark.parametrize("codec", CODECS)
def test_a_name_that_is_no_text_costs_no_record(name: bytes, at: int, codec: int) -> None:
    # Read as the same batch is with a name that is one.
    expected = read(batch(codec, b"good", at=at) * 2)
    assert read(batch(codec, name, at=at) * 2) == expected
    assert len(expected) == 12


def test_a_record_keeps_its_headers_where_each_name_is_a_text() -> None:
    records = RecordsWithAnyHeaders(batch(0, "naï".encode(), at=2))
    headers: Sequence[tuple[str, bytes | None]] = [list(one.headers) for one in records.next_batch()][2]
    assert headers == [("before", None), ("naï", b"x")]
