"""Read chat completions, completions and embeddings as OpenAI and all who speak its protocol answer them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from llmtrail.core.failure import FailureMode, classify
from llmtrail.core.usage import cost_of
from llmtrail.emit.wrap.error_bodies import error_of
from llmtrail.emit.wrap.found import Assembled, BodyError, Found, list_of, mapping_of, text_of, texts_of
from llmtrail.emit.wrap.usage import counted

DONE = "[DONE]"
# What of a message is no answer: repeated elsewhere, or only decoding noise.
_NOT_OUTPUT = ("tool_calls", "parsed", "logprobs", "provider_specific_fields")
# OpenAI's models that search the web once for each chat completion; https://developers.openai.com/api/docs/pricing
_ALWAYS_SEARCH = ("-search-preview", "-search-api")
_ENVELOPES = ("result", "data")
# Where the parts of a delta that are text accumulate.
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


def read_chat(body: Mapping[str, Any], convention: str | None = None) -> Found:
    """Read the body of a chat completion; `convention` is how its provider counts, where that is known."""
    body = _unwrapped(body)
    choices = [mapping_of(choice) for choice in list_of(body.get("choices"))]
    messages = [said for choice in choices if (said := _message(mapping_of(choice.get("message"))))]
    calls = [dict(call) for choice in choices for call in list_of(mapping_of(choice.get("message")).get("tool_calls"))]
    refused = any(text_of(mapping_of(choice.get("message")).get("refusal")) for choice in choices)
    reasons = _reasons(choices)
    return Found(
        **_common(body, convention) | _failed(body, choices, classify(finish_reasons=reasons, refused=refused)[1]),
        output=_one_or_all(messages),
        tool_calls=calls,
        finish_reasons=reasons,
    )


def read_completion(body: Mapping[str, Any]) -> Found:
    """Read the body of a legacy completion."""
    choices = [mapping_of(choice) for choice in list_of(body.get("choices"))]
    reasons = _reasons(choices)
    texts = [choice.get("text") for choice in choices if isinstance(choice.get("text"), str)]
    return Found(
        **_common(body) | _failed(body, choices, classify(finish_reasons=reasons)[1]),
        output=_one_or_all(texts),
        finish_reasons=reasons,
    )


def read_embeddings(body: Mapping[str, Any]) -> Found:
    """Read the body of an embeddings answer; the vectors themselves are not kept, only how many and how long."""
    rows = list_of(body.get("data"))
    attributes: dict[str, Any] = {"embeddings.count": len(rows)}
    vector = mapping_of(rows[0]).get("embedding") if rows else None
    if isinstance(vector, list):
        attributes["embeddings.dimensions"] = len(vector)
    common = _common(body, convention="embeddings")
    return Found(**common | _failed(body, rows) | {"attributes": attributes | common["attributes"]})


def assemble_chat(events: Sequence[tuple[str | None, Any]]) -> Assembled:
    """Put the chunks of a chat completion together."""
    choices: dict[int, dict[str, Any]] = {}
    first: int | None = None
    for position, choice in _choices(events):
        known = choices.setdefault(_index(choice), {"message": {}})
        if _merge_delta(known["message"], mapping_of(choice.get("delta"))) and first is None:
            first = position
        for name in ("finish_reason", "error"):
            if choice.get(name):
                known[name] = choice[name]
    for known in choices.values():
        calls = known["message"].get("tool_calls")
        if calls:
            known["message"]["tool_calls"] = [calls[place] for place in sorted(calls)]
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
        for name in ("id", "model", "service_tier", "system_fingerprint", "provider"):
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
            if isinstance(message.get(name), list):
                _merge_parts(message, name, [{"type": "text", "text": piece}])
            else:
                message[name] = message.get(name, "") + piece
            spoke = True
        elif isinstance(piece, list) and piece:
            _merge_parts(message, name, piece)
            spoke = True
    for part in list_of(delta.get("tool_calls")):
        _merge_tool_call(message.setdefault("tool_calls", {}), mapping_of(part))
        spoke = True
    audio = mapping_of(delta.get("audio"))
    if text_of(audio.get("transcript")):
        message["audio_transcript"] = message.get("audio_transcript", "") + audio["transcript"]
        spoke = True
    return spoke


def _merge_parts(message: dict[str, Any], name: str, parts: list[Any]) -> None:
    """Add content that comes as a list of parts (Mistral's thinking): parts of one type that follow are one."""
    former = message.get(name)
    known: list[Any] = former if isinstance(former, list) else []
    if isinstance(former, str) and former:
        known = [{"type": "text", "text": former}]
    for part in parts:
        last = known[-1] if known else None
        if isinstance(part, Mapping) and isinstance(last, dict) and part.get("type") == last.get("type"):
            _extend(last, part)
        else:
            known.append(dict(part) if isinstance(part, Mapping) else part)
    message[name] = known


def _extend(known: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        former = known.get(name)
        if name == "type" or value is None:
            continue
        if isinstance(former, str) and isinstance(value, str):
            known[name] = former + value
        elif isinstance(former, list) and isinstance(value, list):
            inner = {name: former}
            _merge_parts(inner, name, value)
            known[name] = inner[name]
        else:
            known[name] = value


def _merge_tool_call(calls: dict[tuple[int, int], dict[str, Any]], part: Mapping[str, Any]) -> None:
    """Add a part to its call. Places are (index, which call of that index): some servers give all calls index 0."""
    has_name = text_of(mapping_of(part.get("function")).get("name")) is not None
    index = _index(part, len(calls) if has_name or not calls else max(calls)[0])
    nth = max((place[1] for place in calls if place[0] == index), default=-1)
    if nth < 0 or _begins_another(calls[index, nth], part):
        nth += 1
        calls[index, nth] = {"type": "function", "function": {"name": "", "arguments": ""}}
    call = calls[index, nth]
    for name in ("id", "type"):
        if (value := _own_text(part.get(name))) is not None:
            call[name] = value
    function = mapping_of(part.get("function"))
    called = function.get("name")
    # Some servers repeat the whole name in every part.
    if isinstance(called, str) and called != call["function"]["name"]:
        call["function"]["name"] += called
    if isinstance(function.get("arguments"), str):
        call["function"]["arguments"] += function["arguments"]
    elif isinstance(function.get("arguments"), Mapping):
        call["function"]["arguments"] = orjson.dumps(function["arguments"]).decode()


def _begins_another(call: Mapping[str, Any], part: Mapping[str, Any]) -> bool:
    """Whether a part with the index of a known call begins another: it names a function, under another id.

    An id alone says nothing: some servers make a new one for every part of the same call.
    """
    name, known = text_of(mapping_of(part.get("function")).get("name")), call["function"]
    if name is None or not known["name"]:
        return False
    id_of_part, id_of_call = _own_text(part.get("id")), text_of(call.get("id"))
    if id_of_part is not None and id_of_call is not None:
        return id_of_part != id_of_call and (name != known["name"] or _is_json(known["arguments"]))
    return name != known["name"] and _is_json(known["arguments"])


def _own_text(value: Any) -> str | None:
    """Return text that says something; some servers write "null" where they have none."""
    text = text_of(value)
    return None if text in ("null", "None") else text


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def _index(part: Mapping[str, Any], default: int = 0) -> int:
    index = part.get("index")
    return index if isinstance(index, int) else default


def _unwrapped(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the answer of a server that puts it into an envelope (Cloudflare's REST interface, Cline)."""
    for name in _ENVELOPES:
        inner = body.get(name)
        if isinstance(inner, Mapping) and "choices" not in body and ("choices" in inner or "usage" in inner):
            return inner
    return body


def _common(body: Mapping[str, Any], convention: str | None = None) -> dict[str, Any]:
    usage = mapping_of(body.get("usage"))
    model = text_of(body.get("model"))
    counts = counted(usage, convention)
    if model is not None and any(part in model for part in _ALWAYS_SEARCH):
        counts.setdefault("web_search_requests", 1)
    return {
        "response_id": text_of(body.get("id")),
        "response_model": model,
        "usage": counts,
        # LiteLLM passes on in the usage how Anthropic served.
        "served": texts_of(
            service_tier=body.get("service_tier") or usage.get("service_tier"),
            speed=usage.get("speed"),
            region=usage.get("inference_geo"),
        ),
        "reported_cost_nanousd": cost_of(usage),
        # Which upstream a router chose.
        "attributes": {"openrouter.provider": body["provider"]} if text_of(body.get("provider")) else {},
    }


def _failed(body: Mapping[str, Any], answers: Sequence[Any], mode: FailureMode | None = None) -> dict[str, Any]:
    """Return the failure fields: in place of its answers, or of one of them, a body may hold an error."""
    error: BodyError | None = error_of(body) if not answers else None
    for choice in answers:
        error = error or (error_of(choice) if isinstance(choice, Mapping) and "error" in choice else None)
    if error is None:
        return {"failure_mode": mode}
    return {
        "failure_mode": error.failure_mode,
        "error": error.message or error.type or "",
        "error_type": error.type,
        "error_status": error.http_status,
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
