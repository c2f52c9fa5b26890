"""ClickHouse's own framing of compressed bytes (`compress=1`, `decompress=1`), as JDBC drivers speak it. Pure.

A block is a checksum (CityHash128 of what follows), a method, two sizes and the data: docs of ClickHouse's native
protocol, "Compression".
"""

import struct
from collections.abc import Iterator
from typing import Final

import lz4.block

from llmtrail.store.cityhash import city_hash128

# As ClickHouse cuts them: max_compress_block_size.
BLOCK_BYTES: Final = 1_048_576
_LZ4: Final = 0x82
_PLAIN: Final = 0x02
# Method, size with these nine bytes, size of the data.
_HEAD: Final = struct.Struct("<BII")
_CHECKSUM_BYTES: Final = 16


class BadBlockError(ValueError):
    """Bytes that are no compressed blocks; the text says why."""


def packed(data: bytes) -> Iterator[bytes]:
    """Yield the blocks of `data`; an empty result has none."""
    for start in range(0, len(data), BLOCK_BYTES):
        plain = data[start : start + BLOCK_BYTES]
        body = lz4.block.compress(plain, store_size=False)
        framed = _HEAD.pack(_LZ4, len(body) + _HEAD.size, len(plain)) + body
        yield city_hash128(framed) + framed


def unpacked(data: bytes, bytes_max: int) -> bytes:
    """Return what the blocks hold. Raises BadBlockError where one is damaged, and where they hold over `bytes_max`."""
    plain = bytearray()
    place = 0
    while place < len(data):
        head = place + _CHECKSUM_BYTES
        if head + _HEAD.size > len(data):
            raise BadBlockError("the last block is cut off")
        method, size, plain_size = _HEAD.unpack_from(data, head)
        end = head + size
        if size < _HEAD.size or end > len(data):
            raise BadBlockError("a block's size is not that of its bytes")
        if len(plain) + plain_size > bytes_max:
            raise BadBlockError(f"the blocks hold over {bytes_max} bytes")
        if city_hash128(data[head:end]) != data[place:head]:
            raise BadBlockError("a block's checksum is not that of its bytes")
        plain += _plain(method, data[head + _HEAD.size : end], plain_size)
        place = end
    return bytes(plain)


def _plain(method: int, body: bytes, size: int) -> bytes:
    if method == _PLAIN and len(body) == size:
        return body
    if method != _LZ4:
        raise BadBlockError(f"a block's method is 0x{method:02x}; LZ4 (0x82) and none (0x02) are read")
    try:
        plain = bytes(lz4.block.decompress(body, uncompressed_size=size))
    except lz4.block.LZ4BlockError as cause:
        raise BadBlockError("a block is not LZ4") from cause
    if len(plain) != size:
        raise BadBlockError("a block holds fewer bytes than it says")
    return plain
