"""Time and ids enter the house here, at the edge, and are passed down as arguments."""

import os
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """Return wall time in epoch nanoseconds."""

    def monotonic_ns(self) -> int:
        """Return time that never goes back, in nanoseconds."""


class SystemClock:
    """The machine's own clocks."""

    def now_ns(self) -> int:
        """Return wall time in epoch nanoseconds."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Return time that never goes back, in nanoseconds."""
        return time.monotonic_ns()


def random_bytes(count: int) -> bytes:
    """Return `count` random bytes from the operating system."""
    return os.urandom(count)
