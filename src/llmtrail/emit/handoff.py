"""What lies between callers and the background: a queue that callers only append to. Knows nothing of events."""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final

# Together they bound what waits here: 50,000 small calls, or 32 MB of long ones (the outbox holds as much again).
QUEUED_ITEMS_MAX: Final = 50_000
QUEUED_BYTES_MAX: Final = 32 * 1024 * 1024
# However heavy calls were found to be, this many are let in: a burst of a few hundred.
QUEUED_ITEMS_MIN: Final = 500
# What a call is taken to weigh until some were seen.
_FIRST_GUESS_BYTES: Final = 4_096
# How much of what was learnt of weights is kept from batch to batch.
_MEMORY_OF_WEIGHTS: Final = 0.9

# Turns parts into event fields in the background; None records nothing.
Builder = Callable[[Any], Mapping[str, Any] | None]
# Bytes that parts weigh, as a guess or by somebody who can tell; asked in the background.
Weight = int | Callable[[Any], int]
# (builder, parts, started_at_ns, request, weight); a note or a mark has no builder.
Item = tuple[Any, Any, Any, Any, Weight]


class Doorbell:
    """Wakes the background. Unlike an Event it may be rung from a signal handler that interrupts its own `ring`."""

    __slots__ = ("_rings",)

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        """Wake whoever waits, or whoever waits next."""
        self._rings.put(None)

    def wait(self, timeout_s: float) -> None:
        """Wait for a ring, at most `timeout_s` seconds; all rings so far count as one. One thread only."""
        with suppress(Empty):
            self._rings.get(timeout=timeout_s)
            while True:
                self._rings.get_nowait()


class Handoff:
    """The queue, how many it takes, and whether the background sleeps so deeply that a caller must wake it.

    A caller looks at three fields and appends: weighing, counting and learning are the background's.
    """

    __slots__ = ("_learnt_bytes", "_learnt_calls", "is_idle", "items", "items_max", "taken_calls", "wake")

    def __init__(self) -> None:
        self.items: deque[Item] = deque()
        self.items_max = QUEUED_BYTES_MAX // _FIRST_GUESS_BYTES
        self.is_idle = True
        self.wake = Doorbell()
        self.taken_calls = 0
        self._learnt_calls = float(QUEUED_ITEMS_MIN)
        self._learnt_bytes = self._learnt_calls * _FIRST_GUESS_BYTES

    def take(self, items_max: int) -> list[Item]:
        """Return up to `items_max` items, oldest first. One thread only."""
        items = self.items
        taken: list[Item] = []
        while items and len(taken) < items_max:
            item = items.popleft()
            if item[0] is not None:
                self.taken_calls += 1
            taken.append(item)
        return taken

    def learn(self, weights_bytes: list[int]) -> None:
        """Take note of what calls weigh, so that as many are let in as memory is lent for."""
        self._learnt_calls = self._learnt_calls * _MEMORY_OF_WEIGHTS + len(weights_bytes)
        self._learnt_bytes = self._learnt_bytes * _MEMORY_OF_WEIGHTS + sum(weights_bytes)
        fits = int(QUEUED_BYTES_MAX * self._learnt_calls / max(self._learnt_bytes, 1.0))
        self.items_max = min(QUEUED_ITEMS_MAX, max(QUEUED_ITEMS_MIN, fits))

    def calls(self) -> int:
        """Return how many calls wait."""
        return sum(1 for item in self.items.copy() if item[0] is not None)
