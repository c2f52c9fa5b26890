"""Read a request's body within limits, and decompress it. Knows nothing of what the bytes mean."""

import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import zstandard

from llmtrail.core.outcome import Refusal, RefuseReason

# A batch of 500 calls of 3 kB is 1.5 MB; ten such batches still fit, a 50 MB upload does not.
BODY_BYTES_MAX = 16 * 1024 * 1024
# Text packs 3 to 10 times, extremely repetitive JSON perhaps 50: beyond 200 it is a bomb.
RATIO_MAX = 200
# Below this size even a bomb's ratio harms nobody.
RATIO_FREE_BYTES = 1024 * 1024
# Members of a gzip body and frames of a zstd body: bgzip makes one of 64 kB, so that 16 MB are 256 of them.
MEMBERS_MAX = 1_024
_STEP_BYTES = 256 * 1024
# Each member copies at most so much of what follows it.
_INFLATE_INPUT_BYTES = 64 * 1024
# zlib's numbers for the three framings of one compression.
_GZIP, _ZLIB, _RAW = 31, 15, -15
# The decompressor has no bound on its output: a block of 4 bytes may hold 128 kB, so 256 bytes are 8 MB at the worst.
_ZSTD_INPUT_BYTES = 256


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, as it arrives and when decompressed."""

    body_bytes_max: int = BODY_BYTES_MAX
    ratio_max: int = RATIO_MAX


_REFUSALS = {
    RefuseReason.TOO_LARGE: Refusal.TOO_LARGE,
    RefuseReason.TOO_MANY: Refusal.SHARE,
    RefuseReason.UNAVAILABLE: Refusal.UNAVAILABLE,
    RefuseReason.UNAUTHORIZED: Refusal.UNAUTHORIZED,
    RefuseReason.BAD_REQUEST: Refusal.BAD_REQUEST,
}


class RefusedError(Exception):
    """A request turned away as a whole, before anything of it was acknowledged."""

    def __init__(
        self,
        status: int,
        reason: RefuseReason,
        detail: str,
        *,
        retry_after_s: int | None = None,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {detail}")
        self.status = status
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.refusal = refusal or _REFUSALS[reason]


async def read_body(
    chunks: AsyncIterator[bytes], *, length: str | None, limits: BodyLimits, hold: Callable[[int], None]
) -> bytes:
    """Return the whole body as it came; raise RefusedError when it is too large.

    `length` is the Content-Length header. `hold` is called with the bytes of each piece, and may raise.
    """
    if length is not None and length.isdigit() and int(length) > limits.body_bytes_max:
        raise _too_large(limits.body_bytes_max)
    pieces: list[bytes] = []
    received = 0
    async for piece in chunks:
        received += len(piece)
        if received > limits.body_bytes_max:
            raise _too_large(limits.body_bytes_max)
        hold(len(piece))
        pieces.append(piece)
    return b"".join(pieces)


def decompress(body: bytes, encoding: str, limits: BodyLimits) -> bytes:
    """Return `body` without its Content-Encoding (gzip, deflate or zstd; one only); raise RefusedError otherwise."""
    match encoding.strip().lower():
        case "" | "identity":
            return body
        case "gzip" | "x-gzip":
            return _inflate(body, "gzip", _GZIP, limits)
        case "deflate" | "zlib" as name:
            # HTTP's deflate is a zlib stream (RFC 9110, 8.4.1.2); some senders leave zlib's header out.
            return _inflate(body, name, _ZLIB if _has_zlib_header(body) else _RAW, limits)
        case "zstd":
            return _unzstd(body, limits)
        case other:
            detail = f"Content-Encoding {other[:40]!r} is not known here; send gzip, deflate, zstd or none."
            raise RefusedError(415, RefuseReason.BAD_REQUEST, detail)


def _inflate(body: bytes, name: str, window_bits: int, limits: BodyLimits) -> bytes:
    out: list[bytes] = []
    total = place = members = 0
    view = memoryview(body)
    try:
        while place < len(body):
            members += 1
            _check_members(members)
            inflater = zlib.decompressobj(wbits=window_bits)
            while not inflater.eof:
                given = view[place : place + _INFLATE_INPUT_BYTES]
                piece = inflater.decompress(given, _STEP_BYTES)
                place += len(given) - len(inflater.unconsumed_tail) - len(inflater.unused_data)
                total += len(piece)
                _check_inflated(total, len(body), limits)
                out.append(piece)
                if not piece and not given and not inflater.eof:
                    raise _damaged(name)
    except zlib.error as cause:
        raise _damaged(name) from cause
    return b"".join(out)


def _has_zlib_header(body: bytes) -> bool:
    """Whether the stream begins with zlib's two bytes: the method, and a checksum over both (RFC 1950, 2.2)."""
    return len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0


def _unzstd(body: bytes, limits: BodyLimits) -> bytes:
    out: list[bytes] = []
    total = frames = 0
    # A frame may ask for a huge window: memory is bounded by what a body may hold.
    engine = zstandard.ZstdDecompressor(max_window_size=limits.body_bytes_max)
    inflater = None
    try:
        for start in range(0, len(body), _ZSTD_INPUT_BYTES):
            rest = body[start : start + _ZSTD_INPUT_BYTES]
            while rest:
                if inflater is None:
                    frames += 1
                    _check_members(frames)
                    inflater = engine.decompressobj()
                piece = inflater.decompress(rest)
                rest = b""
                if inflater.eof:
                    rest, inflater = inflater.unused_data, None
                total += len(piece)
                _check_inflated(total, len(body), limits)
                out.append(piece)
    except zstandard.ZstdError as cause:
        raise _damaged("zstd") from cause
    if inflater is not None:
        raise _damaged("zstd")
    return b"".join(out)


def _check_inflated(total: int, compressed: int, limits: BodyLimits) -> None:
    if total > limits.body_bytes_max:
        raise _too_large(limits.body_bytes_max)
    if total > RATIO_FREE_BYTES and total > compressed * limits.ratio_max:
        detail = f"the body unpacks to over {limits.ratio_max} times its size; send it uncompressed."
        raise RefusedError(413, RefuseReason.TOO_LARGE, detail)


def _check_members(members: int) -> None:
    if members > MEMBERS_MAX:
        detail = f"the body is packed in over {MEMBERS_MAX} pieces; pack it as one."
        raise RefusedError(413, RefuseReason.TOO_LARGE, detail)


def _too_large(bytes_max: int) -> RefusedError:
    detail = f"a body may hold {bytes_max} bytes, unpacked; send fewer events at a time."
    return RefusedError(413, RefuseReason.TOO_LARGE, detail)


def _damaged(encoding: str) -> RefusedError:
    detail = f"the body is no complete {encoding} stream; check Content-Encoding and send it again."
    return RefusedError(400, RefuseReason.BAD_REQUEST, detail)
