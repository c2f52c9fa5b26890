"""Shallow copies of what an application passed to its client. Runs on the caller's thread; knows nothing of events."""

from collections.abc import Mapping
from typing import Any, Final

# What one queued call weighs beside its messages, and one message. Flat guesses, since looking at each text costs the
# caller as much as copying it; the encoder tells the queue by how much the guesses are wrong.
CALL_BYTES: Final = 1_024
MESSAGE_BYTES: Final = 1_024
# Keywords that hold what agents go on appending to after the call was made.
_GROWING: Final = ("messages", "input")
_copy_dict: Final = dict[Any, Any].copy


def snapshot(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return a copy of a call's keyword arguments and its estimated weight in bytes.

    The message list and each message are copied one level deep; strings and deeper parts are shared.
    """
    copy = dict(arguments)
    size_bytes = CALL_BYTES
    for name in _GROWING:
        if name in copy:
            value = copy[name]
            if type(value) is list:
                copy[name] = _copied(value)
                size_bytes += len(value) * MESSAGE_BYTES
    return copy, size_bytes


def _copied(messages: list[Any]) -> list[Any]:
    try:
        # One call from C for each message: a third cheaper than a comprehension.
        return list(map(_copy_dict, messages))
    except TypeError:
        return [message.copy() if isinstance(message, dict) else message for message in messages]
