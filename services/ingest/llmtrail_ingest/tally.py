"""Count what became of every event. Knows nothing of who reads the counts."""

from enum import StrEnum
from typing import Protocol


class Fate(StrEnum):
    """What became of an event: in = stored + skipped + rejected + refused, once nothing is under way."""

    RECEIVED = "received"
    ACKNOWLEDGED = "acknowledged"
    STORED = "stored"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    REFUSED = "refused"


class Tally(Protocol):
    """Where fates are counted."""

    def add(self, fate: Fate, reason: str, events: int) -> None:
        """Count `events` events of this fate; `reason` is from a closed set, or "" where none is needed."""


class CountingTally:
    """A tally in memory, for tests and for `doctor`."""

    def __init__(self) -> None:
        self.counts: dict[tuple[Fate, str], int] = {}

    def add(self, fate: Fate, reason: str, events: int) -> None:
        """Count `events` events of this fate."""
        self.counts[fate, reason] = self.counts.get((fate, reason), 0) + events

    def total(self, fate: Fate) -> int:
        """Return the events of this fate over all reasons."""
        return sum(count for (counted, _), count in self.counts.items() if counted is fate)
