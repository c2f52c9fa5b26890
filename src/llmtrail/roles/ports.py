"""The rooms' ports over Kafka: how the gateway appends, where rows and dead letters go, one partition of spans."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.port import SPANS, Append, Plan, Records, RecordTooLargeError
from llmtrail.log.rows import RECORD_BYTES_MAX
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall
from llmtrail_ingest.dead_letter import letters_append, origin_letter
from llmtrail_ingest.writer.pipeline import Sink

# Brokers that do not acknowledge within this are away; what was not acknowledged is sent again by its sender.
APPEND_S_MAX = 30.0


class Producer(Protocol):
    """Kafka as a writer of records needs it."""

    def append(self, appends: Sequence[Append]) -> Future[list[int]]:
        """Produce all records; the future is done when every one is acknowledged, or failed."""


class KafkaAppender:
    """The log for the gateway's event loop."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append; durable when this returns. The records' time is the broker's."""
        del now_ns
        return await asyncio.wrap_future(self._producer.append(appends))


class LettersToLog:
    """A sink whose dead letters go onto their topic; whoever reads it brings them into the table.

    One that no record holds goes into the table at once: what a producer compressed may be longer than a record, and
    the brokers' own bound may be lower than ours.
    """

    def __init__(self, sink: Sink, producer: Producer) -> None:
        self._sink = sink
        self._producer = producer

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        """Insert all rows of one range; the same token again adds nothing."""
        self._sink.insert_calls(rows, token)

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Append letters that tell their own place: once more of the same letter is the same row."""
        told = [letters_append([origin_letter(letter)], dict(letter.headers)) for letter in letters]
        too_large = [letter for letter, append in zip(letters, told, strict=True) if _bytes(append) > RECORD_BYTES_MAX]
        kept = [append for append in told if _bytes(append) <= RECORD_BYTES_MAX]
        try:
            self._producer.append(kept).result(APPEND_S_MAX)
        except RecordTooLargeError:
            # The brokers do not say of which: a letter that stands on its topic as well replaces itself in the table.
            too_large = list(letters)
        if too_large:
            self._sink.insert_dead_letters(too_large, token)

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        """Return what is stored of these calls, latest revision each."""
        return self._sink.known_calls(call_keys)

    def newest_made_ms(self, before_ms: int) -> int | None:
        """Return a time after which no UUIDv7 of the store was made, leaving out those from `before_ms` on."""
        return self._sink.newest_made_ms(before_ms)

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        """Return the stored calls whose UUIDv7 claims to be made after a time, the latest first."""
        return self._sink.ahead_of(after_ms, ids_max)

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        """Count the rows that are in the store neither as they are nor in a later revision."""
        return self._sink.missing_rows(rows)


def _bytes(append: Append) -> int:
    texts = (*append.headers.keys(), *append.headers.values())
    return sum(map(len, append.values)) + sum(map(len, append.keys)) + sum(len(text.encode()) for text in texts)


class SpansLog:
    """One partition of `llm.spans` as a log of one partition, to which settled calls can be appended."""

    def __init__(self, log: PartitionLog, producer: Producer) -> None:
        self._log = log
        self._producer = producer

    def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append all of `appends`; return the first offset of each."""
        del now_ns
        return self._producer.append(appends).result(APPEND_S_MAX)

    def read(self, topic: str, partition: int, offset: int, records_max: int, bytes_max: int) -> Records:
        """Return records from `offset` on."""
        return replace(self._log.read(topic, partition, offset, records_max, bytes_max), partition=0)

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until a record at `offset` exists or the time is over; say whether it exists."""
        return self._log.wait(topic, partition, offset, timeout_s)

    def end(self, topic: str, partition: int) -> int:
        """Return the offset after the last record."""
        return self._log.end(topic, partition)

    def start(self, topic: str, partition: int) -> int:
        """Return the offset of the first record that is read again."""
        return self._log.start(topic, partition)

    def topic_id(self, topic: str) -> str:
        """Return the topic's own id."""
        return self._log.topic_id(topic)

    def partitions(self, topic: str) -> int:
        """Return 1 for spans; calls of other senders are not seen here."""
        return 1 if topic == SPANS else 0

    def plan(self, group: str, topic: str, plans: Sequence[Plan]) -> None:
        """Make ranges in flight durable."""
        self._log.plan(group, topic, plans)

    def plans(self, group: str, topic: str) -> list[Plan]:
        """Return the ranges in flight."""
        return self._log.plans(group, topic)

    def commit(self, group: str, topic: str, partition: int, next_offset: int) -> None:
        """Make durable that every record before `next_offset` is done."""
        self._log.commit(group, topic, partition, next_offset)

    def committed(self, group: str, topic: str, partition: int) -> int:
        """Return the group's committed offset."""
        return self._log.committed(group, topic, partition)

    def trim(self, topic: str, partition: int, before_offset: int) -> int:
        """Change nothing: the broker trims by its own rules."""
        del topic, partition, before_offset
        return 0

    def close(self) -> None:
        """Change nothing: the group owns the partition."""
