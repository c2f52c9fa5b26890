"""What slots have gained since somebody last looked, for those who keep sums of their own. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from llmtrail.core.scope import SHARDS
from llmtrail.core.slot import SlotKey

# Gains that wait for somebody who does not take them: each holds a former slot. Beyond a minute's all is summed anew.
GAINS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Gain:
    """What a slot held when it was last looked at, None where it was not there, and what it holds by now."""

    key: SlotKey
    former: bytes | None
    latest: bytes


@dataclass(frozen=True, slots=True)
class Gained:
    """What is new. Of the shards that are `unclear` anything may be."""

    generation: int
    gains: list[Gain]
    unclear: frozenset[int]


@dataclass(slots=True, eq=False, weakref_slot=True)
class Follower:
    """What somebody has not yet taken who is told of each gain."""

    open: dict[SlotKey, Gain] = field(default_factory=dict)
    closed: list[Gain] = field(default_factory=list)  # their slots were rolled up since
    unclear: set[int] = field(default_factory=set)

    def gain(self, key: SlotKey, former: bytes | None, latest: bytes) -> None:
        """Take note of what a slot gained."""
        if len(self.open) + len(self.closed) >= GAINS_MAX:
            self.lose(range(SHARDS))
        pending = self.open.get(key)
        self.open[key] = Gain(key, former if pending is None else pending.former, latest)

    def close(self, key: SlotKey) -> None:
        """Take note that a slot was rolled up, or that others were rolled up into it."""
        if key in self.open:
            self.closed.append(self.open.pop(key))

    def lose(self, shards: Iterable[int]) -> None:
        """Take note that nobody can tell what was gained."""
        self.unclear.update(shards)
        self.open = {key: gain for key, gain in self.open.items() if key.shard not in self.unclear}
        self.closed = [gain for gain in self.closed if gain.key.shard not in self.unclear]
