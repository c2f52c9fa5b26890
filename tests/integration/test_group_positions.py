"""How far a group is, as its cluster tells: asked without being a member."""

from confluent_kafka import Consumer, Producer, TopicPartition

from kafka_here import Kafka
from kafka_writers import fresh_trail
from llmtrail.log.kafka.positions import GroupPositions
from llmtrail.log.port import PARTIALS


def test_what_is_committed_and_where_it_ends_is_told_of_every_partition(kafka: Kafka) -> None:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=3)
    topic, group = trail.prefix + PARTIALS, trail.prefix + "reader"
    producer = Producer({"bootstrap.servers": trail.servers})
    for partition in (0, 0, 0, 1):
        producer.produce(topic, b"x", partition=partition)
    producer.flush(30)
    reader = Consumer({"bootstrap.servers": trail.servers, "group.id": group})
    reader.commit(offsets=[TopicPartition(topic, 0, 2)], asynchronous=False)
    reader.close()

    positions = GroupPositions({"bootstrap.servers": trail.servers}, group, topic, 3)

    assert positions.ask() == {0: (2, 3), 1: (-1, 1), 2: (-1, 0)}
    assert positions.ask() == {0: (2, 3), 1: (-1, 1), 2: (-1, 0)}
