"""Shallow copies of what an application passed to its client. Runs on the caller's thread; knows nothing of events."""

from collections.abc import Mapping
from typing import Any, Final

# What one queued call weighs beside its messages, and one message. Flat guesses, since looking at each text costs the
# caller as much as copying it; the encoder tells the queue what calls really weigh.
CALL_BYTES: Final = 1_024
MESSAGE_BYTES: Final = 1_024
_copy_dict: Final = dict[Any, Any].copy


def snapshot(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return a copy of a call's keyword arguments and its estimated weight in bytes.

    The message list and each message are copied one level deep; strings and deeper parts are shared.
    """
    copy = dict(arguments)
    # Written out for both names, since a loop over them costs a caller as much again.
    growing = copy.get("messages")
    if type(growing) is list:
        copy["messages"] = _copied(growing)
        return copy, CALL_BYTES + len(growing) * MESSAGE_BYTES
    growing = copy.get("input")
    if type(growing) is list:
        copy["input"] = _copied(growing)
        return copy, CALL_BYTES + len(growing) * MESSAGE_BYTES
    return copy, CALL_BYTES


def _copied(messages: list[Any]) -> list[Any]:
    try:
        # One call from C for each message: a third cheaper than a comprehension.
        return list(map(_copy_dict, messages))
    except TypeError:
        return [message.copy() if isinstance(message, dict) else message for message in messages]
