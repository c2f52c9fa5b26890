"""Find the error that a body reports, be its HTTP status good or bad. Pure.

Routers and servers answer 200 before they know, and then write an error where an answer was due.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from llmtrail.emit.wrap.found import BodyError, list_of, mapping_of, text_of


def error_of(body: Mapping[str, Any]) -> BodyError | None:
    """Return the error that a body reports, None where it reports none.

    Shapes: `error` as an object or text (OpenAI, Anthropic, OpenRouter, vLLM, Hugging Face), `errors` as a list
    (Cloudflare), `base_resp` (MiniMax), `type: error` with the fields alongside it (OpenAI's responses stream).
    """
    given = body.get("error")
    if isinstance(given, Mapping) and given:
        return _read(given)
    if text := text_of(given):
        return BodyError(text_of(body.get("error_type")) or text_of(body.get("code")), text, None)
    listed = list_of(body.get("errors"))
    if listed and body.get("success") is False:
        return _read(mapping_of(listed[0]))
    reply = mapping_of(body.get("base_resp"))
    if isinstance(reply.get("status_code"), int) and reply["status_code"]:
        return BodyError(str(reply["status_code"]), text_of(reply.get("status_msg")), None)
    if body.get("type") == "error" and (text_of(body.get("message")) or text_of(body.get("code"))):
        return _read({**body, "type": None})
    return None


def error_in(events: Iterable[tuple[str | None, Any]]) -> BodyError | None:
    """Return the first error that a stream's events report."""
    for _, data in events:
        if isinstance(data, Mapping) and ("error" in data or data.get("type") == "error"):
            found = error_of(data)
            if found is not None:
                return found
    return None


def _read(error: Mapping[str, Any]) -> BodyError:
    code = error.get("code")
    status = _status(code) or _status(error.get("status")) or _status(error.get("status_code"))
    # OpenRouter puts the kind into the metadata.
    detail = text_of(mapping_of(error.get("metadata")).get("error_type"))
    kind = text_of(code) or text_of(error.get("type")) or text_of(error.get("status")) or detail
    message = text_of(error.get("message")) or text_of(error.get("msg")) or text_of(error.get("code"))
    return BodyError(None if kind is not None and kind.isdigit() else kind, message, status)


def _status(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599 else None
