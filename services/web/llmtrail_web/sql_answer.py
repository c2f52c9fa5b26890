"""Write a result as ClickHouse's HTTP interface does: headers, compression, in pieces where it is large."""

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Final

import lz4.frame
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from llmtrail.clock import random_bytes
from llmtrail_web import sql_blocks
from llmtrail_web.sql_box import Result

# Smaller answers travel faster as they are.
_COMPRESS_FROM_BYTES: Final = 1_024
# What is read of a result at once; smaller ones are sent in one piece.
_PIECE_BYTES: Final = sql_blocks.BLOCK_BYTES
# A header of so many columns is none that a driver could read.
_HEAD_BYTES: Final = 262_144

_CONTENT_TYPES: Final = {
    "JSON": "application/json; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
}


def response(request: Request, result: Result) -> Response:
    """Return the response that carries the result, packed as the client asked for it."""
    fmt, size = result.fmt, result.size
    head = result.body.read(_HEAD_BYTES)
    result.body.seek(0)
    query_id = request.query_params.get("query_id") or random_bytes(16).hex()
    headers = {
        "X-ClickHouse-Query-Id": re.sub(r"[^A-Za-z0-9_.:-]", "", query_id)[:128],
        "X-ClickHouse-Format": fmt,
        "X-ClickHouse-Timezone": "UTC",
        "X-ClickHouse-Summary": f'{{"result_rows":"{_rows_at_least(fmt, head)}","result_bytes":"{size}"}}',
    }
    packed, encoding = _encoded(request, _pieces(result.body), size)
    if encoding:
        headers["Content-Encoding"] = encoding
    media_type = _CONTENT_TYPES.get(fmt) or ("application/json" if fmt.startswith("JSON") else "text/plain")
    if size <= _PIECE_BYTES:
        return Response(b"".join(packed), headers=headers, media_type=media_type)
    return StreamingResponse(packed, headers=headers, media_type=media_type)


def _pieces(body: IO[bytes]) -> Iterator[bytes]:
    with body:
        while piece := body.read(_PIECE_BYTES):
            yield piece


def _encoded(request: Request, pieces: Iterator[bytes], size: int) -> tuple[Iterable[bytes], str]:
    """Return the pieces as the client asked for them, and their Content-Encoding."""
    params = request.query_params
    accepted = request.headers.get("accept-encoding", "") if params.get("enable_http_compression") == "1" else ""
    if params.get("compress") == "1":
        # Drivers that ask for blocks of ClickHouse's own read nothing else, however short the result.
        return (block for piece in pieces for block in sql_blocks.packed(piece)), ""
    if "gzip" in accepted and size >= _COMPRESS_FROM_BYTES:
        return _gzipped(pieces), "gzip"
    if "lz4" in accepted and "gzip" not in accepted:
        return _lz4_packed(pieces), "lz4"
    return pieces, ""


def _gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    # Level 1: the client is on the same machine or network more often than not.
    packer = zlib.compressobj(level=1, wbits=31)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _lz4_packed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    with lz4.frame.LZ4FrameCompressor() as packer:
        yield packer.begin()
        for piece in pieces:
            yield packer.compress(piece)
        yield packer.flush()


def _rows_at_least(fmt: str, head: bytes) -> int:
    """Whether there are rows, as a number: JDBC drivers take a result of 0 rows for empty and look no further.

    As with ClickHouse itself, which sends the header before it knows them all, there may be more.
    """
    if fmt != "RowBinaryWithNamesAndTypes":
        return int(bool(head))
    columns, place = _varint(head, 0)
    for _ in range(2 * columns):
        length, place = _varint(head, place)
        place += length
    return int(place < len(head))


def _varint(body: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(body):
        byte = body[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            break
    return value, place
