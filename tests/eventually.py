"""Wait for a level, never for an edge: the only waiting that tests do."""

import time
from collections.abc import Callable

_PAUSE_S = 0.01


def eventually(predicate: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return as soon as `predicate` holds; raise AssertionError when it does not within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        if time.monotonic() > deadline:
            name = getattr(predicate, "__qualname__", repr(predicate))
            raise AssertionError(f"not within {timeout_s} s: {name}")
        time.sleep(_PAUSE_S)
