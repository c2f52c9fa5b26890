"""Produce records to Kafka and say when every one is acknowledged. Knows no topic's meaning; needs the driver alone."""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from llmtrail.log.port import Append, LogAwayError, LogClosedError, LogFullError, RecordTooLargeError
from llmtrail.log.rows import RECORD_BYTES_MAX

try:
    from confluent_kafka import KafkaError, KafkaException, Message
    from confluent_kafka import Producer as Driver
except ImportError as error:
    raise ImportError("Kafka needs a driver; install it with: pip install 'llmtrail[kafka]'") from error

_LOG = logging.getLogger(__name__)

# Records that may wait for their acknowledgement; past it a sender is told to come back.
WAITING_RECORDS_MAX = 100_000
WAITING_BYTES_MAX = 64 * 1024 * 1024
# A record that no broker acknowledges within this failed; whoever sent it sends it again, and its id tells.
DELIVERY_MS_MAX = 30_000
_POLL_S = 0.1
_PURGE_S_MAX = 10.0

# Nothing is lost or doubled by the driver itself: measured against frozen brokers.
_SETTINGS: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "max.in.flight.requests.per.connection": 5,
    "linger.ms": 5,
    "compression.type": "zstd",
    # What every client of the topic uses, so that a call's repeats meet on one partition.
    "partitioner": "murmur2_random",
    "queue.buffering.max.messages": WAITING_RECORDS_MAX,
    "queue.buffering.max.kbytes": WAITING_BYTES_MAX // 1024,
    "message.max.bytes": 8 * 1024 * 1024,
    "delivery.timeout.ms": DELIVERY_MS_MAX,
    "socket.keepalive.enable": True,
    # A broker that comes back is found within a second; the default grows to ten.
    "reconnect.backoff.max.ms": 1_000,
}


class KafkaProducer:
    """One producer for the process; safe for use from several threads. `settings` are librdkafka's, and win."""

    def __init__(self, settings: Mapping[str, Any], topic_prefix: str = "") -> None:
        """Connect in the background; `settings` name the brokers (bootstrap.servers)."""
        self._settings = {**_SETTINGS, **settings}
        self._prefix = topic_prefix
        self._lock = threading.Lock()
        self._driver = Driver(self._settings, logger=_LOG)
        self._closed = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="llmtrail-kafka-producer", daemon=True)
        self._poller.start()

    @property
    def is_full(self) -> bool:
        """Say whether so much waits for brokers that nothing more should be taken."""
        return len(self._driver) >= WAITING_RECORDS_MAX * 8 // 10

    def append(self, appends: Sequence[Append], partitions: Sequence[int] | None = None) -> Future[list[int]]:
        """Produce all records; the future gives the lowest offset of each append once every record is acknowledged.

        `partitions` names one partition an append where the keys do not decide. The future fails with the first
        record that failed: with RecordTooLargeError where the broker takes none so large, else with LogAwayError;
        some of the others may have been kept. Raises LogFullError, LogClosedError, and RecordTooLargeError before
        anything is produced.
        """
        largest = max((len(value) for append in appends for value in append.values), default=0)
        if largest > RECORD_BYTES_MAX:
            raise RecordTooLargeError(f"a record of {largest} bytes is over the limit of {RECORD_BYTES_MAX}")
        batch = _Batch(appends)
        for place, append in enumerate(appends):
            to = {} if partitions is None else {"partition": partitions[place]}
            headers = list(append.headers.items()) or None
            told = batch.told(place)
            for key, value in zip(append.keys, append.values, strict=True):
                self._produce(
                    self._prefix + append.topic, value, key=key or None, headers=headers, on_delivery=told, **to
                )
        return batch.future

    def flush(self, timeout_s: float) -> int:
        """Wait until everything is acknowledged or the time is over; return how many records still wait."""
        return int(self._driver.flush(timeout_s))

    def close(self, timeout_s: float = 8.0) -> None:
        """Wait for what is under way and end; later appends raise LogClosedError."""
        self.flush(timeout_s)
        self._closed.set()
        self._poller.join(2 * _POLL_S + 1)

    def _produce(self, topic: str, value: bytes, **how: Any) -> None:
        if self._closed.is_set():
            raise LogClosedError("the producer is closed.")
        driver = self._driver
        try:
            driver.produce(topic, value, **how)
        except BufferError as cause:
            raise LogFullError(f"{len(driver)} records wait for Kafka's brokers; try again later.") from cause
        except KafkaException as cause:
            self._renew(driver, cause.args[0])
            raise LogClosedError(f"Kafka's client failed: {cause.args[0].str()}; it was made anew.") from cause

    def _poll(self) -> None:
        while not self._closed.is_set():
            self._driver.poll(_POLL_S)

    def _renew(self, former: Driver, error: KafkaError) -> None:
        """After a fatal error the driver takes nothing more: what waits in it fails, and a new one takes over."""
        if not error.fatal():
            return
        with self._lock:
            if self._driver is not former:
                return  # Another thread met the same failure first.
            self._driver = Driver(self._settings, logger=_LOG)
        former.purge()
        # Every record that it held is told of here: nobody waits for an answer that never comes.
        former.flush(_PURGE_S_MAX)


class _Batch:
    """The acknowledgements of one append; called back from the polling thread only."""

    def __init__(self, appends: Sequence[Append]) -> None:
        self.future: Future[list[int]] = Future()
        self._left = sum(len(append.values) for append in appends)
        self._offsets = [-1] * len(appends)
        if not self._left:
            self.future.set_result(self._offsets)

    def told(self, place: int) -> Any:
        """Return what is called with the acknowledgement of each record of one append."""

        def acknowledged(error: KafkaError | None, message: Message) -> None:
            self._left -= 1
            if error is not None:
                if not self.future.done():
                    self.future.set_exception(_failure(error))
                return
            offset = message.offset()
            if offset is not None and (self._offsets[place] < 0 or offset < self._offsets[place]):
                self._offsets[place] = offset
            if not self._left and not self.future.done():
                self.future.set_result(self._offsets)

        return acknowledged


def _failure(error: KafkaError) -> Exception:
    if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
        return RecordTooLargeError(f"Kafka's broker takes no record so large: {error.str()}")
    return LogAwayError(f"Kafka's brokers did not acknowledge: {error.str()}")
