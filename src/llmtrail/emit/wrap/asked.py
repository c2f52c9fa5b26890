"""Split the body of a request into what was asked (content) and how (parameters). Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from llmtrail.core.call import NAME_LENGTH_MAX
from llmtrail.emit.wrap.endpoints import Endpoint
from llmtrail.emit.wrap.found import list_of, mapping_of, text_of

# Fields that are the event's own; everything else a caller sends is a parameter.
_CONTENT = {
    Endpoint.CHAT: {"messages"},
    Endpoint.COMPLETIONS: {"prompt"},
    Endpoint.EMBEDDINGS: {"input"},
    Endpoint.RESPONSES: {"input", "instructions"},
    Endpoint.MESSAGES: {"messages", "system"},
    Endpoint.COMPACTIONS: {"input", "instructions"},
    Endpoint.DECISIONS: {"input"},
    Endpoint.IMAGES: {"prompt"},
    Endpoint.IMAGE_EDITS: {"prompt", "image", "mask"},
    Endpoint.TRANSCRIPTIONS: {"prompt", "file"},
    Endpoint.TRANSLATIONS: {"prompt", "file"},
}
_OWN = {"model", "stream"}
# Credentials that travel in a body (MCP servers, gateways); matched without case.
_SECRET_NAMES = {"api_key", "apikey", "api-key", "authorization", "authorization_token", "headers", "extra_headers"}
SECRET = "[redacted:secret]"  # noqa: S105 - what stands in a secret's place
# Nesting of tool schemas is far below; what is deeper cannot be checked for secrets and is left out.
_DEPTH_MAX = 32


def asked_fields(endpoint: Endpoint, body: Mapping[str, Any], addressed: str | None = None) -> dict[str, Any]:
    """Return the event's fields that a request tells; `addressed` is the model that its address names, if any."""
    fields: dict[str, Any] = {}
    model = addressed or text_of(body.get("model"))
    if model:
        fields["request_model"] = model[:NAME_LENGTH_MAX]
    match endpoint:
        case Endpoint.CHAT:
            fields["messages"] = body.get("messages")
        case Endpoint.EMBEDDINGS:
            fields["prompt"] = body.get("input")
        case Endpoint.RESPONSES | Endpoint.COMPACTIONS | Endpoint.DECISIONS:
            fields["messages"] = _with_system(body.get("instructions"), _input_messages(body.get("input")))
        case Endpoint.MESSAGES:
            fields["messages"] = _with_system(body.get("system"), list_of(body.get("messages")))
        case _:
            fields["prompt"] = body.get("prompt")
    left = {name: value for name, value in body.items() if name not in _OWN and name not in _CONTENT[endpoint]}
    if left:
        fields["parameters"] = masked(left)
    return {name: value for name, value in fields.items() if value is not None}


def masked(value: Any, depth: int = 0) -> Any:
    """Return JSON with everything that is named like a credential replaced."""
    if depth > _DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        return {
            name: SECRET if str(name).lower() in _SECRET_NAMES and part else masked(part, depth + 1)
            for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(part, depth + 1) for part in value]
    return value


def unsent(body: Any) -> dict[str, Any]:
    """Return what JSON can say of a body that never was sent; the SDKs' markers for "not given" go."""
    fields: dict[str, Any] = {}
    for name, value in mapping_of(body).items():
        if type(value).__name__ in ("Omit", "NotGiven"):
            continue
        try:
            fields[str(name)] = orjson.loads(orjson.dumps(value))
        except (TypeError, ValueError):
            # An iterator, a model, a file: only its kind can be told without consuming it.
            fields[str(name)] = f"<{type(value).__name__}>"
    return fields


def _input_messages(given: Any) -> list[Any]:
    return [{"role": "user", "content": given}] if isinstance(given, str) else list_of(given)


def _with_system(system: Any, messages: list[Any]) -> list[Any]:
    return [{"role": "system", "content": system}, *messages] if system else messages
