"""Deliver records to Kafka one batch at a time, and remember what became of each. Needs Kafka's driver alone.

For an application's own process: it forks, it ends at any moment, and its calls are kept elsewhere until all is
delivered. Knows nothing of events or spools.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from llmtrail.clock import Clock
from llmtrail.log.kafka.held import hold, let_go

try:
    from confluent_kafka import KafkaError, KafkaException, Message, Producer
except ImportError as error:
    raise ImportError(
        "sending to Kafka needs its driver; install it with: pip install 'llmtrail[kafka-sdk]'"
    ) from error

_LOG: Final = logging.getLogger(__name__)

# No report for so long: the brokers are treated as away. The records stay with the driver, which may deliver them yet.
SILENCE_NS_MAX: Final = 2_000_000_000
# What the driver may hold at once: two batches and the largest of records. The rest waits where it is kept anyway.
WAITING_RECORDS_MAX: Final = 2_000
WAITING_BYTES_MAX: Final = 12 * 1024 * 1024
_POLL_S: Final = 0.1

# Measured against frozen brokers: with these nothing is lost and nothing is doubled by the driver.
SETTINGS: Final[Mapping[str, Any]] = {
    "acks": "all",
    "enable.idempotence": True,
    # Whoever keeps the records decides when to stop trying, not the driver.
    "delivery.timeout.ms": 2_147_483_647,
    "max.in.flight.requests.per.connection": 5,
    "linger.ms": 20,
    "compression.type": "zstd",
    # What every client of the topic uses, so that a call's repeats meet on one partition.
    "partitioner": "murmur2_random",
    "queue.buffering.max.kbytes": 65_536,
    "message.max.bytes": 8 * 1024 * 1024,
    "socket.keepalive.enable": True,
    # A broker that comes back is found within a second; the default grows to ten.
    "reconnect.backoff.max.ms": 1_000,
}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record: its value is its identity, so it must hold an id of its own."""

    key: bytes
    value: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Verdict(Enum):
    """What became of a batch."""

    DELIVERED = auto()
    TOO_LARGE = auto()  # at least one of its records is larger than Kafka takes
    LATER = auto()  # not all of it is known to be delivered; offer it again


@dataclass(frozen=True, slots=True)
class Outcome:
    """A verdict, and for LATER the reason: Kafka's name of the error, `silent`, or `queue_full`."""

    verdict: Verdict
    reason: str = ""


class _Fate(Enum):
    WAITING = auto()
    DELIVERED = auto()
    TOO_LARGE = auto()


class Deliveries:
    """Delivers batches to one topic. One thread at a time; in a forked child it connects anew."""

    def __init__(
        self, settings: Mapping[str, Any], topic: str, clock: Clock, connect: Callable[..., Any] = Producer
    ) -> None:
        """Take librdkafka's `settings` (bootstrap.servers at least); nothing happens before `connect`."""
        self._settings = {**SETTINGS, **settings}
        self._topic = topic
        self._clock = clock
        self._connect = connect
        self._driver: Any = None
        self._owner_pid = 0
        self._begin()

    def _begin(self) -> None:
        """Forget everything: what is not known to be delivered is to be sent (again)."""
        self._fates: dict[bytes, _Fate] = {}
        self._waiting_records = 0
        self._waiting_bytes = 0
        self._trouble = ""
        self._is_broken = False
        self._reported_ns = 0

    def connect(self) -> None:
        """Make the driver where there is none. Raises ValueError for settings that it refuses."""
        if self._driver is not None and self._owner_pid == os.getpid():
            return
        # A forked child has the parent's driver, but none of its threads: even to destroy it would wait for them.
        self._driver = None
        self._begin()
        try:
            driver = self._connect(self._settings, logger=_QUIET)
        except (KafkaException, TypeError, ValueError) as error:
            raise ValueError(f"Kafka's client refuses its settings: {_said(error)}") from error
        # Never destroyed but by us: not in a forked child, and not at the interpreter's end, where it could hang.
        hold(driver)
        self._driver = driver
        self._owner_pid = os.getpid()

    def deliver(self, records: Sequence[Outgoing]) -> Outcome:
        """Deliver all of `records` and wait until each is acknowledged, or none was for two seconds.

        Offered again after LATER, records that are still on their way or were delivered are not sent twice.
        Raises ValueError for settings that the driver refuses.
        """
        self.connect()
        self._trouble = ""
        self._driver.poll(0)  # what was reported while nobody waited
        self._reported_ns = self._clock.monotonic_ns()
        full = self._produce_all(records)
        while not self._trouble and self._is_any(records, _Fate.WAITING):
            self._driver.poll(_POLL_S)
            if self._clock.monotonic_ns() - self._reported_ns >= SILENCE_NS_MAX:
                self._trouble = self._trouble or "silent"
        if not self._trouble and not full:
            return self._finish(records)
        outcome = Outcome(Verdict.LATER, self._trouble or "queue_full")
        if self._is_broken:
            # It takes nothing more. The next batch makes a new one, which gets all that was not acknowledged.
            self._give_back()
        return outcome

    def close(self) -> None:
        """Let go of the driver and of what it still holds."""
        self._give_back()

    def _produce_all(self, records: Sequence[Outgoing]) -> bool:
        """Hand over what the driver does not have yet; say whether it had no room for some of it."""
        self._forget_others(records)
        for record in records:
            if record.value in self._fates:
                continue
            size_bytes = len(record.value)
            is_crowded = self._waiting_bytes + size_bytes > WAITING_BYTES_MAX and self._waiting_records > 0
            if is_crowded or self._waiting_records >= WAITING_RECORDS_MAX:
                return True
            try:
                self._driver.produce(
                    self._topic,
                    record.value,
                    key=record.key or None,
                    headers=list(record.headers),
                    on_delivery=self._reporter(record.value),
                )
            except BufferError:
                return True
            except KafkaException as error:
                self._fail(record.value, error.args[0])
                if self._trouble:
                    return False
            else:
                self._fates[record.value] = _Fate.WAITING
                self._waiting_records += 1
                self._waiting_bytes += size_bytes
        return False

    def _reporter(self, value: bytes) -> Callable[[KafkaError | None, Message], None]:
        """Return what the driver calls with the report of one record."""
        fates = self._fates

        def report(error: KafkaError | None, _message: Message) -> None:
            if fates is not self._fates or fates.get(value) is not _Fate.WAITING:
                return  # A former driver's.
            self._waiting_records -= 1
            self._waiting_bytes -= len(value)
            if error is None:
                self._reported_ns = self._clock.monotonic_ns()
                fates[value] = _Fate.DELIVERED
            else:
                self._fail(value, error)

        return report

    def _fail(self, value: bytes, error: KafkaError) -> None:
        """Note that the driver is done with a record that it could not deliver."""
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._fates[value] = _Fate.TOO_LARGE
            return
        self._fates.pop(value, None)
        self._trouble = self._trouble or str(error.name())
        self._is_broken = self._is_broken or error.fatal()

    def _is_any(self, records: Sequence[Outgoing], fate: _Fate) -> bool:
        return any(self._fates.get(record.value) is fate for record in records)

    def _finish(self, records: Sequence[Outgoing]) -> Outcome:
        """Say what became of a batch none of which waits any more; what is delivered is remembered no longer."""
        if not self._is_any(records, _Fate.TOO_LARGE):
            for record in records:
                self._fates.pop(record.value, None)
            return Outcome(Verdict.DELIVERED)
        # The same records come again, in smaller batches; only a lone one that is too large is done with.
        if len(records) == 1:
            self._fates.pop(records[0].value, None)
        return Outcome(Verdict.TOO_LARGE)

    def _forget_others(self, records: Sequence[Outgoing]) -> None:
        """Bound what is remembered: of other batches only what is on its way, once there is much of it."""
        if len(self._fates) > WAITING_RECORDS_MAX:
            wanted = {record.value for record in records}
            for value, fate in list(self._fates.items()):
                if fate is not _Fate.WAITING and value not in wanted:
                    del self._fates[value]

    def _give_back(self) -> None:
        driver, self._driver = self._driver, None
        self._begin()
        if driver is not None and self._owner_pid == os.getpid():
            driver.purge(blocking=False)
            driver.poll(0)
            let_go(driver)


class _Quiet:
    """Where the driver logs: at debug level, since what matters to an application is told once and counted."""

    def log(self, level: int, message: str, *parts: object) -> None:
        """Log what the driver says; its own `level` has three kinds of error for a broker that restarts."""
        _LOG.debug("%d " + message, level, *parts)


_QUIET: Final = _Quiet()


def _said(error: Exception) -> str:
    cause = error.args[0] if error.args else error
    return str(cause.str() if isinstance(cause, KafkaError) else cause)
