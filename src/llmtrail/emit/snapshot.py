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
    copy = {**arguments}
    name = "messages" if "messages" in copy else "input"
    growing = copy.get(name)
    if type(growing) is not list:
        return copy, CALL_BYTES
    # All in one function, and one call from C for each message: each function more costs a cold cache a microsecond.
    try:
        copy[name] = [*map(_copy_dict, growing)]
    except TypeError:
        copy[name] = [message.copy() if isinstance(message, dict) else message for message in growing]
    return copy, CALL_BYTES + len(growing) * MESSAGE_BYTES
