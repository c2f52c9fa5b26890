"""Record the calls that LiteLLM makes, by its custom-logger door. Imports LiteLLM only where a callback is asked for.

LiteLLM's retries happen below that door and are told to nobody: `retry_count` stays unknown.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from threading import Lock
from typing import Any, Final

from llmtrail.core.call import MONEY_NANOUSD_MAX, REPORTED_BY
from llmtrail.core.failure import FailureMode, Status
from llmtrail.emit.budget import exceeded
from llmtrail.emit.context import Request, current_request
from llmtrail.emit.limits import Refusal
from llmtrail.emit.recorder import get_recorder
from llmtrail.emit.snapshot import snapshot
from llmtrail.emit.wrap.anthropic_messages import read_message
from llmtrail.emit.wrap.asked import masked, unsent
from llmtrail.emit.wrap.found import Found, mapping_of, text_of
from llmtrail.emit.wrap.guard import swallow
from llmtrail.emit.wrap.judge import error_fields, failure_of
from llmtrail.emit.wrap.live import Raised
from llmtrail.emit.wrap.openai_chat import read_chat, read_completion, read_embeddings
from llmtrail.emit.wrap.openai_responses import read_response

# Calls begun and not yet logged, and calls already logged: more cannot be under way at once.
CALLS_MAX: Final = 10_000
# Metadata that the application gives LiteLLM and that are the event's own fields.
_METADATA_FIELDS: Final = ("request_id", "user_id", "feature", "session_id", "tenant", "trace_id")
_OPERATIONS: Final = {
    "completion": "chat",
    "text_completion": "text_completion",
    "embedding": "embeddings",
    "responses": "chat",
    "anthropic_messages": "chat",
    "image_generation": "image_generation",
    "image_edit": "image_generation",
    "transcription": "transcription",
    "speech": "speech",
    "rerank": "rerank",
    "moderation": "moderation",
}
_READERS: Final = {"text_completion": read_completion, "embedding": read_embeddings, "responses": read_response}
_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class _Logged:
    """What LiteLLM's logger was given, by reference."""

    kwargs: Mapping[str, Any]
    response: Any
    started_at: datetime
    ended_at: datetime
    raised: Raised | None
    failed: bool


class LlmtrailLogger:
    """The methods of LiteLLM's `CustomLogger` that tell of calls. LiteLLM passes their arguments by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = Lock()
        self._requests: OrderedDict[str, Request | None] = OrderedDict()
        self._done: OrderedDict[tuple[str, bool, Any], None] = OrderedDict()

    async def async_pre_call_deployment_hook(self, kwargs: Any, call_type: Any) -> Any:  # noqa: ARG002 - LiteLLM's names
        """Stop an asyncio call whose budget is used up, by raising BudgetExceeded; LiteLLM logs it as a failure.

        Of its doors for loggers this one alone may raise, and it has none for calls that are not asyncio's.
        """
        refusal = _refusal(mapping_of(kwargs))
        if refusal is not None:
            raise exceeded(refusal)

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:  # noqa: ARG002 - LiteLLM's names
        """Note which request block a call begins in: the other methods run in threads that cannot know."""
        try:
            self._begin(kwargs)
        except Exception as error:  # noqa: BLE001 - the application's call must not see our bugs
            swallow("note a LiteLLM call", error)

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Record an answered call."""
        self._log(kwargs, response_obj, (start_time, end_time), failed=False)

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Record a failed call."""
        self._log(kwargs, response_obj, (start_time, end_time), failed=True)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Record an answered call of asyncio."""
        self._log(kwargs, response_obj, (start_time, end_time), failed=False)

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """Record a failed call of asyncio."""
        self._log(kwargs, response_obj, (start_time, end_time), failed=True)

    def _begin(self, kwargs: Any) -> None:
        call_id = mapping_of(kwargs).get("litellm_call_id")
        if not isinstance(call_id, str):
            return
        with self._lock:
            self._requests[call_id] = current_request()
            if len(self._requests) > CALLS_MAX:
                self._requests.popitem(last=False)

    def _log(self, kwargs: Any, response: Any, times: tuple[datetime, datetime], *, failed: bool) -> None:
        try:
            call_id = str(kwargs.get("litellm_call_id") or "")
            if call_id and self._is_repeat((call_id, failed, times[0])):
                return
            with self._lock:
                request = self._requests.pop(call_id, None) or current_request()
            # LiteLLM goes on changing its own dictionary; the application goes on appending to its messages.
            copied, size_bytes = snapshot(kwargs)
            error = kwargs.get("exception")
            raised = Raised.of(error) if isinstance(error, BaseException) else None
            logged = _Logged(copied, response, *times, raised, failed)
            started_at_ns = int(times[0].timestamp() * _NANO)
            get_recorder().record_parts(build_litellm_event, logged, started_at_ns, request, size_bytes)
        except Exception as error:  # noqa: BLE001 - the application's call must not see our bugs
            swallow("record a LiteLLM call", error)

    def _is_repeat(self, key: tuple[str, bool, Any]) -> bool:
        """Say whether this end of a call was logged before: LiteLLM may call both doors for one call.

        The start tells a retry or a fallback, which keeps its call's id, from a repeat.
        """
        with self._lock:
            if key in self._done:
                return True
            self._done[key] = None
            if len(self._done) > CALLS_MAX:
                self._done.popitem(last=False)
            return False


def _refusal(kwargs: Mapping[str, Any]) -> Refusal | None:
    """Return what stops a call, or None; where our own bugs keep that from being known, nothing does."""
    try:
        limits = get_recorder().limits
        if not limits.may_refuse:
            return None
        request = current_request()
        metadata = mapping_of(kwargs.get("metadata"))
        told = {name: str(metadata[name]) for name in _METADATA_FIELDS if metadata.get(name)}
        named = {"user_id": kwargs["user"]} if text_of(kwargs.get("user")) else {}
        fields = {**(request.fields if request is not None else {}), **named, **told}
        refusal = limits.check(fields, _own_name(kwargs.get("model")), _provider(kwargs, {}))
        if refusal is not None:
            limits.count("refused")
    except Exception as error:  # noqa: BLE001 - the application's call must not fail by our bugs
        swallow("ask for limits", error)
        return None
    return refusal


def _own_name(model: Any) -> str | None:
    """Return a model's name without the provider that LiteLLM puts before it: openai/gpt-4o."""
    return (text_of(model) or "").rpartition("/")[2] or None


def litellm_callback() -> Any:
    """Return a logger to append to `litellm.callbacks`. Raises ImportError where LiteLLM is not installed."""
    try:
        # Heavy, and only here.
        base = import_module("litellm.integrations.custom_logger").CustomLogger
    except ImportError as error:
        raise ImportError('llmtrail.litellm_callback needs: pip install "litellm"') from error
    return type("LlmtrailLogger", (LlmtrailLogger, base), {})()


def build_litellm_event(logged: _Logged) -> dict[str, Any]:
    """Return the event fields of a call that LiteLLM logged."""
    kwargs = logged.kwargs
    standard = mapping_of(kwargs.get("standard_logging_object"))
    kind = _kind(kwargs, standard)
    body = _body(logged.response)
    # An answer in Anthropic's shape is one, whatever asked for it.
    reader = read_message if body.get("type") == "message" else _READERS.get(kind, read_chat)
    found = reader(body)
    seconds = (logged.ended_at - logged.started_at).total_seconds()
    fields: dict[str, Any] = {
        "operation": _OPERATIONS.get(kind, "chat"),
        "provider": _provider(kwargs, standard),
        "request_model": text_of(kwargs.get("model")) or text_of(standard.get("model")),
        "stream": bool(kwargs.get("stream") or standard.get("stream")),
        "latency_ms": round(max(0.0, seconds) * 1000, 3),
        "parameters": _parameters(kwargs),
        "user_id": text_of(kwargs.get("user")),
    }
    fields |= _content(kind, kwargs) | _found_fields(found) | _result_fields(logged, standard, found)
    fields |= _money(standard, kwargs, found) | _first_token(logged, standard) | _metadata(kwargs, found)
    return {name: value for name, value in fields.items() if value is not None}


def _parameters(kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the caller asked for; LiteLLM adds an empty `extra_body` of its own."""
    given = unsent(kwargs.get("optional_params"))
    return masked({name: value for name, value in given.items() if name != "stream" and value != {}}) or None


def _kind(kwargs: Mapping[str, Any], standard: Mapping[str, Any]) -> str:
    """Return the kind of call; asyncio's twins (`acompletion`) are the same kind."""
    name = text_of(kwargs.get("call_type")) or text_of(standard.get("call_type")) or "completion"
    return name if name in _OPERATIONS else name.removeprefix("a")


def _body(response: Any) -> Mapping[str, Any]:
    dump = getattr(response, "model_dump", None)
    return mapping_of(dump() if callable(dump) else response)


def _provider(kwargs: Mapping[str, Any], standard: Mapping[str, Any]) -> str | None:
    params = mapping_of(kwargs.get("litellm_params"))
    places = (kwargs, standard, params)
    return next((name for place in places if (name := text_of(place.get("custom_llm_provider")))), None)


def _content(kind: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    given = kwargs.get("messages") or kwargs.get("input")
    if kind in ("embedding", "text_completion"):
        return {"prompt": kwargs.get("input") or given}
    return {"messages": [{"role": "user", "content": given}] if isinstance(given, str) else given}


def _found_fields(found: Found) -> dict[str, Any]:
    return {
        "response_model": found.response_model,
        "output": found.output,
        "tool_calls": list(found.tool_calls) or None,
        "finish_reasons": list(found.finish_reasons) or None,
        "usage": dict(found.usage) or None,
        "served": dict(found.served) or None,
    }


def _result_fields(logged: _Logged, standard: Mapping[str, Any], found: Found) -> dict[str, Any]:
    if not logged.failed:
        return {"status": Status.OK.value, "failure_mode": found.failure_mode}
    raised = logged.raised or _told(mapping_of(standard.get("error_information")))
    mode = failure_of(raised)
    handled: dict[str, Any] = {}
    if mode is FailureMode.BUDGET_REFUSED:
        # Stopped before LiteLLM took the provider off the model's name.
        handled = {"handled_by": "raised", "request_model": _own_name(logged.kwargs.get("model"))}
    return {"status": Status.ERROR.value, "failure_mode": mode.value, "error": error_fields(raised), **handled}


def _told(information: Mapping[str, Any]) -> Raised:
    """Return the error as LiteLLM's own summary tells it."""
    code = str(information.get("error_code") or "")
    name = text_of(information.get("error_class")) or "Unknown"
    message = text_of(information.get("error_message")) or ""
    return Raised((name,), "litellm", message, int(code) if code.isdecimal() else None, None)


def _money(standard: Mapping[str, Any], kwargs: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """Return what a call cost as the provider's answer says, else as LiteLLM does; 0.0 are models without a price."""
    if found.reported_cost_nanousd is not None:
        return {"reported_cost_nanousd": found.reported_cost_nanousd}
    cost = standard.get("response_cost") or kwargs.get("response_cost")
    if isinstance(cost, int | float) and 0 < cost * _NANO <= MONEY_NANOUSD_MAX:
        return {"reported_cost_nanousd": round(cost * _NANO)}
    return {}


def _first_token(logged: _Logged, standard: Mapping[str, Any]) -> dict[str, Any]:
    if not logged.kwargs.get("stream"):
        return {}
    first = logged.kwargs.get("completion_start_time")
    if isinstance(first, datetime):
        seconds = (first - logged.started_at).total_seconds()
    else:
        began, start = standard.get("completionStartTime"), standard.get("startTime")
        if not isinstance(began, int | float) or not isinstance(start, int | float):
            return {}
        seconds = began - start
    return {"time_to_first_token_ms": round(seconds * 1000, 3)} if seconds >= 0 else {}


def _metadata(kwargs: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """Return event fields and attributes of the metadata that the application passed along."""
    metadata = mapping_of(mapping_of(kwargs.get("litellm_params")).get("metadata"))
    fields: dict[str, Any] = {name: str(metadata[name]) for name in _METADATA_FIELDS if metadata.get(name)}
    attributes: dict[str, Any] = {"llmtrail.client": "litellm", **found.attributes}
    if found.reported_cost_nanousd is not None:
        attributes[REPORTED_BY] = "provider"
    for name, value in metadata.items():
        # LiteLLM puts its own bookkeeping (and keys) among the application's plain values.
        plain = isinstance(value, str | int | float | bool)
        if plain and name not in _METADATA_FIELDS and not name.startswith(("user_api_key", "litellm_", "hidden_")):
            attributes[name] = value
    call_id = text_of(kwargs.get("litellm_call_id"))
    if call_id:
        attributes["litellm.call_id"] = call_id
    if found.response_id:
        attributes["gen_ai.response.id"] = found.response_id
    return fields | {"attributes": masked(attributes)}
