"""Watch a provider's stream while the application reads it: events kept by reference, every way of ending noticed.

Two ways: the SDK's own stream objects are watched event by event; raw responses are watched byte by byte.
"""

import inspect
from copy import copy
from typing import Any, Final

from llmtrail.emit.wrap.guard import swallow
from llmtrail.emit.wrap.live import Ending, LiveCall, monotonic_ns, note_open

# Far above any real answer; what comes after is not kept, except the last event, which tells the tokens.
EVENTS_MAX: Final = 100_000


def watch_stream(call: LiveCall, stream: Any) -> None:
    """Note the events of an SDK's `Stream` or `AsyncStream` as the application takes them, in place."""
    events: list[tuple[int, str | None, str]] = []
    call.events = events
    note_open(call)
    # Made by the SDK beforehand and not begun; it refers to the stream, which would keep a dropped one alive.
    stream.__dict__.pop("_iterator", None)
    source = copy(stream)
    # The copy that is read holds the hook and the source; the stream the application holds is in no cycle with it.
    inner = copy(stream)
    if inspect.isasyncgenfunction(type(stream).__stream__):
        inner._iter_events = lambda: _capture_async(source, events)  # noqa: SLF001 - where both SDKs decode events
        watch: Any = _AsyncWatch(call, type(stream).__stream__(inner))
    else:
        inner._iter_events = lambda: _capture(source, events)  # noqa: SLF001 - where both SDKs decode events
        watch = _Watch(call, type(stream).__stream__(inner))
    stream.__dict__["_iterator"] = watch


def is_stream(result: Any) -> bool:
    """Say whether an SDK's result is a stream of the kind that can be watched."""
    kind = type(result)
    return hasattr(kind, "_iter_events") and hasattr(kind, "__stream__")


def watch_bytes(call: LiveCall, response: Any, *, keep: bool) -> None:
    """Note an unread HTTP response's closing and, with `keep`, its bytes."""
    if keep:
        call.pieces = []
        note_open(call)
    response.stream = _tee_class(type(response.stream))(call, response.stream, keep)


def _capture(source: Any, events: list[tuple[int, str | None, str]]) -> Any:
    for event in type(source)._iter_events(source):  # noqa: SLF001 - the original of the hook above
        _keep(events, event)
        yield event


async def _capture_async(source: Any, events: list[tuple[int, str | None, str]]) -> Any:
    async for event in type(source)._iter_events(source):  # noqa: SLF001 - the original of the hook above
        _keep(events, event)
        yield event


def _keep(events: list[tuple[int, str | None, str]], event: Any) -> None:
    kept = (monotonic_ns(), event.event, event.data)
    if len(events) < EVENTS_MAX:
        events.append(kept)
    else:
        events[-1] = kept


class _Watch:
    """The iterator of a stream; knows when reading ends, fails, or is given up."""

    def __init__(self, call: LiveCall, source: Any) -> None:
        self._call = call
        self._source = source

    def __iter__(self) -> "_Loop":
        return _Loop(self, self._call)

    def __next__(self) -> Any:
        call = self._call
        call.pulling = True
        call.is_left = False
        try:
            return next(self._source)
        except StopIteration:
            call.end(Ending.RETURNED)
            raise
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            call.pulling = False

    def __del__(self) -> None:
        try:
            self._call.end(Ending.LEFT)
            self._source.close()
        except Exception as error:  # noqa: BLE001 - errors of a finalizer cannot be caught by anyone
            swallow("close a dropped stream", error)


class _AsyncWatch:
    """The same for asyncio; a dropped stream is closed by its event loop."""

    def __init__(self, call: LiveCall, source: Any) -> None:
        self._call = call
        self._source = source

    def __aiter__(self) -> "_AsyncLoop":
        return _AsyncLoop(self, self._call)

    async def __anext__(self) -> Any:
        call = self._call
        call.pulling = True
        call.is_left = False
        try:
            return await anext(self._source)
        except StopAsyncIteration:
            call.end(Ending.RETURNED)
            raise
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            call.pulling = False

    def __del__(self) -> None:
        self._call.end(Ending.LEFT)


class _Loop:
    """One `for` over a stream: when it goes, the loop was left. Another may take the stream up again."""

    def __init__(self, watch: _Watch, call: LiveCall) -> None:
        self._watch = watch
        self._call = call

    def __iter__(self) -> "_Loop":
        return self

    def __next__(self) -> Any:
        return self._watch.__next__()

    def __del__(self) -> None:
        self._call.is_left = True


class _AsyncLoop:
    """The same for asyncio."""

    def __init__(self, watch: _AsyncWatch, call: LiveCall) -> None:
        self._watch = watch
        self._call = call

    def __aiter__(self) -> "_AsyncLoop":
        return self

    def __anext__(self) -> Any:
        return self._watch.__anext__()

    def __del__(self) -> None:
        self._call.is_left = True


class _Tee:
    """What the sync and async byte streams have in common."""

    def __init__(self, call: LiveCall, stream: Any, keep: bool) -> None:
        self._call = call
        self._stream = stream
        self._keep = keep
        self._read = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def note(self, piece: bytes) -> None:
        if self._keep and self._call.pieces is not None:
            self._call.pieces.append((monotonic_ns(), piece))

    def finished(self) -> None:
        self._read = True

    def failed(self, error: BaseException) -> None:
        # A stream that is read event by event is told of the error in the SDK's own words.
        if self._keep:
            self._call.fail(error)

    def closed(self) -> None:
        if self._keep:
            self._call.end(Ending.RETURNED if self._read else Ending.LEFT)
        elif not self._call.pulling:
            # The SDK closes at the end of the bytes too, in the middle of a pull; then the watch tells how it ended.
            self._call.end(Ending.LEFT)

    def __del__(self) -> None:
        if self._keep:
            self._call.end(Ending.LEFT)


def _iterate(self: Any) -> Any:
    try:
        for piece in self._stream:
            self.note(piece)
            yield piece
        self.finished()
    except GeneratorExit:
        raise
    except BaseException as error:
        self.failed(error)
        raise


async def _iterate_async(self: Any) -> Any:
    try:
        async for piece in self._stream:
            self.note(piece)
            yield piece
        self.finished()
    except GeneratorExit:
        raise
    except BaseException as error:
        self.failed(error)
        raise


def _close(self: Any) -> None:
    try:
        self._stream.close()
    finally:
        self.closed()


async def _aclose(self: Any) -> None:
    try:
        await self._stream.aclose()
    finally:
        self.closed()


# One class for each kind of stream of each HTTP package; a process has a handful.
_tees: dict[type, Any] = {}


def _tee_class(kind: type) -> Any:
    """Return a tee that the HTTP client's own type checks accept (httpx and httpx2 have their own base classes)."""
    known = _tees.get(kind)
    if known is not None:
        return known
    bases = {base.__name__: base for base in kind.__mro__}
    if "AsyncByteStream" in bases and "SyncByteStream" not in bases:
        methods: dict[str, Any] = {"__aiter__": _iterate_async, "aclose": _aclose}
        made = type("AsyncTee", (_Tee, bases["AsyncByteStream"]), methods)
    else:
        made = type("SyncTee", (_Tee, bases["SyncByteStream"]), {"__iter__": _iterate, "close": _close})
    _tees[kind] = made
    return made
