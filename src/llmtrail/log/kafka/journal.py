"""A journal in one partition of a compacted topic. Whoever opens it last owns it: a former owner's writes are refused.

The producer's transactional id is the partition's: Kafka gives the newest producer of an id a higher epoch and fences
the others (KIP-98), which no clock and no session decides. Records of one put come whole or not at all.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from llmtrail.log.journal import JournalLostError, Record
from llmtrail.log.kafka.table import TopicTable

try:
    from confluent_kafka import KafkaError, KafkaException, Producer
except ImportError as error:
    raise ImportError("Kafka needs a driver; install it with: pip install 'llmtrail[kafka]'") from error

_LOG = logging.getLogger(__name__)

# A broker that is away for longer fails the put; whoever put tries again.
_ANSWER_S_MAX = 30.0
# An owner that died in the middle of a put holds up readers for this long at most.
_TRANSACTION_MS_MAX = 15_000
# The brokers roll back a transaction that was cut short before they let the next owner in.
_OPEN_S_MAX = 60.0
# A commit that is not answered is asked for again: the brokers know whether it was done.
_COMMITS_MAX = 3
_READ_S = 0.05
# Puts that wait while a transaction is under way share the next one, up to so many records: it costs the same for one.
_TOGETHER_MAX = 10_000

_PRODUCER: Mapping[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "compression.type": "zstd",
    # A decision waits for nobody.
    "linger.ms": 0,
    "transaction.timeout.ms": _TRANSACTION_MS_MAX,
    "message.max.bytes": 8 * 1024 * 1024,
    # A broker that comes back is found within a second; the default grows to ten.
    "reconnect.backoff.max.ms": 1_000,
}
_OF_MEMBERS = frozenset({"session.timeout.ms", "heartbeat.interval.ms"})


@dataclass(slots=True)
class _Put:
    """What one caller wants written in one step, and what became of it."""

    records: Sequence[Record]
    shown: Sequence[Record]
    is_done: bool = False
    failure: Exception | None = None


class KafkaJournal:
    """One partition's journal, owned from `__init__` on. Safe from several threads."""

    def __init__(
        self,
        client: Mapping[str, str],
        topic: str,
        partition: int,
        shown: str = "",
        unread: Callable[[], object] = lambda: None,
    ) -> None:
        """Become the owner; raises KafkaException where the brokers do not answer.

        `shown` is the topic of one partition that everybody reads what is shown from; `unread` counts records whose
        key is no text.
        """
        self._unread = unread
        self._client, self._topic, self._partition, self._shown = client, topic, partition, shown
        self._lock = threading.Lock()
        self._waiting: list[_Put] = []
        self._waiting_lock = threading.Lock()
        self._lost = False
        self._producer = self._opened()

    def load(self) -> Iterable[tuple[str, bytes]]:
        """Return every key with its newest value; raises TableAwayError."""
        table = TopicTable(self._client, self._topic, [self._partition])
        found: dict[str, bytes] = {}
        try:
            while True:
                for raw, value in table.read(_READ_S):
                    try:
                        key = raw.decode()
                    except UnicodeDecodeError:
                        _LOG.warning("%s: %r is no key of a decision and is left out", self._topic, raw[:80])
                        self._unread()
                        continue
                    if value is None:
                        found.pop(key, None)
                    else:
                        found[key] = value
                if table.is_caught_up:
                    return list(found.items())
        finally:
            table.close()

    def put(self, records: Sequence[Record], shown: Sequence[Record] = ()) -> None:
        """Write all records in one step; raises JournalLostError, or KafkaException where it is to be tried again.

        What is shown stands in the same transaction: a former owner can show nothing that is no longer so.
        """
        mine = _Put(records, shown)
        with self._waiting_lock:
            self._waiting.append(mine)
        with self._lock:
            # Whoever was in before may have written ours with theirs.
            while not mine.is_done:
                self._write_all(self._next())
        if mine.failure is not None:
            raise mine.failure

    def close(self) -> None:
        """Let go of it; what was put stays."""
        with self._lock:
            self._lost = True
            self._producer.purge()
            self._producer.flush(1.0)

    def _next(self) -> list[_Put]:
        """Return the puts that wait, in their order, as many as one transaction should hold."""
        with self._waiting_lock:
            count, size = 0, 0
            while count < len(self._waiting) and (not count or size < _TOGETHER_MAX):
                size += len(self._waiting[count].records) + len(self._waiting[count].shown)
                count += 1
            together, self._waiting = self._waiting[:count], self._waiting[count:]
            return together

    def _write_all(self, puts: Sequence[_Put]) -> None:
        try:
            self._write(puts)
        except BaseException:
            # Interrupted half-way: whether it was written nobody here knows, and nobody is to wait for it.
            self._lost = True
            for put in puts:
                if not put.is_done:
                    put.is_done, put.failure = True, JournalLostError("the process ends")
            raise

    def _write(self, puts: Sequence[_Put]) -> None:
        """Write all of these in one step, each by itself where they cannot be written together."""
        failure: Exception | None = None
        try:
            self._check()
            self._begin(puts)
            self._commit()
        except Exception as cause:  # noqa: BLE001 - told to whoever put it
            failure = cause
            # A driver that is broken for good says so to whoever begins, and to all after them.
            self._lost = self._lost or _is_fatal(cause)
        if failure is not None and len(puts) > 1 and not self._lost:
            # One of them may be what Kafka refuses.
            for put in puts:
                self._write([put])
            return
        for put in puts:
            put.is_done, put.failure = True, failure

    def _check(self) -> None:
        if self._lost:
            raise JournalLostError(f"{self._topic}[{self._partition}] has another owner.")

    def _begin(self, puts: Sequence[_Put]) -> None:
        """Send the records, to be seen by nobody before the commit."""
        self._producer.begin_transaction()
        try:
            for put in puts:
                for key, value in put.records:
                    self._produce(self._topic, self._partition, key, value)
                for key, value in put.shown:
                    self._produce(self._shown, 0, key, value)
        except BaseException:
            self._abort()
            raise

    def _commit(self) -> None:
        for _ in range(_COMMITS_MAX):
            try:
                self._producer.commit_transaction(_ANSWER_S_MAX)
            except KafkaException as cause:
                error: KafkaError = cause.args[0]
                if error.txn_requires_abort():
                    self._abort()  # Nothing was written, and the journal is still ours.
                    raise
                if not error.retriable():
                    self._lose(error.str())
            else:
                return
        # Whether it was written only the brokers know: whoever opens the journal next is told.
        self._lose("its brokers do not say whether the last records were written")

    def _produce(self, topic: str, partition: int, key: str, value: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key=key.encode(), partition=partition)
            except BufferError:
                # More at once than the driver holds: some of it has to go first.
                self._producer.poll(_READ_S)
            else:
                self._producer.poll(0)
                return

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(_ANSWER_S_MAX)
        except KafkaException as cause:
            self._lose(cause.args[0].str())

    def _lose(self, why: str) -> NoReturn:
        self._lost = True
        raise JournalLostError(f"{self._topic}[{self._partition}] is to be opened anew: {why}.")

    def _opened(self) -> Producer:
        transactional_id = f"{self._topic}.{self._partition}"
        # The session's settings are those of group members: a producer would warn of each.
        client = {name: value for name, value in self._client.items() if name not in _OF_MEMBERS}
        producer = Producer({**_PRODUCER, **client, "transactional.id": transactional_id}, logger=_LOG)
        producer.init_transactions(_OPEN_S_MAX)
        return producer


def _is_fatal(cause: Exception) -> bool:
    return isinstance(cause, KafkaException) and bool(cause.args[0].fatal())
