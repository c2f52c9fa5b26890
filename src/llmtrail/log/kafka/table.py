"""A compacted topic as the table of newest values that it is: read from the start, then followed. Joins no group."""

import os
from collections.abc import Collection, Mapping
from typing import Any, cast

from llmtrail.log.kafka.held import hold, let_go

try:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
except ImportError as error:
    raise ImportError("Kafka needs a driver; install it with: pip install 'llmtrail[kafka]'") from error

ANSWER_S_MAX = 5.0
# The driver says nothing of brokers that are gone: after so long without a record they are asked.
SILENCE_S_MAX = 20.0
_RECORDS_PER_READ = 10_000

_CONSUMER: Mapping[str, Any] = {
    "group.id": "llmtrail.table",  # never joined, never committed
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    # A topic that was made anew begins anew.
    "auto.offset.reset": "earliest",
    "check.crcs": True,
    # As little memory as a table of small values needs: this runs in applications.
    "queued.max.messages.kbytes": 8_192,
    # Only what a transaction made whole.
    "isolation.level": "read_committed",
    "log_level": 0,
}


class TableAwayError(RuntimeError):
    """The topic cannot be read now; the text says why."""


class TopicTable:
    """Reads every partition of a topic. Not for several threads. Raises TableAwayError where nobody tells of it."""

    def __init__(self, client: Mapping[str, str], topic: str, partitions: Collection[int] | None = None) -> None:
        """Open the topic, or some of its partitions."""
        self._topic = topic
        self._silent_s = 0.0
        self.is_caught_up = False  # everything that the topic held when it was opened has been read
        try:
            self._consumer = Consumer({**client, **_CONSUMER})
        except KafkaException as cause:
            raise ValueError(f"Kafka's client does not take its settings: {cause.args[0].str()}") from cause
        # An application may fork, and end at any moment.
        hold(self._consumer)
        self._owner_pid = os.getpid()
        try:
            self._left = self._assign(topic, partitions)
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: float) -> list[tuple[bytes, bytes | None]]:
        """Return records in order, as (key, value); value None deletes. Empty when none came in `timeout_s` seconds."""
        records: list[tuple[bytes, bytes | None]] = []
        try:
            messages = self._consumer.consume(_RECORDS_PER_READ, timeout_s)
        except KafkaException as cause:
            raise TableAwayError(cause.args[0].str()) from cause
        for message in messages:
            error = message.error()
            if error is None:
                records.append((message.key() or b"", message.value()))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the driver's public constant
                self._left.discard(cast("int", message.partition()))
            else:
                raise TableAwayError(error.str())
        self.is_caught_up = not self._left
        self._silent_s = 0.0 if messages else self._silent_s + timeout_s
        if self._silent_s >= SILENCE_S_MAX:
            self._ask()
        return records

    def close(self) -> None:
        """Close the consumer; in a forked child leave the parent's alone."""
        if self._owner_pid == os.getpid():
            self._owner_pid = 0
            self._consumer.close()
            let_go(self._consumer)

    def _ask(self) -> None:
        """See that the brokers are there."""
        self._silent_s = 0.0
        try:
            self._consumer.get_watermark_offsets(TopicPartition(self._topic, 0), timeout=ANSWER_S_MAX)
        except KafkaException as cause:
            raise TableAwayError(cause.args[0].str()) from cause

    def _assign(self, topic: str, wanted: Collection[int] | None) -> set[int]:
        try:
            told = self._consumer.list_topics(topic, timeout=ANSWER_S_MAX).topics[topic]
        except KafkaException as cause:
            raise TableAwayError(cause.args[0].str()) from cause
        if told.error is not None:
            raise TableAwayError(told.error.str())
        partitions = sorted(told.partitions if wanted is None else wanted)
        self._consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        return set(partitions)
