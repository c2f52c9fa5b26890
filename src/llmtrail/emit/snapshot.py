"""Shallow copies of what an application passed to its client. Runs on the caller's thread; knows nothing of events."""

from collections.abc import Mapping
from typing import Any, Final

# What one queued call weighs beside its text: tuples, dicts, references. An estimate, for the memory bound only.
OVERHEAD_BYTES: Final = 1_024
# Keywords that hold what agents go on appending to after the call was made.
_GROWING: Final = ("messages", "input")


def snapshot(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Return a copy of a call's keyword arguments and its estimated weight in bytes.

    The message list and each message are copied one level deep; strings and deeper parts are shared.
    """
    copy = dict(arguments)
    size_bytes = OVERHEAD_BYTES
    for name in _GROWING:
        value = copy.get(name)
        if type(value) is list:
            copied = []
            for message in value:
                if type(message) is dict:
                    copied.append(message.copy())
                    content = message.get("content")
                    if type(content) is str:
                        size_bytes += len(content)
                else:
                    copied.append(message)
                    if type(message) is str:
                        size_bytes += len(message)
            copy[name] = copied
        elif type(value) is str:
            size_bytes += len(value)
    return copy, size_bytes
