"""Which provider's format a path speaks, as one value with the four things a server needs. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmtrail.testing.provider import anthropic_messages, openai_chat, openai_responses
from llmtrail.testing.provider.answers import Answer, Question
from llmtrail.testing.provider.dice import Dice
from llmtrail.testing.provider.frames import Frame

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one endpoint reads requests and writes answers."""

    name: str
    id_prefix: str
    question: Callable[[Body, int | None], Question]
    body: Callable[[Answer, Body, str, int], dict[str, Any]]
    frames: Callable[[Answer, Body, str, int], Sequence[Frame]]
    streams: bool = True


def dialect_of(path: str) -> Dialect | None:
    """Return the dialect of a path (Azure's `/openai/deployments/NAME/...` too), or None where there is none."""
    for ending, dialect in _DIALECTS.items():
        if path.endswith(ending):
            return dialect
    return None


def error_body(dialect: Dialect | None, status: int, message: str, request_id: str) -> dict[str, Any]:
    """Return the body of an error as the dialect's provider writes it."""
    if dialect is _ANTHROPIC:
        error = {"type": _ANTHROPIC_ERRORS.get(status, "api_error"), "message": message}
        return {"type": "error", "error": error, "request_id": request_id}
    kind, code = _OPENAI_ERRORS.get(status, ("server_error" if status >= 500 else "invalid_request_error", None))
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _chat_frames(said: Answer, body: Body, answer_id: str, created: int) -> Sequence[Frame]:
    wanted = bool((body.get("stream_options") or {}).get("include_usage"))
    return openai_chat.completion_frames(said, (str(body["model"]), answer_id, created), include_usage=wanted)


def _embeddings(_said: Answer, body: Body, answer_id: str, _created: int) -> dict[str, Any]:
    return openai_chat.embeddings(body, Dice(0, answer_id))


def _no_frames(_said: Answer, _body: Body, _answer_id: str, _created: int) -> Sequence[Frame]:
    return ()


_CHAT = Dialect(
    "chat",
    "chatcmpl-",
    openai_chat.question,
    lambda said, body, answer_id, created: openai_chat.completion(said, str(body["model"]), answer_id, created),
    _chat_frames,
)
_COMPLETIONS = Dialect(
    "completions",
    "cmpl-",
    openai_chat.question,
    lambda said, body, answer_id, created: openai_chat.text_completion(said, str(body["model"]), answer_id, created),
    lambda said, body, answer_id, created: openai_chat.text_completion_frames(
        said, (str(body["model"]), answer_id, created)
    ),
)
_EMBEDDINGS = Dialect("embeddings", "emb-", openai_chat.question, _embeddings, _no_frames, streams=False)
_RESPONSES = Dialect(
    "responses", "resp_", openai_responses.question, openai_responses.response, openai_responses.response_frames
)
_ANTHROPIC = Dialect(
    "messages",
    "msg_",
    anthropic_messages.question,
    lambda said, body, answer_id, _created: anthropic_messages.message(said, str(body["model"]), answer_id),
    lambda said, body, answer_id, _created: anthropic_messages.message_frames(said, str(body["model"]), answer_id),
)

# Longer endings first: `/chat/completions` also ends in `/completions`.
_DIALECTS = {
    "/chat/completions": _CHAT,
    "/completions": _COMPLETIONS,
    "/embeddings": _EMBEDDINGS,
    "/responses": _RESPONSES,
    "/messages": _ANTHROPIC,
}

_OPENAI_ERRORS: dict[int, tuple[str, str | None]] = {
    401: ("invalid_request_error", "invalid_api_key"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
}
_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
