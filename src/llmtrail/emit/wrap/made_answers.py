"""Answers that no provider gave: a text, or a former answer, in the provider's own format, whole and streamed. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, assert_never

import orjson

from llmtrail.emit.wrap.endpoints import Endpoint
from llmtrail.emit.wrap.found import list_of, mapping_of
from llmtrail.emit.wrap.openai_chat import DONE

# No token was used for what was not asked.
_CHAT_USAGE: Final = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
_RESPONSES_USAGE: Final = {
    "input_tokens": 0,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}
_MESSAGES_USAGE: Final = {"input_tokens": 0, "output_tokens": 0}
# The parts of a block of Anthropic's that a stream tells in a delta of their own, by the block's type.
_BLOCK_DELTAS: Final = {"text": "text", "thinking": "thinking"}


def said_body(endpoint: Endpoint, text: str, model: str, answer_id: str, created_s: int) -> dict[str, Any] | None:
    """Return the body of an answer that says `text`, or None where an answer of that kind says nothing."""
    match endpoint:
        case Endpoint.CHAT:
            message = {"role": "assistant", "content": text, "refusal": None}
            return _choices("chat.completion", {"message": message}, model, answer_id, created_s)
        case Endpoint.COMPLETIONS:
            return _choices("text_completion", {"text": text}, model, answer_id, created_s)
        case Endpoint.RESPONSES:
            return _response(text, model, answer_id, created_s)
        case Endpoint.MESSAGES:
            content = [{"type": "text", "text": text}]
            return {
                "id": answer_id,
                "type": "message",
                "role": "assistant",
                "model": model,
                "content": content,
                "stop_reason": "end_turn",
                "stop_sequence": None,
                "usage": _MESSAGES_USAGE,
            }
        case Endpoint.EMBEDDINGS:
            return None
        case (
            Endpoint.COMPACTIONS
            | Endpoint.DECISIONS
            | Endpoint.IMAGES
            | Endpoint.IMAGE_EDITS
            | Endpoint.TRANSCRIPTIONS
            | Endpoint.TRANSLATIONS
        ):
            return None
        case _:
            assert_never(endpoint)


def repeated_body(endpoint: Endpoint, former: Mapping[str, Any], created_s: int) -> dict[str, Any]:
    """Return a former answer's body as one that is given now: whole, though it came as a stream, and using nothing."""
    match endpoint:
        case Endpoint.CHAT | Endpoint.COMPLETIONS:
            kind = "chat.completion" if endpoint is Endpoint.CHAT else "text_completion"
            choices = [{"index": place, "logprobs": None, **choice} for place, choice in enumerate(former["choices"])]
            head = {"object": kind, "created": created_s}
            return {**head, **former, "choices": choices, "usage": _CHAT_USAGE}
        case Endpoint.EMBEDDINGS:
            return {**former, "usage": {"prompt_tokens": 0, "total_tokens": 0}}
        case Endpoint.RESPONSES:
            return {**former, "usage": _RESPONSES_USAGE}
        case Endpoint.MESSAGES:
            return {**former, "usage": _MESSAGES_USAGE}
        case (
            Endpoint.COMPACTIONS
            | Endpoint.DECISIONS
            | Endpoint.IMAGES
            | Endpoint.IMAGE_EDITS
            | Endpoint.TRANSCRIPTIONS
            | Endpoint.TRANSLATIONS
        ):
            return {**former}
        case _:
            assert_never(endpoint)


def stream_of(endpoint: Endpoint, body: Mapping[str, Any], *, tells_usage: bool) -> bytes:
    """Return the server-sent events of a stream that amounts to `body`."""
    match endpoint:
        case Endpoint.CHAT | Endpoint.COMPLETIONS | Endpoint.EMBEDDINGS:
            chunks = _chunks(endpoint, body, tells_usage=tells_usage)
            return b"".join(b"data: %b\n\n" % orjson.dumps(chunk) for chunk in chunks) + f"data: {DONE}\n\n".encode()
        case Endpoint.RESPONSES:
            numbered = [{**event, "sequence_number": number} for number, event in enumerate(_response_events(body))]
            return b"".join(map(_named, numbered))
        case Endpoint.MESSAGES:
            return b"".join(map(_named, _message_events(body)))
        case (
            Endpoint.COMPACTIONS
            | Endpoint.DECISIONS
            | Endpoint.IMAGES
            | Endpoint.IMAGE_EDITS
            | Endpoint.TRANSCRIPTIONS
            | Endpoint.TRANSLATIONS
        ):
            return b""
        case _:
            assert_never(endpoint)


def _named(event: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


def _choices(kind: str, said: Mapping[str, Any], model: str, answer_id: str, created_s: int) -> dict[str, Any]:
    choice = {"index": 0, **said, "logprobs": None, "finish_reason": "stop"}
    head = {"id": answer_id, "object": kind, "created": created_s, "model": model}
    return {**head, "choices": [choice], "usage": _CHAT_USAGE}


def _response(text: str, model: str, answer_id: str, created_s: int) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {"type": "message", "id": f"msg_{answer_id}", "role": "assistant", "status": "completed", "content": [part]}
    return {
        "id": answer_id,
        "object": "response",
        "created_at": created_s,
        "model": model,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "output": [item],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": _RESPONSES_USAGE,
    }


def _chunks(endpoint: Endpoint, body: Mapping[str, Any], *, tells_usage: bool) -> Iterator[dict[str, Any]]:
    base = {name: value for name, value in body.items() if name not in {"choices", "usage"}}
    if endpoint is Endpoint.CHAT:
        base["object"] = "chat.completion.chunk"
    for choice in map(mapping_of, list_of(body.get("choices"))):
        index = choice.get("index", 0)
        if endpoint is Endpoint.CHAT:
            delta = {name: value for name, value in mapping_of(choice.get("message")).items() if name != "parsed"}
            calls = list_of(delta.pop("tool_calls", None))
            if calls:
                delta["tool_calls"] = [{"index": place, **mapping_of(call)} for place, call in enumerate(calls)]
            said: dict[str, Any] = {"delta": delta}
            last: dict[str, Any] = {"delta": {}}
        else:
            said, last = {"text": choice.get("text", "")}, {"text": ""}
        yield {**base, "choices": [{"index": index, **said, "logprobs": None, "finish_reason": None}]}
        finish = choice.get("finish_reason") or "stop"
        yield {**base, "choices": [{"index": index, **last, "logprobs": None, "finish_reason": finish}]}
    if tells_usage:
        yield {**base, "choices": [], "usage": _CHAT_USAGE}


def _response_events(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    shell = {**body, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": shell}
    yield {"type": "response.in_progress", "response": shell}
    for index, item in enumerate(map(mapping_of, list_of(body.get("output")))):
        at = {"output_index": index}
        is_message = item.get("type") == "message"
        started = {**item, "status": "in_progress", "content": []} if is_message else item
        yield {"type": "response.output_item.added", **at, "item": started}
        if is_message:
            yield from _part_events(item, at)
        yield {"type": "response.output_item.done", **at, "item": item}
    last = "response.incomplete" if body.get("status") == "incomplete" else "response.completed"
    yield {"type": last, "response": body}


def _part_events(item: Mapping[str, Any], at: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for place, part in enumerate(map(mapping_of, list_of(item.get("content")))):
        where = {**at, "item_id": item.get("id", ""), "content_index": place}
        refused = part.get("type") == "refusal"
        name, kind = ("refusal", "response.refusal") if refused else ("text", "response.output_text")
        more: dict[str, Any] = {} if refused else {"logprobs": []}
        yield {"type": "response.content_part.added", **where, "part": {**part, name: ""}}
        yield {"type": f"{kind}.delta", **where, "delta": part.get(name, ""), **more}
        yield {"type": f"{kind}.done", **where, name: part.get(name, ""), **more}
        yield {"type": "response.content_part.done", **where, "part": part}


def _message_events(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    shell = {**body, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": shell}
    for index, block in enumerate(map(mapping_of, list_of(body.get("content")))):
        kind = str(block.get("type"))
        start, delta = dict(block), dict[str, Any]()
        if kind in _BLOCK_DELTAS:
            name = _BLOCK_DELTAS[kind]
            start[name] = ""
            delta = {"type": f"{kind}_delta", name: block.get(name, "")}
        elif kind == "tool_use":
            start["input"] = {}
            delta = {"type": "input_json_delta", "partial_json": orjson.dumps(block.get("input") or {}).decode()}
        yield {"type": "content_block_start", "index": index, "content_block": start}
        if delta:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    ending = {"stop_reason": body.get("stop_reason"), "stop_sequence": body.get("stop_sequence")}
    yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 0}}
    yield {"type": "message_stop"}
