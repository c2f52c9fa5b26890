"""A compacted topic is followed whole: from its first record, through what comes, into one made anew."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from eventually import eventually
from kafka_here import Kafka, StartBroker, fresh_prefix
from llmtrail.log.kafka.tail import Record, TopicTail

READ_S_MAX = 30.0
PARTITIONS = 3


@dataclass
class Table:
    """What the tail told, as a reader of a compacted topic keeps it."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    resets: int = 0
    broken: int = 0

    def take(self, records: Sequence[Record]) -> None:
        if self.broken:
            self.broken -= 1
            raise ValueError("the listener stumbles")
        for key, value in records:
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    def reset(self) -> None:
        self.values.clear()
        self.resets += 1


@dataclass
class Topic:
    """A compacted topic of one test."""

    servers: str
    name: str = field(default_factory=lambda: f"{fresh_prefix()}slots")

    @property
    def client(self) -> dict[str, str]:
        return {"bootstrap.servers": self.servers}

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.servers})

    def create(self, partitions: int = PARTITIONS) -> None:
        made = NewTopic(self.name, partitions, 1, config={"cleanup.policy": "compact"})
        admin = self.admin
        admin.create_topics([made])[self.name].result(READ_S_MAX)

    def delete(self) -> None:
        admin = self.admin
        admin.delete_topics([self.name])[self.name].result(READ_S_MAX)
        eventually(lambda: self.name not in admin.list_topics(timeout=10).topics, READ_S_MAX)

    def produce(self, records: Sequence[tuple[int, bytes, bytes | None]]) -> None:
        producer = Producer(self.client)
        for partition, key, value in records:
            producer.produce(self.name, value, key, partition)
        assert producer.flush(READ_S_MAX) == 0

    @contextmanager
    def followed(self, table: Table) -> Iterator[TopicTail]:
        tail = TopicTail(self.client, self.name, table.take, table.reset, look_every_s=0.5)
        tail.start()
        try:
            yield tail
        finally:
            tail.stop()


@pytest.fixture
def topic(kafka: Kafka) -> Topic:
    made = Topic(kafka.bootstrap_servers)
    made.create()
    return made


def numbered(count: int, value: bytes) -> list[tuple[int, bytes, bytes | None]]:
    return [(number % PARTITIONS, b"k%d" % number, value) for number in range(count)]


def is_ready(tail: TopicTail) -> bool:
    return tail.not_ready() == ""


def test_a_tail_is_ready_once_it_has_told_all_there_was(topic: Topic) -> None:
    topic.produce(numbered(3_000, b"old"))
    topic.produce(numbered(3_000, b"new"))
    topic.produce([(0, b"k0", None)])
    table = Table()
    with topic.followed(table) as tail:
        eventually(lambda: is_ready(tail), READ_S_MAX)

        assert table.values == {b"k%d" % number: b"new" for number in range(1, 3_000)}
        assert table.resets == 1


def test_an_empty_topic_is_read_at_once_and_followed(topic: Topic) -> None:
    table = Table()
    with topic.followed(table) as tail:
        eventually(lambda: is_ready(tail), READ_S_MAX)
        assert table.values == {}

        topic.produce([(2, b"late", b"1"), (0, b"gone", b"2"), (0, b"gone", None)])

        eventually(lambda: table.values == {b"late": b"1"}, READ_S_MAX)


def test_a_topic_that_is_not_there_is_waited_for(kafka: Kafka) -> None:
    topic, table = Topic(kafka.bootstrap_servers), Table()
    with topic.followed(table) as tail:
        eventually(lambda: "run `llmtrail topics create`" in tail.not_ready(), READ_S_MAX)
        topic.create()
        topic.produce([(0, b"a", b"1")])

        eventually(lambda: is_ready(tail) and table.values == {b"a": b"1"}, READ_S_MAX)


def test_a_topic_made_anew_is_told_anew(topic: Topic) -> None:
    topic.produce(numbered(30, b"before"))
    table = Table()
    with topic.followed(table) as tail:
        eventually(lambda: is_ready(tail), READ_S_MAX)
        topic.delete()
        topic.create(partitions=PARTITIONS + 1)
        topic.produce([(PARTITIONS, b"k1", b"after")])

        eventually(lambda: is_ready(tail) and table.values == {b"k1": b"after"}, READ_S_MAX)
        assert table.resets > 1


def test_a_listener_that_stumbles_is_told_everything_again(topic: Topic) -> None:
    topic.produce(numbered(30, b"1"))
    table = Table(broken=1)
    with topic.followed(table) as tail:
        eventually(lambda: is_ready(tail) and len(table.values) == 30, READ_S_MAX)
        assert table.resets == 2


def test_brokers_that_go_away_and_come_back_cost_nothing(own_kafka: StartBroker) -> None:
    broker = own_kafka()
    topic, table = Topic(broker.bootstrap_servers), Table()
    topic.create()
    topic.produce(numbered(30, b"before"))
    with topic.followed(table) as tail:
        eventually(lambda: is_ready(tail), READ_S_MAX)
        broker.kill()
        own_kafka(port=broker.port)
        topic.produce([(1, b"k1", b"after"), (2, b"k2", None)])

        wanted = {b"k%d" % number: b"before" for number in range(30) if number != 2} | {b"k1": b"after"}
        eventually(lambda: is_ready(tail) and table.values == wanted, READ_S_MAX)
    assert tail.not_ready() == f"{topic.name} is read no more"
