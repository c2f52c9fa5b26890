"""Ask, before a call is made, whether a limit stops it, and record that it did."""

from collections.abc import Mapping
from copy import copy
from typing import Any, Final, NamedTuple, assert_never

import orjson

from llmtrail.core.failure import FailureMode, Status
from llmtrail.core.limit import Behaviour
from llmtrail.emit.budget import BudgetExceeded, exceeded
from llmtrail.emit.context import Request
from llmtrail.emit.limits import Refusal
from llmtrail.emit.recorder import get_recorder
from llmtrail.emit.snapshot import CALL_BYTES
from llmtrail.emit.wrap.answer_cache import ANSWERS, answer_key
from llmtrail.emit.wrap.asked import asked_fields, unsent
from llmtrail.emit.wrap.build import READERS
from llmtrail.emit.wrap.endpoints import OPERATIONS, WORDLESS, Endpoint
from llmtrail.emit.wrap.guard import swallow
from llmtrail.emit.wrap.live import ClientFacts, Served
from llmtrail.emit.wrap.made_answers import repeated_body, said_body, stream_of

_NO_FIELDS: Final[Mapping[str, Any]] = {}
# What `handled_by` says of a call that was stopped.
RAISED: Final = "raised"
FALLBACK: Final = "fallback_model"
CACHED: Final = "cached_answer"
STATIC: Final = "static_message"
_NANO: Final = 1_000_000_000
_LIMIT_ATTRIBUTE: Final = "llmtrail.limit"


class Plan(NamedTuple):
    """What is done in place of a call that is stopped: exactly one of these."""

    error: BudgetExceeded | None = None
    served: Served | None = None
    options: Any = None  # the SDK's own, for another model


def stopped_by(begun: Any, facts: ClientFacts) -> Refusal | None:
    """Return what stops a call, or None; where our own bugs keep that from being known, nothing does."""
    try:
        limits = get_recorder().limits
        if not limits.may_refuse:
            return None
        request: Request | None = begun[6]
        fields = _NO_FIELDS if request is None else request.fields
        return limits.check(fields, _model_of(begun[1]), facts.asked)
    except Exception as error:  # noqa: BLE001 - the application's call must not fail by our bugs
        swallow("ask for limits", error)
        return None


def plan_for(facts: ClientFacts, begun: Any, refusal: Refusal) -> Plan:
    """Decide what is done in place of a call that is stopped, and record that. Never raises."""
    plan, handled_by, output = Plan(exceeded(refusal)), RAISED, None
    try:
        found = _behave(facts, begun, refusal)
        if found is not None:
            plan, handled_by, output = found
        _record(facts, begun, refusal, handled_by, output)
    except Exception as error:  # noqa: BLE001 - a call that is to be stopped is stopped, whatever our bugs
        swallow("stop a call in its declared way", error)
    return plan


def fallback_attributes(begun: Any, refusal: Refusal) -> dict[str, Any]:
    """Return what is told of a call that is made in place of one that was stopped."""
    rule = refusal.limit.rule if refusal.limit is not None else ""
    return {_LIMIT_ATTRIBUTE: rule, "llmtrail.fallback_from": _model_of(begun[1]) or ""}


def _model_of(options: Any) -> str | None:
    """Return the model that a call asks for, where its body is known to name one."""
    body = options.json_data
    model = body.get("model") if isinstance(body, Mapping) else None
    return model if isinstance(model, str) else None


def _behave(facts: ClientFacts, begun: Any, refusal: Refusal) -> tuple[Plan, str, Any] | None:
    """Return the plan of a limit's behaviour, what `handled_by` says of it, and the output; None where it cannot be."""
    limit = refusal.limit
    if limit is None:
        return None
    match limit.behaviour:
        case Behaviour.REFUSE:
            return None
        case Behaviour.CHEAPER_MODEL:
            other = _cheaper(facts, begun, limit.model)
            return None if other is None else (Plan(options=other), FALLBACK, None)
        case Behaviour.CACHED_ANSWER:
            return _serving(begun, former_answer(begun), CACHED)
        case Behaviour.STATIC_MESSAGE:
            return _serving(begun, said_answer(begun, limit.message), STATIC)
        case _:
            assert_never(limit.behaviour)


def _cheaper(facts: ClientFacts, begun: Any, model: str) -> Any:
    """Return the call's options for another model; None where that is no answer to it, or is itself stopped."""
    request = begun[6]
    fields = _NO_FIELDS if request is None else request.fields
    if get_recorder().limits.check(fields, model, facts.asked) is not None:
        return None
    return with_model(begun, model)


def with_model(begun: Any, model: str) -> Any:
    """Return a call's options for another model; None where its answer would be none to what was asked."""
    endpoint, options = begun[0], begun[1]
    body = options.json_data
    # Vectors or pictures of another model are no answer to what was asked.
    if not model or endpoint in WORDLESS or not isinstance(body, Mapping) or body.get("model") == model:
        return None
    other = copy(options)
    other.json_data = {**body, "model": model}
    return other


def former_answer(begun: Any) -> dict[str, Any] | None:
    """Return the last good answer to the same question, or None."""
    endpoint, request = begun[0], begun[6]
    key = answer_key(endpoint, unsent(begun[1].json_data), _NO_FIELDS if request is None else request.fields)
    former = ANSWERS.get(key) if key is not None else None
    return None if former is None else repeated_body(endpoint, former, begun[4] // _NANO)


def said_answer(begun: Any, text: str) -> dict[str, Any] | None:
    """Return an answer that says `text`; None where an answer of that kind says nothing."""
    return said_body(begun[0], text, _model_of(begun[1]) or "", f"llmtrail-{begun[4]:x}", begun[4] // _NANO)


def _serving(begun: Any, body: Mapping[str, Any] | None, handled_by: str) -> tuple[Plan, str, Any] | None:
    """Return the plan of giving a body as the answer."""
    if body is None:
        return None
    found = READERS[begun[0]](body)
    return Plan(served=served(begun, body, handled_by)), handled_by, (found.output, found.tool_calls)


def served(begun: Any, body: Mapping[str, Any], handled_by: str) -> Served:
    """Return a body as the answer of a call, as a stream where one is asked for."""
    if not begun[2]:
        return Served(orjson.dumps(body), "application/json", handled_by)
    asked = begun[1].json_data
    wishes = asked.get("stream_options") if isinstance(asked, Mapping) else None
    tells_usage = isinstance(wishes, Mapping) and bool(wishes.get("include_usage"))
    return Served(stream_of(begun[0], body, tells_usage=tells_usage), "text/event-stream", handled_by)


def _record(facts: ClientFacts, begun: Any, refusal: Refusal, handled_by: str, output: Any) -> None:
    """Hand over that a call was not made, and what was done instead; `output` is what the caller got, None: nothing."""
    recorder = get_recorder()
    recorder.limits.count("refused" if handled_by == RAISED else handled_by)
    parts = (facts, begun, refusal, handled_by, output, unsent(begun[1].json_data))
    recorder.record_parts(_build_refusal, parts, begun[4], begun[6], CALL_BYTES)


def _build_refusal(parts: Any) -> Mapping[str, Any]:
    """Return the event fields of a call that was never sent: no attempts, and no tokens."""
    facts, begun, refusal, handled_by, output, body = parts
    endpoint: Endpoint = begun[0]
    error = exceeded(refusal)
    limit = refusal.limit
    said, tool_calls = output or (None, None)
    attributes = {"llmtrail.client": facts.sdk, "llmtrail.refusal": refusal.reason.value}
    if limit is not None:
        attributes |= {_LIMIT_ATTRIBUTE: limit.rule, "llmtrail.limit_scope": limit.scope}
    fields = asked_fields(endpoint, body)
    fields |= {
        "operation": OPERATIONS[endpoint],
        "provider": facts.asked,
        "stream": begun[2],
        "latency_ms": 0.0,
        "status": (Status.ERROR if output is None else Status.OK).value,
        "failure_mode": FailureMode.BUDGET_REFUSED.value,
        "error": {"type": type(error).__name__, "message": str(error)},
        "handled_by": handled_by,
        "attributes": attributes,
    }
    return fields | ({"output": said} if said else {}) | ({"tool_calls": list(tool_calls)} if tool_calls else {})
