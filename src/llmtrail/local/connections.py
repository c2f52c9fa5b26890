"""Decide who may hold a connection, and whose is closed for a newcomer. Pure: time is an argument, knows no socket."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

# A connection whose client was silent for less is likely to be used in a moment.
SILENT_S_MIN = 1.0

Connection = TypeVar("Connection", bound=Hashable)


@dataclass(slots=True)
class _Client(Generic[Connection]):
    """One address: how many connections it holds, and those that wait for it, the longest waiting first."""

    open: int = 0
    waiting: dict[Connection, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opened(Generic[Connection]):
    """What became of a newcomer: whether it may stay, and which connection is closed for it."""

    is_taken: bool
    evicted: Connection | None = None


class Connections(Generic[Connection]):
    """All connections of one process, by client address.

    A connection waits while the server has nothing to do for it: idle, or in the middle of sending a request. Where
    there is no room, the one that has waited longest makes room, of the newcomer's own address where that has its
    share, else of the address that holds most. Nobody is turned away by those who only hold connections, nor by those
    who open new ones as fast as theirs are closed: beside an address that holds fewer nobody is too young to make room.
    """

    def __init__(self, total_max: int, client_max: int) -> None:
        """Take how many there may be in total and of one address."""
        self._total_max = total_max
        self._client_max = client_max
        self._total = 0
        self._clients: dict[str, _Client[Connection]] = {}

    @property
    def total(self) -> int:
        """How many are open."""
        return self._total

    def open(self, one: Connection, client: str, now_s: float) -> Opened[Connection]:
        """Count a new connection, which waits from now on; where it may not stay nothing is counted."""
        here = self._clients.get(client)
        crowded = here if here is not None and here.open >= self._client_max else None
        if crowded is None and self._total >= self._total_max:
            crowded = max(self._clients.values(), key=lambda other: other.open)
        evicted = None
        if crowded is not None:
            has_fewer = (0 if here is None else here.open) + 1 < crowded.open
            evicted = _longest_waiting(crowded, now_s if has_fewer else now_s - SILENT_S_MIN)
            if evicted is None:
                return Opened(is_taken=False)
            del crowded.waiting[evicted]
        here = self._clients.setdefault(client, _Client())
        here.open += 1
        here.waiting[one] = now_s
        self._total += 1
        return Opened(is_taken=True, evicted=evicted)

    def close(self, one: Connection, client: str) -> None:
        """Forget a connection that was counted."""
        here = self._clients[client]
        here.waiting.pop(one, None)
        here.open -= 1
        self._total -= 1
        if not here.open:
            del self._clients[client]

    def wait(self, one: Connection, client: str, now_s: float) -> None:
        """Note that the server waits for this client from now on."""
        waiting = self._clients[client].waiting
        waiting.pop(one, None)
        waiting[one] = now_s

    def work(self, one: Connection, client: str) -> None:
        """Note that the client waits for the server: this connection is not closed for another."""
        self._clients[client].waiting.pop(one, None)


def _longest_waiting(client: _Client[Connection], before_s: float) -> Connection | None:
    for one, since_s in client.waiting.items():
        return one if since_s <= before_s else None
    return None
