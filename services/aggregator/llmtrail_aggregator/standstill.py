"""Tell a worker that stands still from one that has nothing to do. Pure: time and positions are arguments.

A Faust worker can hang for ever without an error: after a bad recovery, after its broker's trouble, in a rebalance that
never ends. What all of these have in common is that the group's commits stand still while there is something to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

# A topic, without the house's prefix, and a partition of it.
Place = tuple[str, int]

# A worker commits every second, and a slow recovery reports progress of its own.
STILL_S_MAX = 30.0
# Whoever joins may have to wait for the session of a member that was killed, and for that of the next one.
STILL_SESSIONS = 4


@dataclass(frozen=True, slots=True)
class Position:
    """How far the group has committed a partition, and where the partition ends."""

    committed: int
    end: int

    @property
    def lag(self) -> int:
        """Return how many messages are not committed."""
        return max(self.end - max(self.committed, 0), 0)


@dataclass(slots=True)
class Progress:
    """What was last seen to move, and when."""

    since_s: float
    session_s: float = 0.0  # how long the group waits for a member that is gone
    committed: dict[Place, int] = field(default_factory=dict)
    recovery_remaining: int = 0

    def see(
        self, mine: Mapping[Place, Position], group: Mapping[Place, Position], recovery_remaining: int, now_s: float
    ) -> None:
        """Note where the partitions of a worker stand now, and all that its group shares.

        A worker that has none is judged by all of them: one that hangs before it has joined never has any. Where others
        work, their commits move.
        """
        positions = mine or group
        committed = {place: position.committed for place, position in positions.items()}
        lag = sum(position.lag for position in positions.values())
        moved = committed != self.committed or recovery_remaining != self.recovery_remaining
        if moved or not lag:
            self.since_s = now_s
        self.committed, self.recovery_remaining = committed, recovery_remaining

    def see_nothing(self, now_s: float) -> None:
        """Note that the cluster did not tell: no worker is to blame for what it does meanwhile."""
        self.since_s = now_s

    def still_s(self, now_s: float) -> float:
        """Return for how long nothing has moved though there was something to do."""
        return now_s - self.since_s

    def stands_still(self, now_s: float) -> bool:
        """Say whether the worker is to be replaced."""
        return self.still_s(now_s) > max(STILL_S_MAX, STILL_SESSIONS * self.session_s)
