"""Note every HTTP exchange of a recorded call, retries too. Works on the HTTP client below a provider's client."""

import inspect
import weakref
from typing import Any

from llmtrail.emit.wrap.live import Raised, Served, active, monotonic_ns

_MARK = "_llmtrail_attempts"
_exchanges: Any = active.get


def watch_attempts(http_client: Any) -> None:
    """Make an httpx or httpx2 client note its exchanges; the same client twice is no harm.

    The client may be shared: an exchange that belongs to no recorded call is passed on untouched.
    """
    if http_client.__dict__.get(_MARK):
        return
    patched = _async_send(http_client) if inspect.iscoroutinefunction(http_client.send) else _sync_send(http_client)
    http_client.send = patched
    http_client.__dict__[_MARK] = True


def _sync_send(http_client: Any) -> Any:
    original, owner = _original(http_client)

    def send(request: Any, *args: Any, **kwargs: Any) -> Any:
        exchanges = _exchanges()
        if exchanges is None:
            return original(owner(), request, *args, **kwargs)
        if exchanges.__class__ is Served:
            return exchanges.response(request)
        started_ns = monotonic_ns()
        try:
            response = original(owner(), request, *args, **kwargs)
        except BaseException as error:
            exchanges.append((request, started_ns, monotonic_ns(), None, Raised.of(error)))
            raise
        exchanges.append((request, started_ns, monotonic_ns(), response, None))
        return response

    return send


def _async_send(http_client: Any) -> Any:
    original, owner = _original(http_client)

    async def send(request: Any, *args: Any, **kwargs: Any) -> Any:
        exchanges = _exchanges()
        if exchanges is None:
            return await original(owner(), request, *args, **kwargs)
        if exchanges.__class__ is Served:
            return exchanges.response(request)
        started_ns = monotonic_ns()
        try:
            response = await original(owner(), request, *args, **kwargs)
        except BaseException as error:
            exchanges.append((request, started_ns, monotonic_ns(), None, Raised.of(error)))
            raise
        exchanges.append((request, started_ns, monotonic_ns(), response, None))
        return response

    return send


def _original(http_client: Any) -> tuple[Any, Any]:
    """Return the client's own `send` and a weak reference for it: a client closes when its last reference goes."""
    own = http_client.__dict__.get("send")
    if own is None:
        return type(http_client).send, weakref.ref(http_client)
    return (lambda _owner, *args, **kwargs: own(*args, **kwargs)), lambda: None
