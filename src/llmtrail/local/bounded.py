"""One HTTP connection within bounds, before anybody knows who asks. Over uvicorn's; knows no route.

httptools keeps whatever comes until a header is complete, and uvicorn waits for ever: here the bytes of a request line
and of headers (trailers too) are counted as they come, and `check`, called each second, ends what takes too long.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from llmtrail.config import HttpConfig
from llmtrail.core.addresses import client_of
from llmtrail.core.outcome import Refusal
from llmtrail.local.connections import Connections
from llmtrail_ingest.gateway.arrival import CONNECTION

# A body's rate is judged after so long: a sender may wait for its own network.
BODY_GRACE_S = 5.0
# An answer's rate is judged after so long: people page through answers, and sockets hold megabytes.
READER_GRACE_S = 30.0
# What a client goes on sending after its answer is read and dropped for so long, so that it sees the answer.
LINGER_S = 3.0
# Requests sent ahead of their answers: no client of ours sends any.
PIPELINED_MAX = 16
RETRY_AFTER_S = 1
# What belongs to a piece of a body or to a request line beside its bytes: a chunk's size and ends, method and version.
PIECE_BYTES = 32
# Chunks of a body that may be as small as they like; beyond it they hold so many bytes on average. Each costs a call.
SMALL_CHUNKS_MAX, CHUNK_BYTES_MIN = 4_096, 64

_STATUS = {
    Refusal.CONNECTIONS: (429, "this address holds as many connections as it may; keep fewer open."),
    Refusal.SLOW_HEAD: (408, "the headers did not come in time."),
    Refusal.SLOW_BODY: (408, "the body came too slowly; send smaller bodies, or send them faster."),
    Refusal.SMALL_CHUNKS: (400, "the body comes in chunks of a few bytes; send larger chunks."),
    Refusal.LONG_LINE: (414, "the request line is too long; send what is long in the body."),
    Refusal.LARGE_HEAD: (431, "the headers are too long or too many."),
    Refusal.PIPELINED: (429, "too many requests were sent ahead of their answers."),
}


class _State(Enum):
    """Whose turn it is, as far as requests are read."""

    IDLE = auto()  # the client's: no request has begun
    HEAD = auto()  # the client's: the first request, or one whose headers have begun
    BODY = auto()  # the client's
    WORK = auto()  # ours
    LINGER = auto()  # nobody's: the answer is out, what still comes is dropped


@dataclass(frozen=True, slots=True)
class Bounds:
    """What connections share: their bounds, who holds how many, and who counts what is turned away."""

    config: HttpConfig
    connections: "Connections[BoundedProtocol]"
    turned_away: Callable[[str, Refusal], None]


class BoundedProtocol(HttpToolsProtocol):
    """A connection that cannot hold more, or for longer, than the bounds say."""

    def __init__(self, *, bounds: Bounds, **given: Any) -> None:
        super().__init__(**given)
        self._bounds = bounds
        self._client = ""
        self._is_counted = False
        self._state = _State.HEAD
        self._since_s = self.loop.time()
        self._checked_s = self._since_s
        self._is_silent = True
        self._refused: Refusal | None = None
        self._extensions: dict[str, dict[Any, Any]] = {}
        # Of the request that is being read.
        self._line_bytes = self._head_bytes = self._headers = self._body_bytes = self._chunks = 0
        # Bytes of which the parser has given nothing yet, or never will, and those of which it has.
        self._unfinished_bytes = self._given_bytes = 0
        self._answered_s = 0.0
        # Since when an answer waits to be read, and how much of it waited then.
        self._unread_s: float | None = None
        self._unread_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, or turn it away."""
        super().connection_made(transport)
        self._extensions = {CONNECTION: {"is_gone": transport.is_closing}}
        self._client = client_of(self.client[0] if self.client else "")
        self._since_s = self._checked_s = now_s = self.loop.time()
        opened = self._bounds.connections.open(self, self._client, now_s)
        self._is_counted = opened.is_taken
        if opened.evicted is not None:
            opened.evicted.evict()
        if not opened.is_taken:
            self._turn_away(Refusal.CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the connection's place back."""
        super().connection_lost(exc)
        if self._is_counted:
            self._is_counted = False
            self._bounds.connections.close(self, self._client)

    def data_received(self, data: bytes) -> None:
        """Read what came, and turn the connection away where it is over a bound."""
        if self._state is _State.LINGER:
            return
        self._is_silent = False
        given_bytes = self._given_bytes
        super().data_received(data)
        given_bytes = self._given_bytes - given_bytes
        former_bytes = 0 if given_bytes else self._unfinished_bytes
        self._unfinished_bytes = max(0, former_bytes + len(data) - given_bytes)
        if self._unfinished_bytes > self._bounds.config.head_bytes_max:
            self._refused = self._refused or Refusal.LARGE_HEAD
        if self._refused is not None and not self.transport.is_closing():
            self._turn_away(self._refused)

    def on_message_begin(self) -> None:
        """Begin to count a request."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self._given_bytes += PIECE_BYTES
        self._line_bytes = self._head_bytes = self._headers = self._body_bytes = self._chunks = 0
        self._enter(_State.HEAD)

    def on_url(self, url: bytes) -> None:
        """Count the request line."""
        self._line_bytes += len(url)
        self._given_bytes += len(url)
        # What is over the bound is not put together, which would cost its square.
        if self._line_bytes > self._bounds.config.line_bytes_max:
            self._refused = self._refused or Refusal.LONG_LINE
        else:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a header, or a trailer."""
        size_bytes = len(name) + len(value) + 4
        self._given_bytes += size_bytes
        self._head_bytes += size_bytes
        self._headers += 1
        config = self._bounds.config
        if self._headers > config.headers_max or self._head_bytes > config.head_bytes_max:
            self._refused = self._refused or Refusal.LARGE_HEAD
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request on, unless it is over a bound."""
        if len(self.pipeline) >= PIPELINED_MAX:
            self._refused = self._refused or Refusal.PIPELINED
        if self._refused is None:
            super().on_headers_complete()
            self._enter(_State.BODY)

    def on_body(self, body: bytes) -> None:
        """Count a piece of the body."""
        self._given_bytes += len(body) + PIECE_BYTES
        self._body_bytes += len(body)
        self._chunks += 1
        if self._chunks > SMALL_CHUNKS_MAX and self._body_bytes < CHUNK_BYTES_MIN * self._chunks:
            self._refused = self._refused or Refusal.SMALL_CHUNKS
        if self._refused is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that it is our turn, unless the request is answered already."""
        self._given_bytes += PIECE_BYTES
        if self._refused is not None:
            return
        super().on_message_complete()
        if self.cycle.response_complete:
            self._enter(_State.IDLE)
        elif self._is_counted:
            self._state = _State.WORK
            self._bounds.connections.work(self, self._client)

    def on_response_complete(self) -> None:
        """Note that it is the client's turn, unless it has sent the next request already."""
        has_more = bool(self.pipeline)
        self._answered_s = self.loop.time()
        super().on_response_complete()
        if self._state is _State.WORK and not has_more:
            self._enter(_State.IDLE)

    def evict(self) -> None:
        """End the connection at once, for a newcomer."""
        self._bounds.turned_away(self._client, Refusal.EVICTED)
        self.transport.abort()

    def check(self, now_s: float) -> None:
        """End the connection where it took too long by now."""
        passed_s, self._checked_s = now_s - self._checked_s, now_s
        if self._reads_too_slowly(now_s):
            self._bounds.turned_away(self._client, Refusal.SLOW_READER)
            self.transport.abort()
            return
        config, waited_s = self._bounds.config, now_s - self._since_s
        match self._state:
            case _State.IDLE if waited_s > config.idle_seconds_max:
                self.transport.close()
            case _State.HEAD if self._owes_answer:
                self._since_s += passed_s  # Sent ahead of it: nobody waits for these headers yet.
            case _State.HEAD if waited_s > config.head_seconds_max:
                self._turn_away(Refusal.SLOW_HEAD)
            case _State.BODY:
                self._check_body(now_s, passed_s)
            case _State.LINGER if waited_s > LINGER_S:
                self.transport.abort()
            case _:
                pass

    @property
    def _owes_answer(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _check_body(self, now_s: float, passed_s: float) -> None:
        config = self._bounds.config
        if self.cycle.response_complete:
            if now_s - self._answered_s > LINGER_S:
                self.transport.abort()
        elif self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._since_s += passed_s  # It is we who do not read.
        else:
            took_s = now_s - self._since_s
            is_slow = took_s > BODY_GRACE_S and self._body_bytes < config.bytes_per_second_min * took_s
            if is_slow or took_s > config.body_seconds_max:
                self._turn_away(Refusal.SLOW_BODY)

    def _reads_too_slowly(self, now_s: float) -> bool:
        """Whether an answer has waited too long for its reader: it must go at the least rate after its grace."""
        unread = self.transport.get_write_buffer_size()
        if not unread:
            self._unread_s = None
            return False
        if self._unread_s is None or unread > self._unread_bytes:
            self._unread_s, self._unread_bytes = now_s, unread
        took_s = now_s - self._unread_s
        read_bytes = self._unread_bytes - unread
        return took_s > READER_GRACE_S and read_bytes < self._bounds.config.bytes_per_second_min * took_s

    def _enter(self, state: _State) -> None:
        """Wait for the client from now on."""
        self._state = state
        self._since_s = self.loop.time()
        if self._is_counted:
            self._bounds.connections.wait(self, self._client, self._since_s)

    def _turn_away(self, refusal: Refusal) -> None:
        """Answer, drop what still comes for a moment, and end."""
        self._bounds.turned_away(self._client, refusal)
        cycle, is_next = self.cycle, bool(self.pipeline) or self._state is _State.HEAD
        # An answer that has begun, or that is owed to a request before this one, cannot be mended.
        is_amid = self._owes_answer and (cycle.response_started or is_next)
        if self._owes_answer:
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        if is_amid or (self._is_silent and refusal is Refusal.SLOW_HEAD):
            self.transport.abort()
            return
        self.transport.write(_answer(*_STATUS[refusal]))
        if refusal is Refusal.CONNECTIONS:
            self.transport.close()
            return
        self.flow.resume_reading()
        self._enter(_State.LINGER)


def _answer(status: int, text: str) -> bytes:
    body = f'{{"error":"{text}"}}'.encode()
    retry = b"retry-after: %d\r\n" % RETRY_AFTER_S if status == 429 else b""
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n" % len(body)
    return STATUS_LINE[status] + head + retry + b"\r\n" + body
