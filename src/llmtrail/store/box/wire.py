"""What the boxed process and its owner write to each other: frames of a kind and bytes. Knows pipes, no SQL."""

import os
import select
import struct
from collections.abc import Callable
from enum import IntEnum
from typing import Final

_HEAD: Final = struct.Struct("<BI")
CHUNK_BYTES: Final = 1_048_576
_READ_BYTES: Final = 262_144
_LOOK_S: Final = 0.25


class Kind(IntEnum):
    """What a frame says."""

    FOLLOW = 1  # to the process: parts changed
    STATEMENT = 2  # to the process: run this
    READY = 3  # from it: it is up (with the walls that stand), or it followed
    HEAD = 4  # from it: what comes before the answer's bytes
    BODY = 5  # from it: bytes of the answer
    END = 6  # from it: the answer is whole, and it may serve another
    LAST = 7  # from it: the answer is whole, and it serves no other


class WireClosedError(Exception):
    """The other side is gone."""


class WireLateError(Exception):
    """The other side did not write in time."""


def send(out: int, kind: Kind, data: bytes = b"") -> None:
    """Write one frame. Raises WireClosedError."""
    rest = memoryview(_HEAD.pack(kind, len(data)) + data)
    while rest:
        try:
            rest = rest[os.write(out, rest) :]
        except OSError as cause:
            raise WireClosedError from cause


def send_body(out: int, data: bytes) -> None:
    """Write bytes of an answer, in frames of a bounded size. Raises WireClosedError."""
    for start in range(0, len(data), CHUNK_BYTES):
        send(out, Kind.BODY, data[start : start + CHUNK_BYTES])


def receive(source: int, remaining_s: Callable[[], float] | None = None) -> tuple[Kind, bytes]:
    """Read one frame; raises WireClosedError, and WireLateError where `remaining_s` reaches 0 first."""
    kind, size = _HEAD.unpack(_exactly(source, _HEAD.size, remaining_s))
    if size > CHUNK_BYTES:
        raise WireClosedError  # no frame of ours: whoever writes there is not to be trusted
    return Kind(kind), _exactly(source, size, remaining_s)


def _exactly(source: int, size: int, remaining_s: Callable[[], float] | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        if remaining_s is not None:
            _wait(source, remaining_s)
        got = os.read(source, min(size - len(data), _READ_BYTES))
        if not got:
            raise WireClosedError
        data += got
    return bytes(data)


def _wait(source: int, remaining_s: Callable[[], float]) -> None:
    """Wait for bytes; raises WireLateError. Asks again and again how long: it may be over before it was to be."""
    while (left := remaining_s()) > 0:
        if _readable(source, min(left, _LOOK_S)):
            return
    raise WireLateError


def _readable(source: int, wait_s: float) -> bool:
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(wait_s * 1_000))
