"""The last good answers of this process, to be given again where a call is stopped. Knows no client; bounded."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import blake2b
from threading import Lock
from typing import Any, Final

import orjson

from llmtrail.emit.wrap.endpoints import Endpoint
from llmtrail.emit.wrap.found import list_of, mapping_of

# Together they bound what is kept: as many prompts as an application repeats in an hour, in memory nobody misses.
ANSWERS_MAX: Final = 1_000
ANSWERS_BYTES_MAX: Final = 8 * 1024 * 1024
# One answer that is longer than this would push out a hundred others.
ANSWER_BYTES_MAX: Final = 256 * 1024
# What of a request decides what is asked; how it is answered (model, temperature, lengths) does not.
_ASKED: Final = {
    Endpoint.CHAT: ("messages", "tools", "tool_choice", "functions", "response_format", "n"),
    Endpoint.COMPLETIONS: ("prompt", "suffix", "n"),
    # Vectors of one model are no answer for another.
    Endpoint.EMBEDDINGS: ("input", "model", "dimensions", "encoding_format"),
    Endpoint.RESPONSES: (
        *("input", "instructions", "tools", "tool_choice", "text", "prompt"),
        *("previous_response_id", "conversation"),
    ),
    Endpoint.MESSAGES: ("messages", "system", "tools", "tool_choice", "output_config", "output_format", "thinking"),
}

Key = bytes


def answer_key(endpoint: Endpoint, body: Mapping[str, Any], fields: Mapping[str, Any]) -> Key | None:
    """Return what equal questions of one tenant's feature share; None where a question cannot be told as JSON."""
    asked = {name: body[name] for name in _ASKED.get(endpoint, ()) if body.get(name) is not None}
    if not asked:
        return None
    whose = (endpoint.value, fields.get("tenant"), fields.get("feature"))
    try:
        text = orjson.dumps((whose, asked), option=orjson.OPT_SORT_KEYS)
    except (TypeError, ValueError):
        return None
    return blake2b(text, digest_size=16).digest()


class AnswerCache:
    """Bodies of answers by key, the latest used last. For several threads."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Start empty, as new."""
        self._lock = Lock()
        self._answers: OrderedDict[Key, bytes] = OrderedDict()
        self._bytes = 0

    def put(self, key: Key, body: Mapping[str, Any]) -> None:
        """Keep an answer, in place of the oldest where there is no room."""
        text = orjson.dumps(body)
        if len(text) > ANSWER_BYTES_MAX:
            return
        with self._lock:
            self._bytes += len(text) - len(self._answers.pop(key, b""))
            self._answers[key] = text
            while len(self._answers) > ANSWERS_MAX or self._bytes > ANSWERS_BYTES_MAX:
                self._bytes -= len(self._answers.popitem(last=False)[1])

    def get(self, key: Key) -> dict[str, Any] | None:
        """Return the last good answer, or None."""
        with self._lock:
            text = self._answers.get(key)
            if text is None:
                return None
            self._answers.move_to_end(key)
        body: dict[str, Any] = orjson.loads(text)
        return body


def is_whole(endpoint: Endpoint, body: Mapping[str, Any]) -> bool:
    """Say whether a body can be given again: what was put together of a stream may lack its frame."""
    match endpoint:
        case Endpoint.CHAT | Endpoint.COMPLETIONS:
            return bool(list_of(body.get("choices"))) and "id" in body and "model" in body
        case Endpoint.RESPONSES:
            return body.get("status") == "completed"
        case Endpoint.MESSAGES:
            return bool(list_of(body.get("content"))) and body.get("type") == "message"
        case Endpoint.EMBEDDINGS:
            return bool(list_of(body.get("data"))) and bool(mapping_of(body))
        case _:
            return False


# One for the process: what was answered in one client's name is the same in another's.
ANSWERS: Final = AnswerCache()

if hasattr(os, "register_at_fork"):
    # Another thread of the parent may have been in the middle of a change.
    os.register_at_fork(after_in_child=ANSWERS.begin)
