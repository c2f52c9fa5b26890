"""What lies between callers and the background: a queue that callers only append to. Knows nothing of events."""

from collections import deque
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, Final

# Together they bound what waits here: 50,000 small calls, or 32 MB of long ones (the outbox holds as much again).
QUEUED_ITEMS_MAX: Final = 50_000
QUEUED_BYTES_MAX: Final = 32 * 1024 * 1024
# However heavy calls were found to be, this much in guessed bytes is let in: a burst of a few hundred.
QUEUED_BYTES_MIN: Final = 1024 * 1024
# How much of what was learnt of weights is kept from batch to batch.
_MEMORY_OF_WEIGHTS: Final = 0.9

# Turns parts into event fields in the background; None records nothing.
Builder = Callable[[Any], Mapping[str, Any] | None]
# (builder, parts, started_at_ns, request, size in bytes); a note or a mark has no builder.
Item = tuple[Any, Any, Any, Any, int]


class Handoff:
    """The queue, its weight, and whether the background sleeps so deeply that a caller must wake it."""

    __slots__ = (
        "_guessed_bytes",
        "_true_bytes",
        "bytes_max",
        "given_bytes",
        "is_idle",
        "items",
        "taken_bytes",
        "wake",
    )

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        # Two counters with one writer each way, no lock: callers add to one (a lost update between two callers only
        # makes the estimate short until the queue is next empty), the background to the other.
        self.given_bytes = 0
        self.taken_bytes = 0
        # In the callers' guessed bytes: less than the true limit where calls weigh more than guessed.
        self.bytes_max = QUEUED_BYTES_MAX
        self._guessed_bytes = self._true_bytes = float(QUEUED_BYTES_MIN)
        self.is_idle = True
        self.wake = Event()

    def take(self, items_max: int) -> list[Item]:
        """Return up to `items_max` items, oldest first. One thread only."""
        items = self.items
        taken: list[Item] = []
        while items and len(taken) < items_max:
            item = items.popleft()
            self.taken_bytes += item[4]
            taken.append(item)
        if not items:
            self.taken_bytes = self.given_bytes
        return taken

    def correct(self, guessed_bytes: int, true_bytes: int) -> None:
        """Take note of what calls guessed at `guessed_bytes` really weighed."""
        self._guessed_bytes = self._guessed_bytes * _MEMORY_OF_WEIGHTS + guessed_bytes
        self._true_bytes = self._true_bytes * _MEMORY_OF_WEIGHTS + true_bytes
        heavier = max(1.0, self._true_bytes / max(self._guessed_bytes, 1.0))
        self.bytes_max = max(QUEUED_BYTES_MIN, int(QUEUED_BYTES_MAX / heavier))

    def calls(self) -> int:
        """Return how many calls wait."""
        return sum(1 for item in self.items.copy() if item[0] is not None)
