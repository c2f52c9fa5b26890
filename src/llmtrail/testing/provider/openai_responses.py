"""OpenAI's Responses API: requests read, answers and streams written. Pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llmtrail.testing.provider.answers import Answer, Finish, Question, Tool
from llmtrail.testing.provider.frames import Frame, frame


def question(body: Mapping[str, Any], output_tokens: int | None) -> Question:
    """Read a Responses request."""
    asked = body.get("input", "")
    text = asked if isinstance(asked, str) else json.dumps(asked)
    return Question(
        model=str(body.get("model", "")),
        text=str(body.get("instructions") or "") + text,
        tools=_tools(body),
        json_schema=_json_schema(body.get("text")),
        output_tokens=output_tokens,
        output_tokens_max=body.get("max_output_tokens"),
    )


def response(answer: Answer, body: Mapping[str, Any], answer_id: str, created: int) -> dict[str, Any]:
    """Return the body of a finished response."""
    return _shell(body, answer_id, created) | {
        "status": "incomplete" if _incomplete(answer) else "completed",
        "incomplete_details": _incomplete(answer),
        "output": _items(answer, answer_id),
        "usage": usage(answer),
    }


def response_frames(answer: Answer, body: Mapping[str, Any], answer_id: str, created: int) -> Sequence[Frame]:
    """Return the stream of a response: its named events, numbered."""
    frames: list[Frame] = []

    def emit(kind: str, fields: Mapping[str, Any], *, content: bool = False) -> None:
        numbered = {"type": kind, "sequence_number": len(frames), **fields}
        frames.append(frame(numbered, content=content, event=kind))

    shell = _shell(body, answer_id, created) | {"status": "in_progress", "output": [], "usage": None}
    emit("response.created", {"response": shell})
    emit("response.in_progress", {"response": shell})
    for index, item in enumerate(_items(answer, answer_id)):
        if item["type"] == "message":
            _message_events(emit, index, item, answer)
        elif item["type"] == "function_call":
            _function_events(emit, index, item)
        else:
            emit("response.output_item.added", {"output_index": index, "item": item})
            emit("response.output_item.done", {"output_index": index, "item": item})
    last = "response.incomplete" if _incomplete(answer) else "response.completed"
    emit(last, {"response": response(answer, body, answer_id, created)})
    return frames


def usage(answer: Answer) -> dict[str, Any]:
    """Return the `usage` of a response."""
    return {
        "input_tokens": answer.input_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": answer.output_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.input_tokens + answer.output_tokens,
    }


def _message_events(emit: Any, index: int, item: Mapping[str, Any], answer: Answer) -> None:
    part = item["content"][0]
    refused = part["type"] == "refusal"
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    empty = {"type": "refusal", "refusal": ""} if refused else {"type": "output_text", "text": "", "annotations": []}
    emit(
        "response.output_item.added",
        {"output_index": index, "item": {**item, "status": "in_progress", "content": []}},
    )
    emit("response.content_part.added", {**at, "part": empty})
    kind = "response.refusal" if refused else "response.output_text"
    for piece in answer.pieces:
        emit(f"{kind}.delta", {**at, "delta": piece} | ({} if refused else {"logprobs": []}), content=True)
    done = {"refusal": answer.text} if refused else {"text": answer.text, "logprobs": []}
    emit(f"{kind}.done", at | done)
    emit("response.content_part.done", {**at, "part": part})
    emit("response.output_item.done", {"output_index": index, "item": item})


def _function_events(emit: Any, index: int, item: Mapping[str, Any]) -> None:
    at = {"item_id": item["id"], "output_index": index}
    emit("response.output_item.added", {"output_index": index, "item": {**item, "arguments": ""}})
    emit("response.function_call_arguments.delta", {**at, "delta": item["arguments"]}, content=True)
    emit("response.function_call_arguments.done", {**at, "name": item["name"], "arguments": item["arguments"]})
    emit("response.output_item.done", {"output_index": index, "item": item})


def _shell(body: Mapping[str, Any], answer_id: str, created: int) -> dict[str, Any]:
    return {
        "id": answer_id,
        "object": "response",
        "created_at": created,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": body.get("model", ""),
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
    }


def _items(answer: Answer, answer_id: str) -> list[dict[str, Any]]:
    tail = answer_id.removeprefix("resp_")
    items: list[dict[str, Any]] = []
    if answer.reasoning_tokens:
        items.append({"type": "reasoning", "id": f"rs_{tail}", "summary": []})
    for number, tool in enumerate(answer.tools):
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{tail}_{number}",
                "call_id": tool.call_id,
                "name": tool.name,
                "arguments": tool.arguments,
                "status": "completed",
            }
        )
    if answer.text:
        part: dict[str, Any] = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        if answer.finish is Finish.REFUSAL:
            part = {"type": "refusal", "refusal": answer.text}
        status = "incomplete" if _incomplete(answer) else "completed"
        items.append({"type": "message", "id": f"msg_{tail}", "role": "assistant", "status": status, "content": [part]})
    return items


def _incomplete(answer: Answer) -> dict[str, str] | None:
    match answer.finish:
        case Finish.LENGTH:
            return {"reason": "max_output_tokens"}
        case Finish.CONTENT_FILTER:
            return {"reason": "content_filter"}
        case _:
            return None


def _tools(body: Mapping[str, Any]) -> list[Tool]:
    asked = body.get("input")
    answered = isinstance(asked, list) and asked and asked[-1].get("type") == "function_call_output"
    if body.get("tool_choice") == "none" or answered:
        return []
    offered = [tool for tool in body.get("tools") or [] if tool.get("type") == "function"]
    return [Tool(tool["name"], tool.get("parameters") or {}) for tool in offered]


def _json_schema(text: Any) -> Mapping[str, Any] | None:
    wanted = (text or {}).get("format") or {}
    if wanted.get("type") not in ("json_object", "json_schema"):
        return None
    schema: Mapping[str, Any] = wanted.get("schema") or {}
    return schema
