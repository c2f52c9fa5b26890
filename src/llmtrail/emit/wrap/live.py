"""One call while it runs: what the caller's thread notes, and its hand-off. Knows nothing of formats.

Only references are kept; building comes later, in the background.
"""

import atexit
import os
import sys
import time
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, NamedTuple

from llmtrail.emit.context import Request
from llmtrail.emit.door import before_flush
from llmtrail.emit.handoff import Builder
from llmtrail.emit.recorder import get_recorder
from llmtrail.emit.snapshot import snapshot
from llmtrail.emit.wrap.endpoints import Endpoint
from llmtrail.emit.wrap.guard import swallow

# Bound once, here at the SDK's edge: a call's hot path cannot afford to pass a clock along.
wall_ns = time.time_ns  # tidy: bound once at the SDK's edge
monotonic_ns = time.perf_counter_ns  # tidy: bound once at the SDK's edge

# What one event of a stream weighs in memory, for the recorder's bound.
_EVENT_BYTES: Final = 400
# An HTTP client's request and response, with their headers.
EXCHANGE_BYTES: Final = 8_192


class Ending(Enum):
    """How a call came to its end."""

    RETURNED = auto()  # the answer was given, or its stream was read to the end
    LEFT = auto()  # the caller closed or dropped the stream before its end
    RAISED = auto()


@dataclass(frozen=True, slots=True)
class ClientFacts:
    """What of a client never changes between its calls."""

    sdk: str  # the package it comes from: openai, anthropic
    class_names: tuple[str, ...]
    provider: str | None  # given by the application
    build: Builder
    host: str | None = None  # where it sends to, for calls that are never sent
    asked: str | None = None  # the provider that it asks, as far as the client itself says


@dataclass(frozen=True, slots=True)
class Raised:
    """What is kept of an exception: never the exception itself, whose frames would keep the caller's objects alive."""

    names: tuple[str, ...]  # its class and bases
    module: str
    text: str
    http_status: int | None
    code: str | None

    @classmethod
    def of(cls, error: BaseException) -> "Raised":
        """Read an exception; never raises."""
        kind = type(error)
        try:
            text = str(error)
        except Exception:  # noqa: BLE001 - a foreign __str__ may do anything
            text = ""
        status = getattr(error, "status_code", None)
        return cls(
            tuple(base.__name__ for base in kind.__mro__),
            kind.__module__,
            text,
            status if isinstance(status, int) else None,
            _code_of(error),
        )


def _code_of(error: BaseException) -> str | None:
    """Return the provider's own code or type of an error: an error event of a stream has no status."""
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    inner_fields = inner if isinstance(inner, dict) else {}
    for code in (
        getattr(error, "code", None),
        inner_fields.get("code"),
        inner_fields.get("type"),
        getattr(error, "type", None),
    ):
        if isinstance(code, str) and code:
            return code
        if isinstance(code, int) and 400 <= code <= 599:
            return str(code)
    return None


class Sent(NamedTuple):
    """One HTTP exchange: times are monotonic nanoseconds; `response` is the HTTP client's own."""

    started_ns: int
    ended_ns: int
    response: Any
    raised: Raised | None


# An exchange as the caller's thread notes it: HTTP request, start and end (monotonic ns), response, what was raised.
# A plain tuple, and the same with what follows: making an object of it costs a cold cache microseconds.
Exchange = tuple[Any, int, int, Any, Raised | None]


class Begun(NamedTuple):
    """A call as the caller's thread notes it at its start, as a plain tuple; the background reads it by these names."""

    endpoint: Endpoint
    options: Any  # the SDK's own
    stream: bool
    exchanges: list[Exchange]
    started_at_ns: int
    started_ns: int
    request: Request | None


class LiveCall:
    """A call that is looked at: one whose stream is still to be read, or, in the background, one that is over.

    One that is still to be read is handed over exactly once.
    """

    # Defaults stand on the class: each attribute set costs.
    sent: bytes | None = None  # the body as it went over the wire: nobody can change it any more
    url: Any = None
    pulling: bool = False
    is_left: bool = False  # a loop over the stream was left; it may be taken up again
    events: list[tuple[int, str | None, str]] | None = None  # a stream as the SDK's decoder saw it
    pieces: list[tuple[int, bytes]] | None = None  # a stream as raw bytes
    result: Any = None
    raised: Raised | None = None
    ending: Ending = Ending.RETURNED
    ended_ns: int = 0

    def __init__(self, facts: ClientFacts, begun: Any) -> None:
        self.facts = facts
        # Plain tuples come in; here they get their names.
        self.endpoint, options, self.stream, exchanges, self.started_at_ns, self.started_ns, self.request = begun
        self.body = options.json_data  # before it was sent; kept only where it never was
        self.parses = callable(options.post_parser)
        self.attempts = [Sent(*exchange[1:]) for exchange in exchanges]
        if exchanges:
            self._read_request(exchanges[-1][0], has_files=bool(getattr(options, "files", None)))
        self._once = [True]

    def _read_request(self, request: Any, *, has_files: bool) -> None:
        """Note what was sent and where; a form with files is not kept, only its fields are."""
        try:
            self.url = request.url
            if not has_files:
                self.sent = request.content
        except Exception as error:  # noqa: BLE001 - a body that is a stream cannot be kept; the call goes on
            swallow("read a request's body", error)

    def disown(self) -> None:
        """Leave the hand-off to somebody else."""
        self._once.clear()

    def fail(self, error: BaseException) -> None:
        """End the call by what it raised."""
        if self._once:
            self.raised = Raised.of(error)
            self.end(Ending.RAISED)

    def end(self, ending: Ending) -> None:
        """Hand the call over; later ends of the same call are ignored. Never raises."""
        try:
            self._once.pop()
        except IndexError:
            return
        _open.pop(id(self), None)
        self.ended_ns = monotonic_ns()
        self.ending = ending
        try:
            weight = EXCHANGE_BYTES * max(1, len(self.attempts))
            if self.sent is not None:
                weight += len(self.sent)
                self.body = None
            elif isinstance(self.body, dict):
                self.body, copied_bytes = snapshot(self.body)
                weight += copied_bytes
            if self.events is not None:
                weight += _EVENT_BYTES * len(self.events)
            elif self.pieces is not None:
                weight += sum(len(piece) for _, piece in self.pieces)
            elif self.attempts:
                response = self.attempts[-1].response
                if response is not None and response.is_closed:
                    weight += len(getattr(response, "_content", b""))
            get_recorder().record_parts(self.facts.build, self, self.started_at_ns, self.request, weight)
        except Exception as error:  # noqa: BLE001 - the application's call must not see our bugs
            swallow("hand a call over", error)


# Calls whose streams have not ended, by identity; plain dict operations need no lock, not even in a finalizer.
_open: Final[dict[int, "weakref.ref[LiveCall]"]] = {}


def note_open(call: LiveCall) -> None:
    """Remember a call whose stream is still to be read."""
    _open[id(call)] = weakref.ref(call)


def _open_calls() -> list[LiveCall]:
    return [call for reference in list(_open.values()) if (call := reference()) is not None]


def end_left_streams() -> None:
    """End the streams whose loops were left and not taken up again; asked for when everything shall be sent."""
    for call in _open_calls():
        if call.is_left and not call.pulling:
            call.end(Ending.LEFT)


def _at_exit() -> None:
    # What nobody has read to its end by now nobody will.
    for call in _open_calls():
        call.end(Ending.LEFT)


def _after_fork_in_child() -> None:
    # The parent's calls are the parent's to record.
    for call in _open_calls():
        call.disown()
    _open.clear()


before_flush.append(end_left_streams)
# Registered after the recorder's own handler, and so run before it.
atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

# Where the HTTP exchanges of the call under way are noted: of this thread, or of this asyncio task.
active: Final[ContextVar["list[Exchange] | Served | None"]] = ContextVar("llmtrail_exchanges", default=None)


class Served:
    """In the place of exchanges: the answer that a call gets without being sent."""

    __slots__ = ("body", "content_type", "handled_by")

    def __init__(self, body: bytes, content_type: str, handled_by: str) -> None:
        self.body = body
        self.content_type = content_type
        self.handled_by = handled_by

    def response(self, request: Any) -> Any:
        """Return the answer as the HTTP package of `request` (httpx or httpx2) makes its own."""
        package: Any = sys.modules[type(request).__module__.partition(".")[0]]
        headers = {"content-type": self.content_type, "x-llmtrail-handled-by": self.handled_by}
        return package.Response(200, headers=headers, content=self.body, request=request)
