"""Note every HTTP exchange of a recorded call, retries too. Works on the HTTP client below a provider's client."""

import inspect
import weakref
from typing import Any

from llmtrail.emit.wrap.guard import swallow
from llmtrail.emit.wrap.live import LiveCall, Raised, Sent, active, monotonic_ns

_MARK = "_llmtrail_attempts"


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
    original = _original(http_client)

    def send(request: Any, *args: Any, **kwargs: Any) -> Any:
        call = active.get()
        if call is None:
            return original(request, *args, **kwargs)
        started_ns = _begin(call, request)
        try:
            response = original(request, *args, **kwargs)
        except BaseException as error:
            call.attempts.append(Sent(started_ns, monotonic_ns(), None, Raised.of(error)))
            raise
        call.attempts.append(Sent(started_ns, monotonic_ns(), response, None))
        return response

    return send


def _async_send(http_client: Any) -> Any:
    original = _original(http_client)

    async def send(request: Any, *args: Any, **kwargs: Any) -> Any:
        call = active.get()
        if call is None:
            return await original(request, *args, **kwargs)
        started_ns = _begin(call, request)
        try:
            response = await original(request, *args, **kwargs)
        except BaseException as error:
            call.attempts.append(Sent(started_ns, monotonic_ns(), None, Raised.of(error)))
            raise
        call.attempts.append(Sent(started_ns, monotonic_ns(), response, None))
        return response

    return send


def _original(http_client: Any) -> Any:
    """Return the client's own `send` without a reference cycle: clients close when the last reference goes."""
    own = http_client.__dict__.get("send")
    if own is not None:
        return own
    method = type(http_client).send
    reference = weakref.ref(http_client)

    def send(*args: Any, **kwargs: Any) -> Any:
        return method(reference(), *args, **kwargs)

    return send


def _begin(call: LiveCall, request: Any) -> int:
    try:
        call.sent = request.content
        call.url = request.url
    except Exception as error:  # noqa: BLE001 - a body that is a stream cannot be kept; the call goes on
        swallow("read a request's body", error)
    return monotonic_ns()
