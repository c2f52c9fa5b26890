"""Hook one client of OpenAI's or Anthropic's SDK at its one door, `request`, in place. Imports neither SDK.

Every method (create, parse, stream, raw and streaming responses) goes through that door once, so each call is
recorded once.
"""

import inspect
from typing import Any, Final, TypeVar

from llmtrail.emit.context import current_request
from llmtrail.emit.wrap.attempts import watch_attempts
from llmtrail.emit.wrap.build import build_event
from llmtrail.emit.wrap.endpoints import endpoint_of
from llmtrail.emit.wrap.guard import LOGGER, swallow
from llmtrail.emit.wrap.live import ClientFacts, Ending, LiveCall, active
from llmtrail.emit.wrap.streams import is_stream, watch_bytes, watch_stream

Client = TypeVar("Client")

_MARK: Final = "_llmtrail_wrapped"
_SDKS: Final = ("openai", "anthropic")


def wrap(client: Client, *, provider: str | None = None) -> Client:
    """Record every call and every attempt of an OpenAI or Anthropic client; return the same client.

    `provider` names who really answers where neither class nor host tells it (a gateway, a proxy). `litellm`, the
    module, is taken too. Whatever else is given is returned as it is, with a warning. Never raises.
    """
    try:
        if inspect.ismodule(client):
            _wrap_module(client)
        else:
            _wrap_client(client, provider)
    except Exception as error:  # noqa: BLE001 - an SDK of an unknown make must go on working, unrecorded
        swallow(f"wrap {type(client).__name__}", error)
    return client


def _wrap_module(module: Any) -> None:
    if module.__name__ != "litellm":
        LOGGER.warning("llmtrail.wrap takes a client, not the module %s; nothing is recorded", module.__name__)
        return
    from llmtrail.emit.wrap.litellm import litellm_callback  # noqa: PLC0415 - loads only where LiteLLM is

    if not any(type(known).__name__ == "LlmtrailLogger" for known in module.callbacks):
        module.callbacks.append(litellm_callback())


def _wrap_client(client: Any, provider: str | None) -> None:
    names = tuple(base.__name__ for base in type(client).__mro__)
    packages = [base.__module__.partition(".")[0] for base in type(client).__mro__]
    sdk = next((package for package in packages if package in _SDKS), None)
    if sdk is None:
        LOGGER.warning(
            "llmtrail.wrap takes clients of openai and anthropic, and litellm; nothing of %s is recorded",
            type(client).__name__,
        )
        return
    if client.__dict__.get(_MARK):
        return
    watch_attempts(client._client)  # noqa: SLF001 - the HTTP client below both SDKs
    facts = ClientFacts(sdk, names, provider, build_event)
    asynchronous = inspect.iscoroutinefunction(client.request)
    client.request = _async_door(client.request, facts) if asynchronous else _door(client.request, facts)
    for name in ("copy", "with_options"):
        if hasattr(client, name):
            setattr(client, name, _copying(getattr(client, name), provider))
    client.__dict__[_MARK] = True


def _copying(original: Any, provider: str | None) -> Any:
    def copy(*args: Any, **kwargs: Any) -> Any:
        return wrap(original(*args, **kwargs), provider=provider)

    return copy


def _door(original: Any, facts: ClientFacts) -> Any:
    def request(*args: Any, **kwargs: Any) -> Any:
        call = _begin(facts, args, kwargs)
        if call is None:
            return original(*args, **kwargs)
        token = active.set(call)
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            active.reset(token)
        _answered(call, result)
        return result

    return request


def _async_door(original: Any, facts: ClientFacts) -> Any:
    async def request(*args: Any, **kwargs: Any) -> Any:
        call = _begin(facts, args, kwargs)
        if call is None:
            return await original(*args, **kwargs)
        token = active.set(call)
        try:
            result = await original(*args, **kwargs)
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            active.reset(token)
        _answered(call, result)
        return result

    return request


def _begin(facts: ClientFacts, args: tuple[Any, ...], kwargs: dict[str, Any]) -> LiveCall | None:
    """Return a call to record, or None where this request is none."""
    try:
        options = args[1] if len(args) > 1 else kwargs["options"]
        endpoint = endpoint_of(options.url)
        if endpoint is None or options.method != "post":
            return None
        call = LiveCall(facts, endpoint, options.json_data, current_request())
        if kwargs.get("stream"):
            call.stream = True
        if callable(options.post_parser):
            call.parses = True
    except Exception as error:  # noqa: BLE001 - an SDK of an unknown make must go on working, unrecorded
        swallow("begin a call", error)
        return None
    return call


def _answered(call: LiveCall, result: Any) -> None:
    """Hand a whole answer over, or watch one that is still to be read."""
    try:
        response = call.attempts[-1].response if call.attempts else None
        if call.parses:
            call.result = result
        if response is None or response.is_closed:
            call.end(Ending.RETURNED)
        elif is_stream(result):
            watch_bytes(call, response, keep=False)
            watch_stream(call, result)
        else:
            watch_bytes(call, response, keep=True)
    except Exception as error:  # noqa: BLE001 - the application has its answer; our bugs must not take it away
        swallow("watch an answer", error)
        call.end(Ending.RETURNED)
