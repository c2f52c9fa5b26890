"""Carry one channel's messages to it, on a thread of its own. Decides nothing: outbox and lane do."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from llmtrail.clock import Clock
from llmtrail.log.journal import JournalLostError
from llmtrail.metrics import (
    ALERTS_DELIVERIES,
    ALERTS_DELIVERY_SECONDS,
    ALERTS_OLDEST_WAITING_SECONDS,
    ALERTS_WAITING,
    Metrics,
)
from llmtrail_alerts.channels.port import Answer, Channel, Manners, Outcome, Sender, Sending
from llmtrail_alerts.lane import admit, choose, end_of, heir, superseded
from llmtrail_alerts.outbox import (
    RETRY_AFTER_MAX_S,
    Entry,
    Record,
    State,
    begin,
    dismiss,
    fall_back,
    follow,
    inherit,
    move,
    pause_s,
    record,
    sending,
    settle,
)

_LOG = logging.getLogger(__name__)
_NS = 1_000_000_000
# How long a thread sleeps at most: then it tells again how long its oldest message waits.
_LOOK_S = 1.0
# Between two tries to write what is known, where the journal cannot be written.
_WRITE_AGAIN_S = 1.0


class DeliveryFate(StrEnum):
    """What is counted of messages."""

    SENT = "sent"
    FAILED = "failed"  # one attempt of possibly several
    GIVEN_UP = "given_up"


class Writes(Protocol):
    """The part of the journal that is used here. Safe from several threads."""

    def put(self, records: Sequence[Record]) -> None:
        """Write all records at once and durably, None removing a key; raises JournalLostError where it is lost."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every courier is given."""

    journal: Writes
    clock: Clock
    jitter: Callable[[], float]  # 0 to 1, from the edge; safe from several threads
    metrics: Metrics
    new_sender: Callable[[Channel], Sender]
    channels: Callable[[], Mapping[str, Channel]]  # as they are now
    pass_on: Callable[[Entry], None]  # takes the entry of a fallback, once it is written
    on_done: Callable[[Entry], None]  # is told of each entry that is sent or given up


class Courier:
    """One channel's queue and its thread."""

    def __init__(self, channel: Channel, surroundings: Surroundings) -> None:
        self._channel = channel
        self._new_channel: Channel | None = channel
        self._surroundings = surroundings
        self._sender: Sender = _Broken("not started")
        self._wake = threading.Condition()
        self._entries: dict[str, Entry] = {}  # guarded by _wake, as all below it
        self._ended: list[Entry] = []  # given up before their turn
        self._unwritten: list[Record] = []
        self._handed_on: list[Entry] = []  # for their fallbacks, once that is written
        self._not_before_ns = 0
        self._failures = 0
        self._halted = False
        self._retired = False
        self._news = False
        self._thread = threading.Thread(target=self._run, name=f"llmtrail-alert-{channel.name}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def offer(self, entry: Entry) -> None:
        """Take an entry that the journal holds."""
        channels = self._surroundings.channels()  # before our own lock: whoever holds theirs may want ours
        with self._wake:
            if entry.key in self._entries:
                return  # what is known of it here is newer
            for former in superseded(self._entries.values(), entry):
                del self._entries[former.key]
                entry = self._succeed(entry, former, channels)
            admitted = admit(self._entries, entry)
            if admitted.done:
                self._ended.append(admitted)
            else:
                self._entries[entry.key] = admitted
            self._notify()

    def forget(self, lost: Callable[[Entry], bool]) -> None:
        """Drop the entries that another process sends from now on; the journal is not touched."""
        with self._wake:
            self._entries = {key: entry for key, entry in self._entries.items() if not lost(entry)}
            self._ended = [entry for entry in self._ended if not lost(entry)]

    def change(self, channel: Channel) -> None:
        """Go on with another address, key or kind, after the attempt that is under way."""
        with self._wake:
            self._new_channel = channel
            self._notify()

    def retire(self) -> None:
        """Give up what waits, and end: the channel is not named any more."""
        with self._wake:
            self._retired = True
            self._notify()

    def halt(self) -> None:
        """End after the attempt that is under way; what waits is in the journal."""
        with self._wake:
            self._halted = True
            self._notify()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def alive(self) -> bool:
        """Say whether its thread still works."""
        return self._thread.is_alive()

    def waiting(self) -> int:
        """Return how many messages are not yet told."""
        with self._wake:
            return sum(entry.waits for entry in self._entries.values()) + len(self._ended)

    def turn(self) -> float:
        """Do one thing: write what is left, take up changes, end entries or send a batch. Return seconds to rest.

        Raises what the journal raises when it cannot be written: then the turn is to be done again.
        """
        self._take_up_changes()
        self._write()
        self._tell()
        with self._wake:
            now_ns = self._surroundings.clock.now_ns()
            # A clock that was set back must not silence the channel for as long.
            self._not_before_ns = min(self._not_before_ns, now_ns + int(RETRY_AFTER_MAX_S * _NS))
            choice = choose(
                self._entries.values(), self._sender.manners, now_ns=now_ns, not_before_ns=self._not_before_ns
            )
            ended = [*self._ended, *choice.ended]
            self._ended.clear()
        if ended:
            self._settled(ended)
        elif choice.batch:
            self._send(choice.batch)
        else:
            return _LOOK_S if choice.again_ns is None else min((choice.again_ns - now_ns) / _NS, _LOOK_S)
        return 0.0

    def _run(self) -> None:
        while not self._is_over():
            try:
                rest_s = self.turn()
            except Exception:  # noqa: BLE001 - the loop's edge: a journal that cannot be written now may be later
                _LOG.exception("Channel %s: a turn failed; it is tried again.", self._channel.name)
                rest_s = _WRITE_AGAIN_S
            with self._wake:
                self._wake.wait_for(lambda: self._news or self._halted, rest_s)
                self._news = False
        self._sender.close()

    def _is_over(self) -> bool:
        with self._wake:
            return self._halted or (self._retired and not (self._entries or self._ended or self._unwritten))

    def _notify(self) -> None:
        self._news = True
        self._wake.notify()

    def _take_up_changes(self) -> None:
        with self._wake:
            channel, self._new_channel = self._new_channel, None
            if self._retired:
                self._ended += [dismiss(entry) for entry in self._entries.values()]
                self._entries.clear()
        if channel is not None:
            self._sender.close()
            self._channel = channel
            self._failures, self._not_before_ns = 0, 0
            try:
                self._sender = self._surroundings.new_sender(channel)
            except (ImportError, OSError, ValueError) as error:
                # What is wrong with it stays wrong until somebody changes it: the fallback is told at once.
                self._sender = _Broken(str(error) if isinstance(error, ImportError) else type(error).__name__)

    def _send(self, batch: Sequence[Entry]) -> None:
        manners = self._sender.manners
        begun = [begin(entry) for entry in batch]
        changed = [record(new) for old, new in zip(batch, begun, strict=True) if new is not old]
        try:
            self._put(changed)
        except JournalLostError:
            keys = {entry.key for entry in batch}
            self.forget(lambda entry: entry.key in keys)
            return
        answer = self._sender.send([sending(entry, manners) for entry in begun], self._surroundings.clock.now_ns())
        now_ns, jitter = self._surroundings.clock.now_ns(), self._surroundings.jitter()
        self._pace(answer, manners, now_ns, jitter)
        self._settled(
            [settle(entry, answer, manners, now_ns=now_ns, jitter=jitter, batch=len(begun)) for entry in begun]
        )
        for entry in begun:
            self._count(entry, answer, now_ns)

    def _pace(self, answer: Answer, manners: Manners, now_ns: int, jitter: float) -> None:
        failed = answer.outcome in {Outcome.NOT_DELIVERED, Outcome.UNKNOWN}
        self._failures = self._failures + 1 if failed else 0
        pause = pause_s(self._failures, answer, jitter) if failed else 0.0
        self._not_before_ns = now_ns + int(max(pause, manners.pause_s) * _NS)

    def _settled(self, entries: Sequence[Entry]) -> None:
        """Take up what became of entries, and write it with the entries of their fallbacks."""
        channels = {**self._surroundings.channels(), self._channel.name: self._channel}
        now_ns = self._surroundings.clock.now_ns()
        fallbacks = {entry.key: fall_back(entry, channels, now_ns) for entry in entries}
        with self._wake:
            self._unwritten += [record(entry) for entry in fallbacks.values() if entry]
            self._handed_on += [entry for entry in fallbacks.values() if entry]
            for entry in entries:
                was_held = self._entries.pop(entry.key, None) is not None
                self._hold(move(entry, fallbacks[entry.key]), channels, was_held=was_held)
        for entry in entries:
            if entry.state is State.GIVEN_UP:
                self._lament(entry, fallbacks[entry.key])
            if entry.done:
                self._surroundings.on_done(entry)
        self._write()

    def _hold(self, entry: Entry, channels: Mapping[str, Channel], *, was_held: bool) -> None:
        """Remember an entry after its attempt; where its incident went on meanwhile, what is newer succeeds it."""
        if not was_held and (entry.waits or entry.state is State.KEPT):
            return  # forgotten or succeeded while it was sent
        newer = None
        if entry.state is State.KEPT:
            newer = heir(entry, self._entries.values())
        elif entry.state is State.MOVED:
            newer = end_of(entry, self._entries.values())
        if newer is not None:
            self._entries[newer.key] = self._succeed(newer, entry, channels)
        elif entry.waits or (not entry.done and not admit(self._entries, entry).done):
            self._entries[entry.key] = entry
            self._unwritten.append(record(entry))
        else:
            self._unwritten.append((entry.key, None))

    def _succeed(self, newer: Entry, former: Entry, channels: Mapping[str, Channel]) -> Entry:
        """Return the newer entry with what it takes over from the former, which goes."""
        self._unwritten.append((former.key, None))
        if former.state is State.KEPT:
            newer = inherit(newer, former)
        else:
            newer, copy = follow(newer, former, channels, self._surroundings.clock.now_ns())
            if copy is not None:
                self._unwritten.append(record(copy))
                self._handed_on.append(copy)
        self._unwritten.append(record(newer))
        return newer

    def _write(self) -> None:
        """Write what is known and not yet written; fallbacks start only then."""
        with self._wake:
            records, handed_on = list(self._unwritten), list(self._handed_on)
        count = len(handed_on)  # others may add to both meanwhile
        try:
            self._put(records)
        except JournalLostError:
            handed_on = []  # whoever has the journal now sends them, and all that was to be written
            keys = {key for key, _ in records}
            self.forget(lambda entry: entry.key in keys)
        with self._wake:
            del self._unwritten[: len(records)]
            del self._handed_on[:count]
        for entry in handed_on:
            self._surroundings.pass_on(entry)

    def _put(self, records: Sequence[Record]) -> None:
        if not records:
            return
        try:
            self._surroundings.journal.put(records)
        except JournalLostError:
            _LOG.warning("Channel %s: messages are another process's to send now.", self._channel.name)
            raise

    def _lament(self, entry: Entry, fallback: Entry | None) -> None:
        then = f"{fallback.channel} is told instead." if fallback else "There is no fallback: nobody was told."
        _LOG.error("Channel %s gave up message %s: %s. %s", entry.channel, entry.message.id, entry.detail, then)
        self._surroundings.metrics.count(ALERTS_DELIVERIES, channel=self._channel.name, fate=DeliveryFate.GIVEN_UP)

    def _count(self, entry: Entry, answer: Answer, now_ns: int) -> None:
        metrics, name = self._surroundings.metrics, self._channel.name
        if answer.outcome is not Outcome.DELIVERED:
            metrics.count(ALERTS_DELIVERIES, channel=name, fate=DeliveryFate.FAILED)
        elif entry.state is State.SENDING:
            metrics.count(ALERTS_DELIVERIES, channel=name, fate=DeliveryFate.SENT)
            metrics.observe(ALERTS_DELIVERY_SECONDS, max(now_ns - entry.message.at_ns, 0) / _NS, channel=name)

    def _tell(self) -> None:
        with self._wake:
            created = [entry.created_ns for entry in self._entries.values() if entry.waits]
        age_s = (self._surroundings.clock.now_ns() - min(created)) / _NS if created else 0.0
        self._surroundings.metrics.set(ALERTS_WAITING, len(created), channel=self._channel.name)
        self._surroundings.metrics.set(ALERTS_OLDEST_WAITING_SECONDS, max(age_s, 0.0), channel=self._channel.name)


class _Broken:
    """Stands for a sender that cannot be made: every message is refused, with the reason."""

    manners = Manners()

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Refuse."""
        del batch, now_ns
        return Answer(Outcome.REFUSED, f"the channel cannot be used: {self._reason}")

    def close(self) -> None:
        """Close nothing."""
