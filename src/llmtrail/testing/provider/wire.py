"""Answers on the wire: whole, streamed in time, cut, or never. Knows no provider's format and no faults' names."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from llmtrail.testing.provider.faults import Step, StepKind
from llmtrail.testing.provider.frames import Frame

# A cut without a value of its own.
CUT_AFTER_CHUNKS = 3
# A client that never gives up is let go after this long.
SILENCE_S_MAX = 900.0

# ASGI's own shapes.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def with_fault(frames: Sequence[Frame], step: Step) -> tuple[Sequence[Frame], bool]:
    """Return the frames to send, and whether the connection is cut after them."""
    if step.kind not in (StepKind.CUT, StepKind.STREAM_ERROR, StepKind.MALFORMED):
        return frames, False
    kept: list[Frame] = []
    left = int(step.value) if step.value is not None else CUT_AFTER_CHUNKS
    for one in frames:
        if one.content and left == 0:
            break
        left -= one.content
        kept.append(one)
    if step.kind is StepKind.CUT:
        return kept, True
    broken = b'data: {"id": "broken\n\n'
    error = b'event: error\ndata: {"type": "error", "error": {"type": "server_error", "message": "overloaded"}}\n\n'
    return [*kept, Frame(broken if step.kind is StepKind.MALFORMED else error, content=False)], False


class Reply:
    """A whole body; `cut` promises more than it sends, so that the connection closes on a reader in mid-body."""

    def __init__(self, payload: bytes, headers: dict[str, str], status: int = 200, *, cut: bool = False) -> None:
        self._payload, self._headers, self._status, self._cut = payload, headers, status, cut

    async def __call__(self, _scope: Message, _receive: Receive, send: Send) -> None:
        """Send the body."""
        length = len(self._payload) * (2 if self._cut else 1)
        headers = self._headers | {"content-type": "application/json", "content-length": str(length)}
        await send({"type": "http.response.start", "status": self._status, "headers": _raw(headers)})
        await send({"type": "http.response.body", "body": self._payload, "more_body": self._cut})


class Stream:
    """Server-sent events in their own time."""

    def __init__(
        self, frames: tuple[Sequence[Frame], bool], headers: dict[str, str], first_s: float, rest_s: float
    ) -> None:
        self._frames, self._cut = frames
        self._headers, self._first_s, self._rest_s = headers, first_s, rest_s

    async def __call__(self, _scope: Message, receive: Receive, send: Send) -> None:
        """Send the events until all are sent, the cut is due, or the client has gone."""
        headers = self._headers | {"content-type": "text/event-stream; charset=utf-8"}
        await send({"type": "http.response.start", "status": 200, "headers": _raw(headers)})
        gone = asyncio.ensure_future(_disconnected(receive))
        contents = sum(one.content for one in self._frames)
        gap_s = self._rest_s / max(1, contents - 1)
        wait_s = self._first_s
        try:
            for one in self._frames:
                if one.content:
                    await asyncio.wait([gone], timeout=wait_s)
                    wait_s = gap_s
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": one.payload, "more_body": True})
            if not self._cut:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()


class Silence:
    """No answer until the client gives up."""

    async def __call__(self, _scope: Message, receive: Receive, _send: Send) -> None:
        """Wait until the client has gone."""
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait([gone], timeout=SILENCE_S_MAX)
        finally:
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
