"""All channels' couriers: who carries what, as rules come and go. Decides nothing, and waits for no channel."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmtrail.clock import Clock
from llmtrail.metrics import Metrics
from llmtrail_alerts.channels.port import Channel, ChannelKind, Sender
from llmtrail_alerts.courier import Courier, Surroundings, Writes
from llmtrail_alerts.lane import order
from llmtrail_alerts.outbox import Entry, decode_entry, is_entry_key, recover


@dataclass(frozen=True, slots=True)
class Edges:
    """What delivery needs of the world."""

    journal: Writes
    clock: Clock
    jitter: Callable[[], float]  # 0 to 1; safe from several threads
    metrics: Metrics
    new_sender: Callable[[Channel], Sender]
    on_done: Callable[[Entry], None] = lambda _: None  # told of each entry that is sent or given up; any thread


class Delivery:
    """Takes entries and brings each to its channel."""

    def __init__(self, channels: Mapping[str, Channel], edges: Edges) -> None:
        self._edges = edges
        self._surroundings = Surroundings(
            journal=edges.journal,
            clock=edges.clock,
            jitter=edges.jitter,
            metrics=edges.metrics,
            new_sender=edges.new_sender,
            channels=self._present,
            pass_on=self._pass_on,
            on_done=edges.on_done,
        )
        self._lock = threading.Lock()
        self._channels: dict[str, Channel] = {}
        self._couriers: dict[str, Courier] = {}
        self._retired: list[Courier] = []
        self._orphans: dict[str, Courier] = {}
        self._stopped = False
        self.configure(channels)

    def configure(self, channels: Mapping[str, Channel]) -> None:
        """Take up changed rules: new channels start, changed ones go on with what waits, gone ones give it up."""
        with self._lock:
            former, self._channels = self._channels, dict(channels)
            self._retired = [courier for courier in self._retired if courier.alive()]
            for name, channel in channels.items():
                if name not in self._couriers:
                    self._couriers[name] = _started(channel, self._surroundings)
                elif channel != former[name]:
                    self._couriers[name].change(channel)
            for name in [name for name in self._couriers if name not in channels]:
                courier = self._couriers.pop(name)
                courier.retire()
                self._retired.append(courier)

    def recovered(self, records: Iterable[tuple[str, bytes]]) -> list[Entry]:
        """Return the entries among the journal's records, as they are to be offered after a start."""
        now_ns = self._edges.clock.now_ns()
        found = [recover(decode_entry(value), now_ns) for key, value in records if is_entry_key(key)]
        # Oldest first, so that a newer one ends what it supersedes.
        return sorted(found, key=order)

    def offer(self, entries: Sequence[Entry]) -> None:
        """Send these entries, which the journal holds already. Returns at once."""
        for entry in entries:
            self._pass_on(entry)

    def forget(self, lost: Callable[[Entry], bool]) -> None:
        """Drop the entries that another process sends from now on; the journal is not touched."""
        with self._lock:
            couriers = self._all()
        for courier in couriers:
            courier.forget(lost)

    def waiting(self) -> int:
        """Return how many messages are not yet told."""
        with self._lock:
            couriers = self._all()
        return sum(courier.waiting() for courier in couriers)

    def stop(self, timeout_s: float = 15.0) -> None:
        """Stop every thread, each after the attempt that it is at. What waits is in the journal."""
        with self._lock:
            self._stopped = True
            couriers = self._all()
        for courier in couriers:
            courier.halt()
        deadline_ns = self._edges.clock.monotonic_ns() + int(timeout_s * 1_000_000_000)
        for courier in couriers:
            courier.join(max((deadline_ns - self._edges.clock.monotonic_ns()) / 1_000_000_000, 0.0))

    def _present(self) -> Mapping[str, Channel]:
        with self._lock:
            return self._channels

    def _pass_on(self, entry: Entry) -> None:
        with self._lock:
            courier = self._couriers.get(entry.channel)
            if courier is None and not self._stopped:
                courier = self._orphans.get(entry.channel) or self._new_orphan(entry.channel)
        if courier is not None:
            courier.offer(entry)

    def _new_orphan(self, name: str) -> Courier:
        """Return a courier for what waits for a channel of earlier rules: it gives it up, and tells so."""
        surroundings = replace(self._surroundings, new_sender=_no_sender)
        self._orphans[name] = _started(Channel(name=name, kind=ChannelKind.WEBHOOK), surroundings)
        return self._orphans[name]

    def _all(self) -> list[Courier]:
        return [*self._couriers.values(), *self._retired, *self._orphans.values()]


def _started(channel: Channel, surroundings: Surroundings) -> Courier:
    courier = Courier(channel, surroundings)
    courier.start()
    return courier


def _no_sender(channel: Channel) -> Sender:
    raise ImportError(f"owners.toml names no channel {channel.name!r} any more")
