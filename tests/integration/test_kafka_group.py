"""A group of writers over a real Kafka: every event once, whoever works on its partition."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from eventually import eventually
from kafka_here import Kafka
from kafka_writers import GROUP, RememberingSink, Trail, fresh_trail
from llmtrail.core.ids import uuid7
from llmtrail.log.kafka.group import GroupReader
from llmtrail_ingest.tally import CountingTally, Fate

NOW_NS = 1_790_000_000_000_000_000
JOIN_S_MAX = 30.0


def events(count: int, first: int = 0) -> list[tuple[bytes, bytes]]:
    made = []
    for number in range(first, first + count):
        call_id = uuid7(NOW_NS + number * 1_000_000, number.to_bytes(10, "big"))
        value = f'{{"call_id":"{call_id}","started_at":{NOW_NS},"request_model":"gpt-4o-mini","user_id":"u{number}"}}'
        made.append((f"r{number}".encode(), value.encode()))
    return made


@contextmanager
def joined(*readers: GroupReader) -> Iterator[None]:
    for reader in readers:
        reader.start()
    try:
        yield
    finally:
        for reader in readers:
            reader.stop()


@pytest.fixture
def trail(kafka: Kafka) -> Trail:
    return fresh_trail(kafka.bootstrap_servers)


def committed_all(reader: GroupReader) -> bool:
    return bool(reader.partitions()) and not sum(reader.lags().values())


def test_every_event_of_every_partition_is_written_once_and_never_again(trail: Trail) -> None:
    sink = RememberingSink()
    trail.produce(events(500))
    with joined(trail.reader(sink)):
        eventually(lambda: len(sink.rows) == 500, JOIN_S_MAX)
    assert {row.partition for row in sink.rows.values()} == {0, 1}
    before = list(sink.tried)

    trail.produce(events(10, first=500))
    with joined(trail.reader(sink)):
        eventually(lambda: len(sink.rows) == 510, JOIN_S_MAX)
    assert not set(before) & set(sink.tried[len(before) :])


def test_a_range_in_flight_is_repeated_exactly_by_the_next_member(trail: Trail) -> None:
    sink = RememberingSink()
    sink.broken.set()
    trail.produce(events(300))
    with joined(trail.reader(sink)):
        eventually(lambda: len(set(sink.tried)) == 2, JOIN_S_MAX)
    planned = set(sink.tried)
    sink.broken.clear()
    sink.tried.clear()

    trail.produce(events(100, first=300))
    with joined(trail.reader(sink)):
        eventually(lambda: len(sink.rows) == 400, JOIN_S_MAX)

    assert set(sink.tried[:2]) == planned


def test_two_members_share_the_partitions_and_one_takes_over_from_the_other(trail: Trail) -> None:
    sink = RememberingSink()
    one, two = trail.reader(sink), trail.reader(sink)
    with joined(one):
        eventually(lambda: one.partitions() == [0, 1], JOIN_S_MAX)
        with joined(two):
            eventually(lambda: sorted(one.partitions() + two.partitions()) == [0, 1] and bool(two.partitions()), 30)
            trail.produce(events(200))
            eventually(lambda: len(sink.rows) == 200, JOIN_S_MAX)
        eventually(lambda: one.partitions() == [0, 1], JOIN_S_MAX)
        trail.produce(events(200, first=200))
        eventually(lambda: len(sink.rows) == 400, JOIN_S_MAX)
    assert len(sink.tokens) == len(set(sink.tokens))


def test_what_a_transaction_leaves_between_records_is_passed_over(trail: Trail) -> None:
    sink = RememberingSink()
    producer = Producer({**trail.client, "transactional.id": trail.prefix, "partitioner": "murmur2_random"})
    producer.init_transactions(30)
    for round_number in range(3):
        producer.begin_transaction()
        for key, value in events(20, first=round_number * 20):
            producer.produce(trail.topic, value, key=key)
        producer.commit_transaction(30)
    producer.begin_transaction()
    for key, value in events(5, first=900):
        producer.produce(trail.topic, value, key=key)
    producer.abort_transaction(30)
    reader = trail.reader(sink)
    with joined(reader):
        eventually(lambda: len(sink.rows) == 60, JOIN_S_MAX)


def test_a_bad_event_is_a_dead_letter_with_its_place_and_its_neighbours_are_stored(trail: Trail) -> None:
    sink, tally = RememberingSink(), CountingTally()
    good = events(20)
    trail.produce([*good[:10], (b"r", b'{"started_at": "never"}'), (b"r", b"\xff"), *good[10:]])
    with joined(trail.reader(sink, tally=tally)):
        eventually(lambda: tally.total(Fate.STORED) == 20 and tally.total(Fate.REJECTED) == 2, JOIN_S_MAX)
    assert {letter.value for letter in sink.letters.values()} == {b'{"started_at": "never"}', b"\xff"}


def test_repeats_of_a_producer_are_skipped_and_counted(trail: Trail) -> None:
    sink, tally = RememberingSink(), CountingTally()
    trail.produce([*events(50), *events(50)])
    with joined(trail.reader(sink, tally=tally)):
        eventually(lambda: tally.total(Fate.SKIPPED) == 50, JOIN_S_MAX)
    assert len(sink.rows) == 50


def test_a_topic_made_anew_is_read_from_its_start(trail: Trail) -> None:
    sink = RememberingSink()
    trail.produce(events(50))
    reader = trail.reader(sink)
    with joined(reader):
        eventually(lambda: committed_all(reader) and len(sink.rows) == 50, JOIN_S_MAX)
    admin = AdminClient({**trail.client})
    for future in admin.delete_topics([trail.topic], operation_timeout=30).values():
        future.result(30)
    trail.create()
    trail.produce(events(50, first=50))
    with joined(trail.reader(sink)):
        eventually(lambda: len(sink.rows) == 100, JOIN_S_MAX)
    assert len({row.topic_id for row in sink.rows.values()}) == 2


def test_a_group_without_its_topic_says_what_to_run(kafka: Kafka) -> None:
    reader = Trail(kafka.bootstrap_servers, "nobody.made.this.", 1).reader(RememberingSink())
    with joined(reader):
        eventually(lambda: "llmtrail topics create" in reader.failure, JOIN_S_MAX)
    assert reader.settings.cluster_group == f"nobody.made.this.{GROUP}"
