"""Read what Anthropic's Messages API answers, whole or in events. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from llmtrail.core.failure import classify
from llmtrail.emit.wrap.error_bodies import error_of
from llmtrail.emit.wrap.found import Assembled, Found, list_of, mapping_of, text_of, texts_of
from llmtrail.emit.wrap.usage import counted

# Deeper than any request nests what may be cached.
_DEPTH_MAX = 16
_TEXT_DELTAS = {"text_delta": "text", "thinking_delta": "thinking"}


def read_message(body: Mapping[str, Any]) -> Found:
    """Read the body of a message."""
    blocks = [mapping_of(block) for block in list_of(body.get("content"))]
    calls = [_tool_call(block) for block in blocks if block.get("type") == "tool_use"]
    said = [dict(block) for block in blocks if block.get("type") != "tool_use"]
    only_text = all(block.get("type") == "text" for block in said)
    content: Any = "".join(str(block.get("text", "")) for block in said) if only_text else said
    reason = text_of(body.get("stop_reason"))
    usage = mapping_of(body.get("usage"))
    error = None if blocks else error_of(body)
    return Found(
        response_id=text_of(body.get("id")),
        response_model=text_of(body.get("model")),
        output={"role": body.get("role", "assistant"), "content": content} if said else None,
        tool_calls=calls,
        finish_reasons=[reason] if reason else [],
        usage=counted(usage),
        failure_mode=classify(finish_reasons=[reason] if reason else [])[1] if error is None else error.failure_mode,
        error=None if error is None else error.message or error.type or "",
        error_type=None if error is None else error.type,
        error_status=None if error is None else error.http_status,
        served=_served(usage),
    )


def _served(usage: Mapping[str, Any]) -> dict[str, str]:
    """Return how the message was served; a model without regions says "not_available"."""
    served = texts_of(
        service_tier=usage.get("service_tier"), speed=usage.get("speed"), region=usage.get("inference_geo")
    )
    return {name: value for name, value in served.items() if value != "not_available"}


def with_lifetimes(usage: Mapping[str, int], asked: Mapping[str, Any]) -> Mapping[str, int]:
    """Return the usage with cache writes as one-hour writes where the request asks for no other.

    A stream reports the split of its first write only, and the sum of all; gateways report no split at all.
    """
    writes, hour = usage.get("cache_write_tokens", 0), usage.get("cache_write_1h_tokens", 0)
    if writes > hour and _lifetimes(asked) == {"1h"}:
        return {**usage, "cache_write_1h_tokens": writes}
    return usage


def _lifetimes(value: Any, depth: int = 0) -> set[str]:
    """Return the lifetimes of the cache that a request asks for; without a word it is five minutes."""
    if depth > _DEPTH_MAX:
        return {""}
    found: set[str] = set()
    if isinstance(value, Mapping):
        control = value.get("cache_control")
        if isinstance(control, Mapping):
            found.add(str(control.get("ttl", "5m")))
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            if isinstance(part, Mapping | list):
                found |= _lifetimes(part, depth + 1)
    return found


def assemble_message(events: Sequence[tuple[str | None, Any]]) -> Assembled:
    """Put the events of a message together."""
    body: dict[str, Any] | None = None
    blocks: dict[int, dict[str, Any]] = {}
    first: int | None = None
    complete = False
    for position, (name, data) in enumerate(events):
        event = mapping_of(data)
        match text_of(event.get("type")) or name:
            case "message_start":
                body = dict(mapping_of(event.get("message")))
            case "content_block_start":
                blocks[_index(event)] = dict(mapping_of(event.get("content_block")))
            case "content_block_delta":
                _merge_delta(blocks.setdefault(_index(event), {}), mapping_of(event.get("delta")))
                first = position if first is None else first
            case "message_delta":
                body = _closed(body or {}, event)
            case "message_stop":
                complete = True
            case _:
                pass
    if body is not None:
        body["content"] = [_block(blocks[index]) for index in sorted(blocks)]
        complete = complete or bool(body.get("stop_reason"))
    return Assembled(body, complete, first)


def _closed(body: dict[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: value for name, value in mapping_of(event.get("usage")).items() if value is not None}
    delta = {name: value for name, value in mapping_of(event.get("delta")).items() if value is not None}
    return body | delta | {"usage": {**mapping_of(body.get("usage")), **told}}


def _merge_delta(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    kind = str(delta.get("type"))
    if kind in _TEXT_DELTAS:
        name = _TEXT_DELTAS[kind]
        block.setdefault("type", name)
        block[name] = str(block.get(name, "")) + str(delta.get(name, ""))
    elif kind == "input_json_delta":
        block["_json"] = block.get("_json", "") + str(delta.get("partial_json", ""))


def _block(block: dict[str, Any]) -> dict[str, Any]:
    text = block.pop("_json", None)
    if text:
        try:
            block["input"] = orjson.loads(text)
        except ValueError:
            # The stream broke off in the middle of the arguments: kept as far as they came.
            block["input"] = text
    return block


def _tool_call(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool call in the shape of OpenAI's, so that one query reads both."""
    given = block.get("input")
    arguments = given if isinstance(given, str) else orjson.dumps(given if given is not None else {}).decode()
    return {"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}


def _index(event: Mapping[str, Any]) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0
