"""Where our own bugs end: counted, told once, never raised into the application. Knows nothing of clients."""

import logging
from collections import Counter
from threading import Lock
from typing import Final

LOGGER: Final = logging.getLogger("llmtrail")

_lock = Lock()
_swallowed: Counter[str] = Counter()


def swallow(place: str, error: BaseException) -> None:
    """Count an error of our own and log the first one of each place."""
    with _lock:
        _swallowed[place] += 1
        first = _swallowed[place] == 1
    if first:
        LOGGER.warning("llmtrail could not %s; the call itself is unharmed", place, exc_info=error)


def swallowed() -> dict[str, int]:
    """Return how many errors were swallowed, by place."""
    with _lock:
        return dict(_swallowed)
