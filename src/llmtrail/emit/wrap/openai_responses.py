"""Read what OpenAI's Responses API answers, whole or in events. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmtrail.core.failure import FailureMode, classify
from llmtrail.core.usage import cost_of
from llmtrail.emit.wrap.error_bodies import error_of
from llmtrail.emit.wrap.found import Assembled, Found, list_of, mapping_of, text_of, texts_of
from llmtrail.emit.wrap.usage import counted, with_foreign_tokens

_LAST_EVENTS = ("response.completed", "response.incomplete", "response.failed")
_UNFINISHED = ("queued", "in_progress")
# https://developers.openai.com/api/docs/pricing#built-in-tools: $0.03, 0.12, 0.48 and 1.92 a session, by memory
_CONTAINER_SIZES = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}
# How the Responses API's reasons are called everywhere else.
_REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}
_TEXT_DELTAS = {"response.output_text.delta": "output_text", "response.refusal.delta": "refusal"}


def read_response(body: Mapping[str, Any]) -> Found:
    """Read the body of a response."""
    items = [mapping_of(item) for item in list_of(body.get("output"))]
    parts = [mapping_of(part) for item in items for part in list_of(item.get("content"))]
    text = "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    refusal = "".join(part["refusal"] for part in parts if isinstance(part.get("refusal"), str))
    calls = [_tool_call(item) for item in items if str(item.get("type", "")).endswith("_call")]
    output: dict[str, Any] = {"role": "assistant"}
    if text:
        output["content"] = text
    if refusal:
        output["refusal"] = refusal
    error = error_of(body)
    return Found(
        response_id=text_of(body.get("id")),
        response_model=text_of(body.get("model")),
        output=output if len(output) > 1 else None,
        tool_calls=calls,
        finish_reasons=_reasons(body, calls),
        usage=_usage(body, items),
        failure_mode=_failure(body, refusal),
        error=None if error is None else error.message or error.type or "",
        error_type=None if error is None else error.type,
        error_status=None if error is None else error.http_status,
        served=texts_of(service_tier=body.get("service_tier") or mapping_of(body.get("usage")).get("service_tier")),
        # An answer that is still to be made has no tokens yet.
        attributes={"openai.response.status": body["status"]} if body.get("status") in _UNFINISHED else {},
        reported_cost_nanousd=cost_of(mapping_of(body.get("usage"))),
    )


def read_decision(body: Mapping[str, Any]) -> Found:
    """Read the body of a decision: an answer to each question; a question may be refused."""
    answers = [mapping_of(answer) for answer in list_of(body.get("answers"))]
    refused = any(answer.get("type") == "refusal" for answer in answers)
    return replace(
        read_response({**body, "output": []}),
        output={"role": "assistant", "content": answers} if answers else None,
        failure_mode=FailureMode.REFUSED if refused else None,
    )


def assemble_response(events: Sequence[tuple[str | None, Any]]) -> Assembled:
    """Put the events of a response together; the last one holds it whole, without it the pieces must do."""
    body: dict[str, Any] | None = None
    done: dict[int, Mapping[str, Any]] = {}
    started: dict[int, dict[str, Any]] = {}
    first: int | None = None
    for position, (name, data) in enumerate(events):
        event = mapping_of(data)
        kind = text_of(event.get("type")) or name or ""
        if kind in _LAST_EVENTS:
            last = dict(mapping_of(event.get("response")))
            # Codex's backend sends the items before, and none here.
            if not list_of(last.get("output")):
                last["output"] = [done[index] for index in sorted(done)]
            return Assembled(last, complete=True, first_content=first)
        if event.get("response"):
            body = dict(mapping_of(event["response"]))
        if kind.endswith(".delta") and first is None:
            first = position
        _note(kind, event, done, started)
    if body is not None:
        partial = {index: _item(item) for index, item in started.items()} | done
        body["output"] = [partial[index] for index in sorted(partial)]
    return Assembled(body, complete=False, first_content=first)


def _note(
    kind: str, event: Mapping[str, Any], done: dict[int, Mapping[str, Any]], started: dict[int, dict[str, Any]]
) -> None:
    index = event.get("output_index")
    if not isinstance(index, int):
        return
    if kind == "response.output_item.added":
        started[index] = dict(mapping_of(event.get("item")))
    elif kind == "response.output_item.done":
        done[index] = mapping_of(event.get("item"))
    elif kind in _TEXT_DELTAS:
        texts = started.setdefault(index, {"type": "message"}).setdefault("_texts", {})
        name = _TEXT_DELTAS[kind]
        texts[name] = texts.get(name, "") + str(event.get("delta", ""))
    elif kind == "response.function_call_arguments.delta":
        item = started.setdefault(index, {"type": "function_call"})
        item["arguments"] = str(item.get("arguments", "")) + str(event.get("delta", ""))


def _item(item: Mapping[str, Any]) -> dict[str, Any]:
    texts = mapping_of(item.get("_texts"))
    whole = {name: value for name, value in item.items() if name != "_texts"}
    if texts:
        fields = {"output_text": "text", "refusal": "refusal"}
        whole["content"] = [{"type": name, fields[name]: text} for name, text in texts.items()]
    return whole


def _tool_call(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool call in the shape of a chat's where it is a function, else as it is."""
    if item.get("type") != "function_call":
        return dict(item)
    function = {"name": item.get("name", ""), "arguments": item.get("arguments", "")}
    return {"id": item.get("call_id"), "type": "function", "function": function}


def _usage(body: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the tokens, and what hosted tools did that is billed apart.

    `tool_usage` counts the searches that are billed. Without it each completed search is one; opening a page and
    finding in one are no searches. Images that a tool made are tokens of the image model, not of this one.
    """
    counts = counted(body.get("usage"))
    done = [item for item in items if item.get("status") in ("completed", None)]
    tools = mapping_of(body.get("tool_usage"))
    searches = mapping_of(tools.get("web_search")).get("num_requests")
    if not isinstance(searches, int):
        searches = sum(1 for item in done if item.get("type") == "web_search_call" and _is_search(item))
    files = sum(1 for item in done if item.get("type") == "file_search_call")
    containers = {item.get("container_id") for item in items if item.get("type") == "code_interpreter_call"}
    sessions = len(containers) * max(map(_container_size, list_of(body.get("tools"))), default=1)
    for name, count in (
        ("web_search_requests", searches),
        ("file_search_requests", files),
        ("code_interpreter_sessions", sessions),
    ):
        if count:
            counts[name] = max(count, counts.get(name, 0))
    images = mapping_of(tools.get("image_gen")).get("total_tokens")
    return with_foreign_tokens(counts, images if isinstance(images, int) else 0)


def _container_size(tool: Any) -> int:
    """Return how many of the smallest containers a tool's container costs as many as: its price goes by its memory."""
    limit = mapping_of(mapping_of(tool).get("container")).get("memory_limit")
    return _CONTAINER_SIZES.get(limit, 1) if isinstance(limit, str) else 1


def _is_search(item: Mapping[str, Any]) -> bool:
    return bool(mapping_of(item.get("action")).get("type", "search") == "search")


def _reasons(body: Mapping[str, Any], calls: Sequence[Any]) -> list[str]:
    reason = text_of(mapping_of(body.get("incomplete_details")).get("reason"))
    if reason:
        return [_REASONS.get(reason, reason)]
    if body.get("status") == "completed":
        return ["tool_calls" if calls else "stop"]
    return []


def _failure(body: Mapping[str, Any], refusal: str) -> FailureMode | None:
    error = error_of(body)
    if error is not None:
        return error.failure_mode
    if body.get("status") == "failed":
        return FailureMode.MODEL_ERROR
    if body.get("status") == "cancelled":
        return FailureMode.CANCELLED
    reason = text_of(mapping_of(body.get("incomplete_details")).get("reason"))
    return classify(finish_reasons=[reason] if reason else [], refused=bool(refusal))[1]
