"""Say amounts, times and content in words for people. Pure; knows no terminal."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

_NANOUSD_A_DOLLAR = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Below this, six decimals would round a real cost to nothing.
_TINY_NANOUSD = 10_000
UNKNOWN = "unknown"


def money(nanousd: int | None) -> str:
    """Return dollars with as many decimals as the amount needs; unknown is said, never shown as zero."""
    if nanousd is None:
        return UNKNOWN
    if nanousd == 0:
        return "$0"
    decimals = 9 if abs(nanousd) < _TINY_NANOUSD else 6 if abs(nanousd) < _NANOUSD_A_DOLLAR else 4
    return f"${nanousd / _NANOUSD_A_DOLLAR:,.{decimals}f}"


def duration(milliseconds: float | None) -> str:
    """Return a duration as people say it."""
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1_000:.2f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    return f"{minutes} min {seconds} s"


def moment(epoch_ns: int) -> str:
    """Return a time in UTC with milliseconds."""
    try:
        at = _EPOCH + timedelta(microseconds=epoch_ns // 1_000)
    except OverflowError:
        return f"{epoch_ns} ns"
    return at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1_000:03d} UTC"


def count(number: int | None, singular: str) -> str:
    """Return "1 call", "3 calls" or "unknown calls"."""
    shown = UNKNOWN if number is None else f"{number:,}"
    return f"{shown} {singular}" if number == 1 else f"{shown} {singular}s"


def plain(value: object) -> str:
    """Return any JSON value as text: strings as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def conversation(messages: object) -> list[tuple[str, str]]:
    """Return (role, text) of each message, whatever shape the client or the content policy gave them."""
    if messages is None:
        return []
    if isinstance(messages, Mapping) and "role" in messages:
        return [_message(messages)]
    if not isinstance(messages, list):
        return [("", plain(messages))]
    return [_message(message) for message in messages]


def content_text(content: object) -> str:
    """Return the text of a message's content: a string, or parts of which only text is prose."""
    if content is None:
        return ""
    if isinstance(content, Mapping):
        return _part(content)
    if isinstance(content, Sequence) and not isinstance(content, str):
        return "\n".join(filter(None, (_part(part) for part in content)))
    return plain(content)


def tool_call_text(call: object) -> str:
    """Return a tool call as `name(arguments)`."""
    if not isinstance(call, Mapping):
        return plain(call)
    inner = call.get("function")
    function = inner if isinstance(inner, Mapping) else call
    arguments = function.get("arguments", function.get("input", ""))
    return f"{plain(function.get('name') or 'tool')}({plain(arguments)})"


def _message(message: object) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        return "", plain(message)
    role = plain(message.get("role") or "")
    texts = [content_text(message.get("content", message.get("parts")))]
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        texts += [f"→ {tool_call_text(call)}" for call in calls]
    text = "\n".join(filter(None, texts))
    return role, text or plain(dict(message))


def _part(part: object) -> str:
    if not isinstance(part, Mapping):
        return plain(part)
    kind = part.get("type")
    for name in ("text", "content", "refusal"):
        found: Any = part.get(name)
        if isinstance(found, str):
            return found
    if kind in {"tool_use", "tool_call", "function_call"}:
        return f"→ {tool_call_text(part)}"
    return f"[{plain(kind)}] {plain(dict(part))}" if kind else plain(dict(part))
