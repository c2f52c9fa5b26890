"""Send the partials of several cursors together: those of one shard in one message. Decides nothing about them."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from llmtrail.core.partial import Partial, encode_partials
from llmtrail.log.port import PARTIALS, Append

# Cursors whose ranges end at one beat are done with them about so far from each other.
COMPANY_S = 0.02
# Longer than any broker should take; whoever sent begins anew from its last commit.
PUBLISH_S_MAX = 30.0
# Shards' messages stay far below what a broker takes; a range's own partial is as large as it is.
CELLS_MAX = 2_000
_HEADERS = {"schema": "partial.v1"}


class Producer(Protocol):
    """Where partials go."""

    def append(self, appends: Sequence[Append], partitions: Sequence[int] | None = None) -> Future[list[int]]:
        """Produce all records; the future is done when every one is acknowledged, or failed."""


@dataclass(slots=True)
class _Sent:
    """What one cursor wants sent."""

    partials: Sequence[Partial]
    done: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None


class Outlet:
    """Shared by the cursors of a process. Each waits until its own partials are durable, so they come in its order."""

    def __init__(self, producer: Producer, partitions: int, company_s: float = COMPANY_S) -> None:
        self._producer = producer
        self._partitions = partitions
        self._company_s = company_s
        self._lock = threading.Lock()
        self._waiting: list[_Sent] = []
        self._pause = threading.Event()

    def send(self, partials: Sequence[Partial]) -> None:
        """Send the partials of one range; durable when it returns. Raises what the brokers answered."""
        mine = _Sent(partials)
        with self._lock:
            self._waiting.append(mine)
            leads = len(self._waiting) == 1
        if leads:
            # Whoever comes first sends for all that come while it waits.
            self._pause.wait(self._company_s)
            with self._lock:
                together, self._waiting = self._waiting, []
            self._send_all(together)
        if not mine.done.wait(2 * PUBLISH_S_MAX):
            raise TimeoutError("the partials were not sent in time.")
        if mine.failure is not None:
            raise mine.failure

    def _send_all(self, together: Sequence[_Sent]) -> None:
        failure: Exception | None = None
        try:
            messages = messages_of([partial for sent in together for partial in sent.partials])
            appends = [
                Append(PARTIALS, [encode_partials(message)], [str(message[0].shard).encode()], _HEADERS)
                for message in messages
            ]
            shards = [message[0].shard % self._partitions for message in messages]
            self._producer.append(appends, shards).result(PUBLISH_S_MAX)
        except Exception as cause:  # noqa: BLE001 - told to every cursor that waits, each of which starts over.
            failure = cause
        for sent in together:
            sent.failure = failure
            sent.done.set()


def messages_of(partials: Sequence[Partial]) -> list[list[Partial]]:
    """Return partials by shard, those of one shard in their order and in as few messages as they fit in. Pure."""
    found: list[list[Partial]] = []
    last: dict[int, tuple[list[Partial], int]] = {}
    for partial in sorted(partials, key=lambda one: one.shard):
        cells = _cells_of(partial)
        message, size = last.get(partial.shard, ([], 0))
        if not message or size + cells > CELLS_MAX:
            message, size = [], 0
            found.append(message)
        message.append(partial)
        last[partial.shard] = message, size + cells
    return found


def _cells_of(partial: Partial) -> int:
    return sum(map(len, partial.slots.values())) + sum(map(len, partial.hitters.values()))
