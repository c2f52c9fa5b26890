"""Writers over a real Kafka for tests: topics of their own, a sink in memory that remembers every token."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from confluent_kafka import Producer

from kafka_here import fresh_prefix
from llmtrail.clock import SystemClock
from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.group import GroupReader, GroupSettings
from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.port import CALLS
from llmtrail.log.topic_diff import Changes
from llmtrail.log.topics import read_topics, scaled
from llmtrail.schemas import schema_folder
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall
from llmtrail_ingest.pricebook import load_pricebook
from llmtrail_ingest.tally import CountingTally
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts

GROUP = "rows"


@dataclass
class RememberingSink:
    """Keeps rows by call; a token again adds nothing, as the engine does. `broken` makes every insert fail."""

    rows: dict[tuple[str, int], CallRow] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    letters: dict[tuple[int, int], DeadLetterRow] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    broken: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        with self.lock:
            self.tried.append(token)
            if self.broken.is_set():
                raise ConnectionError("the store is away")
            if token not in self.tokens:
                self.tokens.append(token)
                self.rows |= {(row.tenant, row.call_key): row for row in rows}

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        del token
        with self.lock:
            self.letters |= {(letter.partition, letter.offset): letter for letter in letters}

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        with self.lock:
            return known_calls(self.rows.values(), call_keys)

    def newest_made_ms(self, before_ms: int) -> int | None:
        with self.lock:
            made = [key >> 80 for _, key in self.rows if key >> 80 < before_ms]
        return max(made, default=None)

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        with self.lock:
            return sorted({key for _, key in self.rows if key >> 80 > after_ms}, reverse=True)[:ids_max]

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        with self.lock:
            return sum(1 for row in rows if (row.tenant, row.call_key) not in self.rows)


def known_calls(rows: Iterable[CallRow], call_keys: Sequence[int]) -> dict[int, tuple[KnownCall, ...]]:
    """Return what the store would tell of these ids."""
    wanted = set(call_keys)
    found: dict[int, tuple[KnownCall, ...]] = {}
    for row in rows:
        if row.call_key in wanted:
            found[row.call_key] = (*found.get(row.call_key, ()), known_call(row))
    return found


def known_call(row: CallRow) -> KnownCall:
    """Return what the store would tell of a row."""
    names = set(KnownCall.__struct_fields__) - {"revision"}
    return KnownCall(revision=row.call.revision, **{name: getattr(row, name) for name in names})


@dataclass
class Trail:
    """`llm.calls` of one test, with what produces to it and what reads it."""

    servers: str
    prefix: str
    partitions: int

    @property
    def client(self) -> dict[str, str]:
        return {"bootstrap.servers": self.servers}

    @property
    def topic(self) -> str:
        return self.prefix + CALLS

    def create(self, *names: str) -> None:
        """Make the topics of these names on the cluster; without a name, all of them."""
        topics = scaled(read_topics(schema_folder()), replication=1, prefix=self.prefix, partitions=self.partitions)
        wanted = tuple(topic for topic in topics if not names or topic.name in names)
        KafkaAdmin(self.client).apply(Changes(create=wanted))

    def produce(self, events: Sequence[tuple[bytes, bytes]], settings: Mapping[str, object] | None = None) -> None:
        """Produce (key, value) pairs and wait until the broker has them."""
        producer = Producer({**self.client, "partitioner": "murmur2_random", "acks": "all", **(settings or {})})
        for key, value in events:
            producer.produce(self.topic, value, key=key)
        assert producer.flush(30) == 0

    def reader(
        self, sink: RememberingSink, *, batch_ms: int = 20, batch_rows: int = 10_000, tally: CountingTally | None = None
    ) -> GroupReader:
        book = load_pricebook(None)
        config = WriterConfig(batch_rows=batch_rows, batch_ms=batch_ms, group=GROUP)
        counts = tally or CountingTally()

        def writer(log: PartitionLog, partition: int) -> Writer:
            parts = WriterParts(log=log, sink=sink, book=lambda _: book, tally=counts, clock=SystemClock())
            return Writer(parts, replace(config), partition)

        return GroupReader(GroupSettings(self.client, GROUP, CALLS, self.prefix), writer)


def fresh_trail(servers: str, partitions: int = 2) -> Trail:
    """Make the topics of a test."""
    trail = Trail(servers, fresh_prefix(), partitions)
    trail.create()
    return trail


def running(reader: GroupReader) -> Callable[[], bool]:
    """Return whether the reader has its partitions."""
    return lambda: bool(reader.partitions())
