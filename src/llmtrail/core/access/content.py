"""What a look-up leaves out for a bearer without the scope `content`. Pure."""

from collections.abc import Mapping
from typing import Any

REASON = "the token lacks the scope `content`"
# Texts that people wrote, models answered or errors quoted; `attributes` may hold any of them.
_TEXTS = ("input", "messages", "prompt", "output", "tool_calls", "attributes")
_INNER = {"retrieval": ("query", "documents"), "parser": ("value", "error"), "error": ("message",)}


def without_content(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request's document with its texts absent, and why in `content_absent`."""
    calls = [_without_texts(call) for call in document.get("calls", [])]
    return {**document, "calls": calls, "content_absent": REASON}


def _without_texts(call: Mapping[str, Any]) -> dict[str, Any]:
    left = {**call, **{name: None for name in _TEXTS if name in call}}
    for name, texts in _INNER.items():
        left[name] = _emptied(call.get(name), texts)
    left["attempts"] = [
        {**one, "error": _emptied(one.get("error"), _INNER["error"])} for one in call.get("attempts") or ()
    ]
    return left


def _emptied(group: object, names: tuple[str, ...]) -> object:
    return {**group, **dict.fromkeys(names)} if isinstance(group, Mapping) else group
