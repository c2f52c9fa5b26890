"""Anthropic's Messages API: requests read, answers and streams written. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmtrail.testing.provider.answers import Answer, Finish, Question, Tool
from llmtrail.testing.provider.frames import Frame, frame


def question(body: Mapping[str, Any], output_tokens: int | None) -> Question:
    """Read a Messages request."""
    system = body.get("system") or ""
    return Question(
        model=str(body.get("model", "")),
        text=(system if isinstance(system, str) else json.dumps(system)) + json.dumps(body.get("messages", [])),
        tools=_tools(body),
        json_schema=_json_schema(body),
        output_tokens=output_tokens,
        output_tokens_max=body.get("max_tokens"),
    )


def message(answer: Answer, model: str, answer_id: str) -> dict[str, Any]:
    """Return the body of a finished message."""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": answer.text}] if answer.text else []
    for tool in answer.tools:
        arguments = json.loads(tool.arguments)
        blocks.append({"type": "tool_use", "id": tool.call_id, "name": tool.name, "input": arguments})
    return _shell(model, answer_id) | {
        "content": blocks,
        "stop_reason": _stop_reason(answer),
        "usage": usage(answer),
    }


def message_frames(answer: Answer, model: str, answer_id: str) -> Sequence[Frame]:
    """Return the stream of a message: its named events."""
    started = _shell(model, answer_id) | {"usage": usage(answer) | {"output_tokens": 1}}
    frames = [_event("message_start", {"message": started}), _event("ping", {})]
    index = 0
    if answer.text:
        pieces = [{"type": "text_delta", "text": piece} for piece in answer.pieces]
        frames += _block(index, {"type": "text", "text": ""}, pieces)
        index += 1
    for tool in answer.tools:
        start = {"type": "tool_use", "id": tool.call_id, "name": tool.name, "input": {}}
        middle = max(1, len(tool.arguments) // 2)
        parts = (tool.arguments[:middle], tool.arguments[middle:])
        frames += _block(index, start, [{"type": "input_json_delta", "partial_json": part} for part in parts])
        index += 1
    delta = {"stop_reason": _stop_reason(answer), "stop_sequence": None}
    frames.append(_event("message_delta", {"delta": delta, "usage": {"output_tokens": answer.output_tokens}}))
    return [*frames, _event("message_stop", {})]


def usage(answer: Answer) -> dict[str, Any]:
    """Return the `usage` of a message: Anthropic counts cached tokens apart from `input_tokens`."""
    return {
        "input_tokens": answer.input_tokens - answer.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": answer.cached_tokens,
        "output_tokens": answer.output_tokens,
        "service_tier": "standard",
    }


def _event(kind: str, fields: Mapping[str, Any], *, content: bool = False) -> Frame:
    return frame({"type": kind, **fields}, content=content, event=kind)


def _block(index: int, start: Mapping[str, Any], deltas: Sequence[Mapping[str, Any]]) -> list[Frame]:
    return [
        _event("content_block_start", {"index": index, "content_block": start}),
        *(_event("content_block_delta", {"index": index, "delta": delta}, content=True) for delta in deltas),
        _event("content_block_stop", {"index": index}),
    ]


def _shell(model: str, answer_id: str) -> dict[str, Any]:
    return {
        "id": answer_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _stop_reason(answer: Answer) -> str:
    match answer.finish:
        case Finish.LENGTH:
            return "max_tokens"
        case Finish.TOOL_CALLS:
            return "tool_use"
        case Finish.REFUSAL | Finish.CONTENT_FILTER:
            return "refusal"
        case Finish.STOP:
            return "end_turn"


def _tools(body: Mapping[str, Any]) -> list[Tool]:
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content")
    answered = isinstance(content, list) and any(block.get("type") == "tool_result" for block in content)
    if (body.get("tool_choice") or {}).get("type") == "none" or answered:
        return []
    return [Tool(tool["name"], tool.get("input_schema") or {}) for tool in body.get("tools") or [] if "name" in tool]


def _json_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    if wanted.get("type") != "json_schema":
        return None
    schema: Mapping[str, Any] = wanted.get("schema") or {}
    return schema
