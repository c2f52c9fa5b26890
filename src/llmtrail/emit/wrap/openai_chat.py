"""Read chat completions, completions and embeddings as OpenAI and all who speak its protocol answer them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmtrail.core.failure import classify
from llmtrail.emit.wrap.found import Assembled, Found, list_of, mapping_of, text_of
from llmtrail.emit.wrap.usage import openai_usage

DONE = "[DONE]"
# What of a message is no answer: repeated elsewhere, or only decoding noise.
_NOT_OUTPUT = ("tool_calls", "parsed", "logprobs", "provider_specific_fields")
# Where the parts of a delta that are text accumulate.
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


def read_chat(body: Mapping[str, Any]) -> Found:
    """Read the body of a chat completion."""
    choices = [mapping_of(choice) for choice in list_of(body.get("choices"))]
    messages = [said for choice in choices if (said := _message(mapping_of(choice.get("message"))))]
    calls = [dict(call) for choice in choices for call in list_of(mapping_of(choice.get("message")).get("tool_calls"))]
    refused = any(text_of(mapping_of(choice.get("message")).get("refusal")) for choice in choices)
    reasons = _reasons(choices)
    return Found(
        **_common(body),
        output=_one_or_all(messages),
        tool_calls=calls,
        finish_reasons=reasons,
        failure_mode=classify(finish_reasons=reasons, refused=refused)[1],
    )


def read_completion(body: Mapping[str, Any]) -> Found:
    """Read the body of a legacy completion."""
    choices = [mapping_of(choice) for choice in list_of(body.get("choices"))]
    reasons = _reasons(choices)
    texts = [choice.get("text") for choice in choices if isinstance(choice.get("text"), str)]
    return Found(
        **_common(body),
        output=_one_or_all(texts),
        finish_reasons=reasons,
        failure_mode=classify(finish_reasons=reasons)[1],
    )


def read_embeddings(body: Mapping[str, Any]) -> Found:
    """Read the body of an embeddings answer; the vectors themselves are not kept, only how many and how long."""
    rows = list_of(body.get("data"))
    attributes: dict[str, Any] = {"embeddings.count": len(rows)}
    vector = mapping_of(rows[0]).get("embedding") if rows else None
    if isinstance(vector, list):
        attributes["embeddings.dimensions"] = len(vector)
    return Found(**_common(body), attributes=attributes)


def assemble_chat(events: Sequence[tuple[str | None, Any]]) -> Assembled:
    """Put the chunks of a chat completion together."""
    choices: dict[int, dict[str, Any]] = {}
    first: int | None = None
    for position, choice in _choices(events):
        known = choices.setdefault(_index(choice), {"message": {}})
        if _merge_delta(known["message"], mapping_of(choice.get("delta"))) and first is None:
            first = position
        if choice.get("finish_reason"):
            known["finish_reason"] = choice["finish_reason"]
    for known in choices.values():
        calls = known["message"].get("tool_calls")
        if calls:
            known["message"]["tool_calls"] = [calls[index] for index in sorted(calls)]
    return _assembled(events, choices, first)


def assemble_completion(events: Sequence[tuple[str | None, Any]]) -> Assembled:
    """Put the chunks of a legacy completion together."""
    choices: dict[int, dict[str, Any]] = {}
    first: int | None = None
    for position, choice in _choices(events):
        known = choices.setdefault(_index(choice), {"text": ""})
        piece = choice.get("text")
        if isinstance(piece, str) and piece:
            known["text"] += piece
            first = position if first is None else first
        if choice.get("finish_reason"):
            known["finish_reason"] = choice["finish_reason"]
    return _assembled(events, choices, first)


def _choices(events: Sequence[tuple[str | None, Any]]) -> Iterable[tuple[int, Mapping[str, Any]]]:
    for position, (_, data) in enumerate(events):
        for choice in list_of(mapping_of(data).get("choices")):
            yield position, mapping_of(choice)


def _assembled(
    events: Sequence[tuple[str | None, Any]], choices: Mapping[int, dict[str, Any]], first: int | None
) -> Assembled:
    body: dict[str, Any] = {}
    done = False
    for _, data in events:
        done = done or data == DONE
        chunk = mapping_of(data)
        for name in ("id", "model", "service_tier", "system_fingerprint"):
            if chunk.get(name):
                body[name] = chunk[name]
        usage = _chunk_usage(chunk)
        if usage:
            body["usage"] = usage
    body["choices"] = [choices[index] for index in sorted(choices)]
    finished = bool(choices) and all("finish_reason" in choice for choice in choices.values())
    return Assembled(body if events else None, done or finished, first)


def _chunk_usage(chunk: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a chunk's usage: its own, Groq's, or one inside the choice (Moonshot)."""
    own = mapping_of(chunk.get("usage")) or mapping_of(mapping_of(chunk.get("x_groq")).get("usage"))
    if own:
        return own
    choices = list_of(chunk.get("choices"))
    return mapping_of(mapping_of(choices[0]).get("usage")) if choices else {}


def _merge_delta(message: dict[str, Any], delta: Mapping[str, Any]) -> bool:
    """Add a delta to a message; say whether it held anything the model said."""
    spoke = False
    if isinstance(delta.get("role"), str):
        message["role"] = delta["role"]
    for name in _TEXTS:
        piece = delta.get(name)
        if isinstance(piece, str) and piece:
            message[name] = message.get(name, "") + piece
            spoke = True
    for part in list_of(delta.get("tool_calls")):
        _merge_tool_call(message.setdefault("tool_calls", {}), mapping_of(part))
        spoke = True
    audio = mapping_of(delta.get("audio"))
    if text_of(audio.get("transcript")):
        message["audio_transcript"] = message.get("audio_transcript", "") + audio["transcript"]
        spoke = True
    return spoke


def _merge_tool_call(calls: dict[int, dict[str, Any]], part: Mapping[str, Any]) -> None:
    call = calls.setdefault(_index(part, len(calls)), {"type": "function", "function": {"name": "", "arguments": ""}})
    for name in ("id", "type"):
        if text_of(part.get(name)):
            call[name] = part[name]
    function = mapping_of(part.get("function"))
    for name in ("name", "arguments"):
        piece = function.get(name)
        if isinstance(piece, str):
            call["function"][name] += piece


def _index(part: Mapping[str, Any], default: int = 0) -> int:
    index = part.get("index")
    return index if isinstance(index, int) else default


def _common(body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "response_id": text_of(body.get("id")),
        "response_model": text_of(body.get("model")),
        "usage": openai_usage(body.get("usage")),
    }


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: value for name, value in message.items() if value is not None and name not in _NOT_OUTPUT}
    return said if said.keys() - {"role"} else {}


def _one_or_all(values: list[Any]) -> Any:
    if not values:
        return None
    return values[0] if len(values) == 1 else values


def _reasons(choices: Sequence[Mapping[str, Any]]) -> list[str]:
    return [reason for choice in choices if (reason := text_of(choice.get("finish_reason")))]
