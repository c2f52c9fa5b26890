"""OpenAI's chat completions, completions and embeddings: requests read, answers and streams written. Pure."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from llmtrail.testing.provider.answers import CHARACTERS_PER_TOKEN, Answer, Finish, Question, Tool
from llmtrail.testing.provider.dice import Dice
from llmtrail.testing.provider.frames import DONE, Frame, frame

# Small, so that tests stay fast; a request's `dimensions` wins.
EMBEDDING_DIMENSIONS = 16


def question(body: Mapping[str, Any], output_tokens: int | None) -> Question:
    """Read a chat request (or a legacy completion, which has a `prompt`)."""
    text = json.dumps(body["messages"]) if "messages" in body else str(body.get("prompt", ""))
    return Question(
        model=str(body.get("model", "")),
        text=text,
        tools=_tools(body),
        json_schema=_json_schema(body.get("response_format")),
        output_tokens=output_tokens,
        output_tokens_max=body.get("max_completion_tokens") or body.get("max_tokens"),
    )


def completion(answer: Answer, model: str, answer_id: str, created: int) -> dict[str, Any]:
    """Return the body of a chat completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None}
    if answer.finish is Finish.REFUSAL:
        message |= {"content": None, "refusal": answer.text}
    if answer.tools:
        message["tool_calls"] = _tool_calls(answer)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    head = _head(answer_id, "chat.completion", created, model)
    return head | {"choices": [choice], "usage": usage(answer)}


def completion_frames(
    answer: Answer, head: tuple[str, str, int], *, include_usage: bool, content_name: str = "content"
) -> Sequence[Frame]:
    """Return the stream of a chat completion; `head` is (model, answer id, creation time in epoch seconds)."""
    model, answer_id, created = head
    base = _head(answer_id, "chat.completion.chunk", created, model)

    def chunk(delta: Mapping[str, Any], finish: str | None = None, *, content: bool = False) -> Frame:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return frame(base | {"choices": [choice]} | ({"usage": None} if include_usage else {}), content=content)

    name = "refusal" if answer.finish is Finish.REFUSAL else content_name
    frames = [chunk({"role": "assistant", "content": "", "refusal": None})]
    frames += [chunk({name: piece}, content=True) for piece in answer.pieces]
    for index, call in enumerate(_tool_calls(answer)):
        function = call["function"]
        frames.append(chunk({"tool_calls": [call | {"index": index, "function": function | {"arguments": ""}}]}))
        middle = max(1, len(function["arguments"]) // 2)
        for part in (function["arguments"][:middle], function["arguments"][middle:]):
            frames.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]}, content=True))
    frames.append(chunk({}, _finish(answer)))
    if include_usage:
        frames.append(frame(base | {"choices": [], "usage": usage(answer)}))
    return [*frames, DONE]


def text_completion(answer: Answer, model: str, answer_id: str, created: int) -> dict[str, Any]:
    """Return the body of a legacy completion."""
    choice = {"index": 0, "text": answer.text, "logprobs": None, "finish_reason": _finish(answer)}
    return _head(answer_id, "text_completion", created, model) | {"choices": [choice], "usage": usage(answer)}


def text_completion_frames(answer: Answer, head: tuple[str, str, int]) -> Sequence[Frame]:
    """Return the stream of a legacy completion."""
    model, answer_id, created = head
    base = _head(answer_id, "text_completion", created, model)
    pieces: list[tuple[str, str | None]] = [(piece, None) for piece in answer.pieces]
    frames = [
        frame(
            base | {"choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]},
            content=finish is None,
        )
        for text, finish in [*pieces, ("", _finish(answer))]
    ]
    return [*frames, DONE]


def embeddings(body: Mapping[str, Any], dice: Dice) -> dict[str, Any]:
    """Return the body of an embeddings answer (floats; base64 where the client asks for it)."""
    asked = body.get("input", "")
    inputs = asked if isinstance(asked, list) and not _is_tokens(asked) else [asked]
    dimensions = int(body.get("dimensions") or EMBEDDING_DIMENSIONS)
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(dimensions, dice, body.get("encoding_format"))}
        for index in range(len(inputs))
    ]
    tokens = sum(len(one) if isinstance(one, list) else len(str(one)) // CHARACTERS_PER_TOKEN + 1 for one in inputs)
    spent = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": rows, "model": body.get("model", ""), "usage": spent}


def usage(answer: Answer) -> dict[str, Any]:
    """Return the `usage` of a chat completion."""
    return {
        "prompt_tokens": answer.input_tokens,
        "completion_tokens": answer.output_tokens,
        "total_tokens": answer.input_tokens + answer.output_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _head(answer_id: str, kind: str, created: int, model: str) -> dict[str, Any]:
    return {
        "id": answer_id,
        "object": kind,
        "created": created,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _tools(body: Mapping[str, Any]) -> list[Tool]:
    messages = body.get("messages") or [{}]
    # After a tool's result the model answers in words.
    if body.get("tool_choice") == "none" or messages[-1].get("role") == "tool":
        return []
    functions = [tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"]
    return [Tool(one["name"], one.get("parameters") or {}) for one in functions]


def _json_schema(response_format: Any) -> Mapping[str, Any] | None:
    if not isinstance(response_format, Mapping) or response_format.get("type") not in ("json_object", "json_schema"):
        return None
    schema: Mapping[str, Any] = (response_format.get("json_schema") or {}).get("schema") or {}
    return schema


def _tool_calls(answer: Answer) -> list[dict[str, Any]]:
    return [
        {"id": tool.call_id, "type": "function", "function": {"name": tool.name, "arguments": tool.arguments}}
        for tool in answer.tools
    ]


def _finish(answer: Answer) -> str:
    return "stop" if answer.finish is Finish.REFUSAL else answer.finish.value


def _is_tokens(asked: Sequence[Any]) -> bool:
    return bool(asked) and isinstance(asked[0], int)


def _vector(dimensions: int, dice: Dice, encoding: Any) -> Any:
    numbers = [dice.unit() * 2 - 1 for _ in range(dimensions)]
    length = math.sqrt(sum(number * number for number in numbers)) or 1.0
    if encoding == "base64":
        import base64  # noqa: PLC0415 - only the OpenAI client asks for it
        import struct  # noqa: PLC0415

        packed = struct.pack(f"<{dimensions}f", *(number / length for number in numbers))
        return base64.b64encode(packed).decode()
    return [number / length for number in numbers]
