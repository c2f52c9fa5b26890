"""The request that calls belong to, carried by contextvars. Knows nothing of queues, threads or the network.

What the application tells of a request after its call was made (parser result, retrieval, what handled a failure) is
handed over as a note; the background thread brings note and call together.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast

from llmtrail.emit.names import tell_once

P = ParamSpec("P")
R = TypeVar("R")

# Keywords of `request` that are event fields of their own; `release` is one of the versions.
_PLAIN_FIELDS: Final = (
    "request_id",
    "user_id",
    "feature",
    "session_id",
    "tenant",
    "service",
    "environment",
    "trace_id",
    "parent_span_id",
)
_GROUPS: Final = ("versions", "attributes")
_PARSER_STATUSES: Final = ("ok", "failed", "not_run")


class RequestFields(TypedDict, total=False):
    """What `llmtrail.request` takes; everything is optional, any other keyword becomes an attribute."""

    request_id: str | None
    user_id: str | None
    feature: str | None
    session_id: str | None
    tenant: str | None
    service: str | None
    environment: str | None
    release: str | None
    trace_id: str | None
    parent_span_id: str | None
    versions: Mapping[str, str] | None
    attributes: Mapping[str, Any] | None
    input: Any


# What `request` takes by name; whatever else is given becomes an attribute.
REQUEST_NAMES: Final = frozenset(RequestFields.__annotations__)


class NoteKind(StrEnum):
    """What a note tells; decides which call it is for."""

    AFTER_CALL = "after_call"  # for the last call made; where there is none yet, for the next
    BEFORE_CALL = "before_call"  # for the next call; where none follows in the block, for the last
    CLOSED = "closed"  # the block is over: nothing more is awaited


NoteSink = Callable[["Request", NoteKind, dict[str, Any]], None]


# What sends all at the end of the outermost block, where that is wanted; it may take a second or two.
Sending = Callable[[], Callable[[], object] | None]


def _no_sending() -> None:
    """Leave it to the background."""


def _no_sink(_request: "Request", _kind: NoteKind, _fields: dict[str, Any]) -> None:
    """Take a note where no recorder was ever made."""


class Request:
    """One request of the application: what its calls inherit, and where later findings are told.

    Made by `llmtrail.request`. Use it as a context manager, plain or async; blocks nest and inherit.
    `fields` is complete once the block is entered and never changes after that, so that threads can share it.
    `state` belongs to the background thread alone.
    """

    __slots__ = ("_given", "_sending", "_sink", "_token", "fields", "parent", "state")

    def __init__(self, given: Mapping[str, Any], sink: NoteSink = _no_sink, sending: Sending = _no_sending) -> None:
        self._given = given
        self._sink = sink
        self._sending = sending
        self._token: Token[Request | None] | None = None
        self.parent: Request | None = None
        self.fields: dict[str, Any] = {}
        self.state: Any = None

    def parser(self, status: str, value: Any = None, error: object = None) -> None:
        """Tell what the parser made of the last answer: status `ok`, `failed` or `not_run`."""
        found: dict[str, Any] = {"status": _parser_status(status)}
        if value is not None:
            found["value"] = value
        if error is not None:
            found["error"] = _error_text(error)
        self._sink(self, NoteKind.AFTER_CALL, {"parser": found})

    def retrieval(
        self,
        query: Any = None,
        documents: Sequence[Any] | None = None,
        status: str | None = None,
        latency_ms: float | None = None,
    ) -> None:
        """Tell what was looked up for the next call (or for the last one, where none follows in the block)."""
        told = {"query": query, "documents": documents, "status": status, "latency_ms": latency_ms}
        found = {name: value for name, value in told.items() if value is not None}
        self._sink(self, NoteKind.BEFORE_CALL, {"retrieval": found})

    def handled_by(self, handler: str) -> None:
        """Tell what answered after the last call failed: fallback_model, cached_answer, static_message, raised, ..."""
        self._sink(self, NoteKind.AFTER_CALL, {"handled_by": handler})

    def __enter__(self) -> Self:
        self.parent = _current.get()
        self.fields = _inherit(self.parent.fields if self.parent is not None else {}, self._given)
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (send := self._leave()) is not None:
            send()

    def _leave(self) -> Callable[[], object] | None:
        """End the block; return what is to send its calls before the caller goes on, if anything is."""
        token, self._token = self._token, None
        if token is not None:
            # An async generator may be closed in another context than it was entered in: nothing to undo there.
            with suppress(ValueError):
                _current.reset(token)
        self._sink(self, NoteKind.CLOSED, {})
        return self._sending() if self.parent is None else None

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (send := self._leave()) is not None:
            import asyncio  # noqa: PLC0415  # Whoever gets here has imported it, or needs it not.

            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:  # Another library's loop: it waits.
                send()
            else:
                await loop.run_in_executor(None, send)


_current: ContextVar[Request | None] = ContextVar("llmtrail_request", default=None)

# Return the request whose block encloses the caller, or None. Bound directly: it is on the hot path.
current_request: Final[Callable[[], Request | None]] = _current.get


def make_request(sink: NoteSink, sending: Sending = _no_sending, **fields: Unpack[RequestFields]) -> Request:
    """Return a request whose notes go to `sink`, and at whose end `sending` is asked."""
    return Request(fields, sink, sending)


def bind(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with the current request, to be called in another thread: `pool.submit(llmtrail.bind(work))`.

    Nothing else of the caller's context goes along. Coroutine functions may be bound too.
    """
    import inspect  # noqa: PLC0415  # Dear to import, and few bind.

    request = _current.get()
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            token = _current.set(request)
            try:
                return await function(*args, **kwargs)
            finally:
                _current.reset(token)

        return cast("Callable[P, R]", run_async)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        token = _current.set(request)
        try:
            return function(*args, **kwargs)
        finally:
            _current.reset(token)

    return run


def _inherit(outer: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event fields of a block: the outer block's, overlaid by its own; groups merge key by key."""
    fields = dict(outer)
    for name in _GROUPS:
        own = given.get(name)
        if isinstance(own, Mapping):
            fields[name] = {**outer.get(name, {}), **own}
        elif own is not None:
            tell_once(f"llmtrail.request({name}=...) takes a mapping, not {type(own).__name__}: kept as an attribute.")
    for name, value in given.items():
        if value is None or (name in _GROUPS and isinstance(value, Mapping)):
            continue
        if name in _PLAIN_FIELDS:
            fields[name] = str(value)
        elif name == "input":
            fields[name] = _shallow(value)
        elif name == "release":
            fields["versions"] = {**fields.get("versions", {}), "release": str(value)}
        else:
            fields["attributes"] = {**fields.get("attributes", {}), name: value}
    return fields


def _shallow(value: Any) -> Any:
    """Return a copy whose top level the application cannot change any more."""
    if isinstance(value, dict | list):
        return value.copy()
    return value


def _parser_status(status: object) -> str:
    word = str(status).strip()
    if word.lower() in _PARSER_STATUSES:
        return word.lower()
    tell_once(f"parser({word[:40]!r}) says nothing of success; send one of {', '.join(_PARSER_STATUSES)}.")
    return word


def _error_text(error: object) -> str:
    if isinstance(error, BaseException):
        return f"{type(error).__name__}: {error}"
    return str(error)
