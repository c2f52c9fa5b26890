"""Bodies are read within limits, whatever they claim to be."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.outcome import RefuseReason
from llmtrail_ingest.gateway.body import BodyLimits, RefusedError, decompress, read_body

LIMITS = BodyLimits(body_bytes_max=4 * 1024 * 1024, ratio_max=50)


def compress(body: bytes, encoding: str) -> bytes:
    match encoding:
        case "gzip":
            return gzip.compress(body)
        case "zstd":
            return zstandard.compress(body)
        case _:
            return body


@given(st.binary(max_size=10_000), st.sampled_from(["", "identity", "gzip", "zstd", " GZIP "]))
def test_what_was_compressed_comes_back(body: bytes, encoding: str) -> None:
    assert decompress(compress(body, encoding.strip().lower()), encoding, LIMITS) == body


@given(st.binary(max_size=2_000), st.sampled_from(["gzip", "zstd", "deflate", "br", "gzip, gzip"]))
def test_arbitrary_bytes_are_read_or_refused_never_a_crash(body: bytes, encoding: str) -> None:
    status = None
    try:
        decompress(body, encoding, LIMITS)
    except RefusedError as refused:
        status = refused.status
    assert status in {None, 400, 413, 415}


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_bomb_is_refused_before_it_unpacks(encoding: str) -> None:
    bomb = compress(bytes(64 * 1024 * 1024), encoding)
    with pytest.raises(RefusedError) as refused:
        decompress(bomb, encoding, LIMITS)
    assert refused.value.status == 413
    assert refused.value.reason is RefuseReason.TOO_LARGE


def test_a_bomb_under_the_size_limit_is_refused_by_its_ratio() -> None:
    with pytest.raises(RefusedError, match="50 times"):
        decompress(gzip.compress(bytes(3 * 1024 * 1024)), "gzip", LIMITS)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_cut_stream_is_refused(encoding: str) -> None:
    whole = compress(bytes(range(256)) * 64, encoding)
    with pytest.raises(RefusedError) as refused:
        decompress(whole[: len(whole) // 2], encoding, LIMITS)
    assert refused.value.status == 400


def test_members_of_gzip_one_after_another_are_read_as_one() -> None:
    assert decompress(gzip.compress(b"a") + gzip.compress(b"b"), "gzip", LIMITS) == b"ab"


def test_garbage_after_a_gzip_stream_is_refused() -> None:
    with pytest.raises(RefusedError):
        decompress(gzip.compress(b"a") + b"garbage", "gzip", LIMITS)


def test_a_raw_deflate_stream_under_the_name_of_gzip_is_refused() -> None:
    with pytest.raises(RefusedError):
        decompress(zlib.compress(b"a"), "gzip", LIMITS)


async def stream(pieces: list[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def read(pieces: list[bytes], length: str | None) -> bytes:
    return asyncio.run(read_body(stream(pieces), length=length, limits=LIMITS, hold=lambda _: None))


def test_a_body_is_put_together_from_its_pieces() -> None:
    assert read([b"a", b"", b"bc"], None) == b"abc"


def test_a_body_that_states_too_large_a_length_is_refused_unread() -> None:
    with pytest.raises(RefusedError, match="send fewer events"):
        read([], str(50 * 1024 * 1024))


def test_a_body_that_lies_about_its_length_is_refused_when_it_grows_too_large() -> None:
    with pytest.raises(RefusedError) as refused:
        read([bytes(1024 * 1024)] * 5, "10")
    assert refused.value.status == 413
