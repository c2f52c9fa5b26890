"""Hook one client of OpenAI's or Anthropic's SDK at its one door, `request`, in place. Imports neither SDK.

Every method (create, parse, stream, raw and streaming responses) goes through that door once, so each call is
recorded once.
"""

import inspect
from typing import Any, Final, TypeVar

from llmtrail.emit.context import current_request
from llmtrail.emit.recorder import get_recorder
from llmtrail.emit.ruling import guard_now, model_now
from llmtrail.emit.wrap.attempts import watch_attempts
from llmtrail.emit.wrap.build import build_event, build_whole, weigh_whole
from llmtrail.emit.wrap.detour import AsyncDetour, Detour
from llmtrail.emit.wrap.endpoints import BY_PATH, endpoint_of
from llmtrail.emit.wrap.gate import stopped_by
from llmtrail.emit.wrap.guard import LOGGER, swallow
from llmtrail.emit.wrap.live import ClientFacts, Ending, LiveCall, active, monotonic_ns, wall_ns
from llmtrail.emit.wrap.providers import provider_of
from llmtrail.emit.wrap.streams import is_stream, watch_bytes, watch_stream

Client = TypeVar("Client")

_MARK: Final = "_llmtrail_wrapped"
_SDKS: Final = ("openai", "anthropic")
# Bound once: what stands between a caller and its answer looks up as little as it can.
_endpoint_by_path: Final = BY_PATH.get
_guard: Final = guard_now.get
_model: Final = model_now.get
_set_active: Final = active.set
_reset_active: Final = active.reset


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
    host = _host_of(client)
    facts = ClientFacts(sdk, names, provider, build_event, host, provider or provider_of(names, sdk, host))
    asynchronous = inspect.iscoroutinefunction(client.request)
    client.request = _async_door(client.request, facts) if asynchronous else _door(client.request, facts)
    for name in ("copy", "with_options"):
        if hasattr(client, name):
            setattr(client, name, _copying(getattr(client, name), provider))
    client.__dict__[_MARK] = True


def _host_of(client: Any) -> str | None:
    return getattr(getattr(client, "base_url", None), "host", None) or None


def _copying(original: Any, provider: str | None) -> Any:
    def copy(*args: Any, **kwargs: Any) -> Any:
        return wrap(original(*args, **kwargs), provider=provider)

    return copy


def _door(original: Any, facts: ClientFacts) -> Any:
    def request(*args: Any, **kwargs: Any) -> Any:
        begun = _begin(args, kwargs)
        if begun is None:
            return original(*args, **kwargs)
        if _guard() is not None or _model() is not None:
            return detour.ruled(begun, args, kwargs)
        refusal = stopped_by(begun, facts)
        return made(begun, args, kwargs) if refusal is None else detour.stopped(begun, refusal, args, kwargs)

    def made(begun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = _set_active(begun[3])
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            _failed(facts, begun, error)
            raise
        finally:
            _reset_active(token)
        _answered(facts, begun, result)
        return result

    detour = Detour(original, made, facts)
    return request


def _async_door(original: Any, facts: ClientFacts) -> Any:
    async def request(*args: Any, **kwargs: Any) -> Any:
        begun = _begin(args, kwargs)
        if begun is None:
            return await original(*args, **kwargs)
        if _guard() is not None or _model() is not None:
            return await detour.ruled(begun, args, kwargs)
        refusal = stopped_by(begun, facts)
        if refusal is not None:
            return await detour.stopped(begun, refusal, args, kwargs)
        return await made(begun, args, kwargs)

    async def made(begun: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = _set_active(begun[3])
        try:
            result = await original(*args, **kwargs)
        except BaseException as error:
            _failed(facts, begun, error)
            raise
        finally:
            _reset_active(token)
        _answered(facts, begun, result)
        return result

    detour = AsyncDetour(original, made, facts)
    return request


def _begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what `Begun` names of a call to record, as a plain tuple, or None where this request is none."""
    try:
        options = args[1] if len(args) > 1 else kwargs["options"]
        endpoint = _endpoint_by_path(options.url) or endpoint_of(options.url)
        if endpoint is None or options.method != "post":
            return None
        stream = bool(kwargs.get("stream"))
        return endpoint, options, stream, [], wall_ns(), monotonic_ns(), current_request()
    except Exception as error:  # noqa: BLE001 - an SDK of an unknown make must go on working, unrecorded
        swallow("begin a call", error)
        return None


def _answered(facts: ClientFacts, begun: Any, result: Any) -> None:
    """Hand a whole answer over, or watch one that is still to be read."""
    try:
        _, options, _, exchanges, started_at_ns, _, request = begun
        if exchanges and (response := exchanges[-1][3]) is not None and response.is_closed:
            kept = result if callable(options.post_parser) else None
            parts = (facts, begun, monotonic_ns(), kept)
            get_recorder().record_parts(build_whole, parts, started_at_ns, request, weigh_whole)
        else:
            _watch(LiveCall(facts, begun), result)
    except Exception as error:  # noqa: BLE001 - the application has its answer; our bugs must not take it away
        swallow("hand a call over", error)


def _watch(call: LiveCall, result: Any) -> None:
    response = call.attempts[-1].response if call.attempts else None
    try:
        if call.parses:
            call.result = result
        if response is None:
            call.end(Ending.RETURNED)
        elif is_stream(result):
            watch_bytes(call, response, keep=False)
            watch_stream(call, result)
        else:
            watch_bytes(call, response, keep=True)
    except Exception as error:  # noqa: BLE001 - what can be told of the call is worth a record still
        swallow("watch an answer", error)
        call.end(Ending.RETURNED)


def _failed(facts: ClientFacts, begun: Any, error: BaseException) -> None:
    """Hand a call over that raised."""
    try:
        LiveCall(facts, begun).fail(error)
    except Exception as own:  # noqa: BLE001 - the application must see its own error, not ours
        swallow("hand a failed call over", own)
