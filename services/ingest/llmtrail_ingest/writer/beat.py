"""When the ranges of a process's partitions end: at one beat. Knows nothing of what is in them.

Ranges that end together are committed together, and their partials share messages.
A range costs much the same however few calls are in it: commits, and a message for each of up to 64 shards, or a part
in every table. So the beat is as quick as the work between two of them allows, and slows down as there is more of it.
"""

import threading

from llmtrail.clock import Clock

# While little is to be done, nobody waits longer than this.
SHORTEST_S = 0.05
# As long as the work took, the next one is waited for: half of the time is everybody else's. Most of it is waiting for
# brokers and store, so this is far less than half a core.
TIMES = 1
_NS = 1_000_000_000


class Beat:
    """Shared by the cursors of a process; safe from several threads."""

    def __init__(self, clock: Clock, longest_s: float, shortest_s: float = SHORTEST_S) -> None:
        """Take the bounds between which it is, in seconds."""
        self._clock = clock
        self._longest_s, self._shortest_s = longest_s, shortest_s
        self._lock = threading.Lock()
        self._next_ns = 0
        self._took_s = 0.0  # the longest that a range took since the last beat
        self._former_s = 0.0  # and before it

    def wait_s(self) -> float:
        """Return how long a range that has its first call waits for company, in seconds."""
        with self._lock:
            now_ns = self._clock.monotonic_ns()
            if now_ns >= self._next_ns:
                took_s = max(self._took_s, self._former_s)
                self._former_s, self._took_s = self._took_s, 0.0
                rest_s = min(max(self._shortest_s, TIMES * took_s), self._longest_s)
                self._next_ns = now_ns + int(rest_s * _NS)
            return (self._next_ns - now_ns) / _NS

    def took(self, seconds: float) -> None:
        """Take note of how long a range took: to be planned and counted, or to be inserted."""
        with self._lock:
            self._took_s = max(self._took_s, seconds)
