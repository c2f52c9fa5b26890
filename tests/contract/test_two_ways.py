"""One recorded log, embedded and over Kafka: equal rows, equal slots, equal counters."""

import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, TopicPartition

from eventually import eventually
from kafka_here import Kafka
from kafka_writers import RememberingSink, Trail, fresh_trail
from llmtrail.clock import SystemClock
from llmtrail.core.board import Board
from llmtrail.core.board_document import document, question_of
from llmtrail.core.cell import Cell
from llmtrail.core.ids import uuid7
from llmtrail.core.minutes import QUARTER_SETTLE_S, MinuteBook
from llmtrail.core.partial import decode_partials
from llmtrail.core.scope import CALL_KINDS, HITTER_KINDS
from llmtrail.core.slot import SlotKey, decode_slot
from llmtrail.core.window import Window
from llmtrail.local.sink import MinuteSink
from llmtrail.local.statistics import LocalStatistics
from llmtrail.log.kafka.group import GroupReader, GroupSettings
from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.kafka.producer import KafkaProducer
from llmtrail.log.memory import MemoryLog
from llmtrail.log.port import CALLS, PARTIALS, Append, GroupLog
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.migrate import migrate
from llmtrail.store.rows import CallRow
from llmtrail_aggregator.fold import apply_all
from llmtrail_aggregator.minutes import MinuteWriter
from llmtrail_aggregator.shelf import Shelf
from llmtrail_ingest.pricebook import load_pricebook
from llmtrail_ingest.statistics.cursor import GROUP, IN_FLIGHT, PartialsSink, Publishing, StatisticsCursor
from llmtrail_ingest.statistics.known import CountedCalls
from llmtrail_ingest.statistics.outlet import Outlet
from llmtrail_ingest.tally import CountingTally, Fate
from llmtrail_ingest.writer.pipeline import Sink, Writer, WriterConfig, WriterParts
from llmtrail_ingest.writer.step import Batch

NS = 1_000_000_000
ZONES = ("UTC", "Asia/Kolkata")
SETTLED_S_MAX = 40.0
Event = tuple[bytes, bytes]
# Which requests are let go of as too light depends on who came together; what these tell is exact.
KINDS = [kind for kind in CALL_KINDS if kind not in HITTER_KINDS]
# What a row says of the log it came by, and when: two logs differ in it.
OF_THE_LOG = ("topic_id", "partition", "offset", "ingested_at_ns", "first_ingested_at_ns")


def recorded(seed: int, now_ns: int, calls: int = 400) -> list[Event]:
    """Return a log with everything in it: repeats near and far, conflicts, revisions, bad events, late ones."""
    rng = random.Random(seed)
    log: list[Event] = []
    for number in range(calls):
        event = {
            "call_id": uuid7(now_ns - rng.randrange(60) * NS + number, rng.randbytes(10)),
            "started_at": now_ns - rng.choice([60, 65, 121, 599, 3_700, 8_000, 90_000]) * NS,
            "request_id": f"r{number % 50}",
            "user_id": rng.choice([None, f"u{rng.randrange(20)}"]),
            "feature": rng.choice([None, "search", "chat"]),
            "provider": "openai",
            "request_model": rng.choice(["gpt-4o-mini", "gpt-4o", "nobody-prices-this"]),
            "usage": {"input_tokens": rng.randrange(1000), "output_tokens": rng.randrange(500)},
            "latency_ms": rng.choice([None, round(min(rng.lognormvariate(6, 1), 50_000), 2)]),
            "retry_count": rng.choice([None, 0, 2]),
            "status": rng.choice(["ok", "ok", "error"]),
            "versions": {"prompt": "v1", "prompt_name": "answer"},
        }
        event = {name: value for name, value in event.items() if value is not None}
        key = str(event["request_id"]).encode()
        value = json.dumps(event).encode()
        log.append((key, value))
        match rng.randrange(12):
            case 0:
                log.append((key, value))
            case 1:
                log.insert(rng.randrange(log.index((key, value)) + 1, len(log) + 1), (key, value))
            case 2:
                log.append((key, json.dumps(event | {"latency_ms": 1.5}).encode()))
            case 3:
                later = event | {"revision": 1, "feature": "later", "latency_ms": 9.25, "status": "ok"}
                log.append((key, json.dumps(later).encode()))
            case 4:
                log.append((key, rng.choice([b"{", b'{"started_at": 1}', b'{"started_at":"x","request_model":"m"}'])))
    return log


def parts_of(log: GroupLog, sink: Sink, tally: CountingTally, count: Callable[[Batch], None]) -> WriterParts:
    book = load_pricebook(None)
    return WriterParts(log, sink, lambda _: book, tally, SystemClock(), count)


class Outcome:
    """What became of a log: rows, slots' cells, counts."""

    def __init__(self, sink: RememberingSink, tally: CountingTally, slots: dict[str, bytes]) -> None:
        self.rows = {key: told(row) for key, row in sink.rows.items()}
        self.letters = sorted((letter.value, letter.reason) for letter in sink.letters.values())
        self.counts = {fate_and_reason: count for fate_and_reason, count in tally.counts.items() if count}
        self.slots = {key: cells_of(value) for key, value in slots.items() if cells_of(value)}
        self.slot_values = dict(slots)
        self.board = Board(ZONES)
        self.board.put(dict(slots))

    def stats(self, now_ns: int) -> list[dict[str, Any]]:
        """Return what `/v1/stats` tells of everything; how new it is depends on when the log took it."""
        questions = [
            question_of({"kind": kind, "window": window, "limit": "1000"}) for kind in KINDS for window in Window
        ]
        return [document(self.board, question, now_ns) | {"as_of": None} for question in questions]


def minutes_of(outcome: Outcome, store: Handle, now_ns: int) -> list[Any]:
    """Return the rows of `stats_minute`; how many ranges a log was read in is another matter."""
    store.command("TRUNCATE TABLE llmtrail.stats_minute_data")
    book = MinuteBook(ZONES[0])
    for key, value in sorted(outcome.slot_values.items()):
        book.take({key: value})
    MinuteWriter(book, MinuteSink(store)).write_due(now_ns // NS + QUARTER_SETTLE_S)
    return list(store.query("SELECT * EXCEPT applied FROM llmtrail.stats_minute ORDER BY ALL"))


def told(row: CallRow) -> CallRow:
    return msgspec.structs.replace(row, **{name: "" if name == "topic_id" else 0 for name in OF_THE_LOG})


def cells_of(value: bytes) -> dict[str, Cell]:
    return decode_slot(value).cells


def embedded(log_of_events: list[Event], folder: Path) -> Outcome:
    log, sink, tally, slots = MemoryLog(), RememberingSink(), CountingTally(), dict[str, bytes | None]()
    statistics = LocalStatistics(folder, ZONES, frozenset({"search"}), slots.update)
    writer = Writer(parts_of(log, sink, tally, statistics.fold), WriterConfig(batch_ms=1, batch_rows=97))
    for key, value in log_of_events:
        log.append([Append(CALLS, [value], [key])], time.time_ns())
    writer.recover()
    while writer.run_once():
        pass
    writer.drain()
    statistics.close()
    return Outcome(sink, tally, {key: value for key, value in slots.items() if value is not None})


def over_kafka(log_of_events: list[Event], trail: Trail) -> Outcome:
    sink, tally = RememberingSink(), CountingTally()
    trail.produce(log_of_events)
    rows = trail.reader(sink, batch_rows=61, tally=tally)
    statistics = statistics_of(trail)
    for reader in (rows, statistics):
        reader.start()
    try:
        eventually(lambda: done(rows) and done(statistics), SETTLED_S_MAX)
    finally:
        rows.stop()
        statistics.stop()
    return Outcome(sink, tally, folded(trail))


def done(reader: GroupReader) -> bool:
    return len(reader.partitions()) > 0 and not sum(reader.lags().values())


def statistics_of(trail: Trail) -> GroupReader:
    publishing = Publishing(
        Outlet(KafkaProducer(trail.client, trail.prefix), trail.partitions), lambda: frozenset({"search"})
    )
    config = WriterConfig(batch_rows=73, batch_ms=20, in_flight=IN_FLIGHT, group=GROUP)

    def cursor(log: PartitionLog, partition: int) -> StatisticsCursor:
        counted = CountedCalls(50_000)
        sink = PartialsSink(publishing, counted)
        writer = Writer(parts_of(log, sink, CountingTally(), sink.publish), config, partition)
        return StatisticsCursor(log, partition, writer, counted, load_pricebook(None))

    return GroupReader(GroupSettings(trail.client, GROUP, CALLS, trail.prefix), cursor)


def folded(trail: Trail) -> dict[str, bytes]:
    """Fold every partial of the topic, as a worker does."""
    table: dict[str, bytes] = {}
    shelf = Shelf(table)
    for value in partials(trail):
        for key, slot in apply_all(shelf, decode_partials(value), ZONES).writes:
            if slot is None:
                shelf.delete(key)
            else:
                shelf.put(key, slot)
    assert all(SlotKey.parse(key).text() == key for key in table)
    return table


def partials(trail: Trail) -> Iterator[bytes]:
    consumer = Consumer({**trail.client, "group.id": "nobody", "enable.auto.commit": False})
    topic = trail.prefix + PARTIALS
    left = {}
    for partition in consumer.list_topics(topic, 10).topics[topic].partitions:
        _, left[partition] = consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)
    consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
    wanted = sum(left.values())
    while wanted:
        for message in consumer.consume(wanted, 1.0):
            value = message.value()
            assert message.error() is None
            assert value is not None
            wanted -= 1
            yield value
    consumer.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_both_ways_come_to_the_same(seed: int, kafka: Kafka, tmp_path: Path) -> None:
    events = recorded(seed, time.time_ns())
    one = embedded(events, tmp_path)
    other = over_kafka(events, fresh_trail(kafka.bootstrap_servers, partitions=3))

    assert other.counts == one.counts
    assert other.letters == one.letters
    assert other.rows == one.rows
    assert other.slots == one.slots
    settled = {Fate.STORED, Fate.SKIPPED, Fate.REJECTED}
    assert sum(count for (fate, _), count in one.counts.items() if fate in settled) == len(events)
    assert len(one.slots) > 50
    now_ns = time.time_ns()
    assert other.stats(now_ns) == one.stats(now_ns)
    assert sum(len(told["scopes"]) for told in one.stats(now_ns)) > 200
    assert one.stats(now_ns)[0]["late"] > 0
    store = open_chdb(tmp_path / "store")
    migrate(store)
    minutes = minutes_of(one, store, now_ns)
    assert minutes_of(other, store, now_ns) == minutes
    tenant = store.query("SELECT sum(calls) FROM llmtrail.stats_minute WHERE scope_kind = 'tenant'")
    assert tenant[0][0] == sum(1 for row in one.rows.values() if row.started_at_ns > now_ns - 86_400 * NS)
    assert {row[2] for row in minutes} == {60, 900}
    store.close()
