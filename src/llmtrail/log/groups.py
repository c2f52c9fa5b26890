"""What each group has begun and finished, and who waits for what. Knows nothing of where records are kept."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmtrail.log.port import Plan


def only_partition(partition: int) -> None:
    """Raise ValueError for any partition but 0: in one process one partition is enough."""
    if partition != 0:
        raise ValueError(f"this log has one partition, 0; there is no partition {partition}")


@dataclass(slots=True)
class Groups:
    """The groups' cursors and plans, by (group, topic)."""

    cursors: dict[tuple[str, str], int] = field(default_factory=dict)
    plans: dict[tuple[str, str], list[Plan]] = field(default_factory=dict)

    def plan(self, group: str, topic: str, plans: Sequence[Plan]) -> None:
        """Replace the group's plans; nothing changes where no partition is named."""
        if plans:
            self.plans[group, topic] = sorted(plans, key=lambda plan: plan.first_offset)

    def commit(self, group: str, topic: str, next_offset: int) -> None:
        """Move the group's cursor forward, never back, and drop the plans below it."""
        cursor = max(next_offset, self.cursors.get((group, topic), 0))
        self.cursors[group, topic] = cursor
        left = [plan for plan in self.plans.get((group, topic), []) if plan.next_offset > cursor]
        if left:
            self.plans[group, topic] = left
        else:
            self.plans.pop((group, topic), None)

    def done_by_all(self, topic: str) -> int | None:
        """Return the offset below which every known group is done, or None where no group is known."""
        known = {group for group, of in (*self.cursors, *self.plans) if of == topic}
        return min((self.cursors.get((group, topic), 0) for group in known), default=None)

    def copy(self) -> "Groups":
        """Return a copy that may change without the original."""
        return Groups(dict(self.cursors), dict(self.plans))


def check_plans(plans: Sequence[Plan], end: int) -> None:
    """Raise ValueError for a plan that names no range of what is kept."""
    for plan in plans:
        only_partition(plan.partition)
        if not 0 <= plan.first_offset <= plan.next_offset <= end:
            raise ValueError(f"a plan of {plan.first_offset} to {plan.next_offset} is no range below the end, {end}")


@dataclass(slots=True)
class Waiters:
    """Those who wait for an offset, woken only when it is there: a busy log would wake them for nothing else."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: list[tuple[str, int, threading.Event]] = field(default_factory=list)

    def add(self, topic: str, offset: int) -> threading.Event:
        """Return an event that is set once the topic's end is past `offset`, or the log closes."""
        event = threading.Event()
        with self._lock:
            self._waiting.append((topic, offset, event))
        return event

    def remove(self, event: threading.Event) -> None:
        """Forget a waiter."""
        with self._lock:
            self._waiting = [waiter for waiter in self._waiting if waiter[2] is not event]

    def tell(self, topic: str, end: int) -> None:
        """Wake who waits for an offset below `end`."""
        with self._lock:
            for of, offset, event in self._waiting:
                if of == topic and offset < end:
                    event.set()

    def tell_all(self) -> None:
        """Wake everybody, because the log closes."""
        with self._lock:
            for _, _, event in self._waiting:
                event.set()
