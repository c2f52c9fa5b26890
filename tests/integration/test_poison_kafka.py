"""Poison on a real Kafka: what nobody can read holds up no record that stands beside it, and is counted."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Published, Role, Truth, started
from kafka_topic import TopicTail
from kafka_writers import Trail, fresh_trail
from llmtrail.log.port import DEAD_LETTERS, GPU, PARTIALS
from poison import POISONS, Poison

SETTLED_S_MAX = 60.0
FLOOD = 20


def poisoned(trail: Trail, topic: str, poisons: Sequence[Poison]) -> None:
    """Put poisons onto every partition of a topic."""
    producer = Producer({**trail.client, "message.max.bytes": 9_000_000})
    for partition in range(trail.partitions):
        for one in poisons:
            headers: Any = list(one.headers)  # the driver takes names of bytes, whatever its types say
            producer.produce(
                trail.prefix + topic,
                one.value,
                one.key,
                partition,
                headers=headers,
            )
    assert producer.flush(60) == 0


def reasons(letters: TopicTail) -> Counter[str]:
    """Count the dead letters so far by reason."""
    return Counter(one.event["reason"] for one in letters.read())


def test_partials_beside_poison_are_folded(kafka: Kafka, tmp_path: Path) -> None:
    trail = fresh_trail(kafka.bootstrap_servers)
    truth = Truth(random.Random(5), time.time_ns())
    cursor = Role(["ingest", "--roles", "statistics"], trail, tmp_path / "cursor")
    aggregator = Role(["aggregate"], trail, tmp_path / "aggregator")
    published = Published(trail)
    with started(aggregator, cursor):
        for topic in (PARTIALS, GPU):
            poisoned(trail, topic, POISONS)
        trail.produce(truth.events(200))
        eventually(lambda: published.read().equals(truth), SETTLED_S_MAX)
        for topic in (PARTIALS, GPU):
            poisoned(trail, topic, POISONS * FLOOD)
        trail.produce(truth.events(200))
        eventually(lambda: published.read().equals(truth), SETTLED_S_MAX)
        # One dead letter for each record.
        letters = TopicTail(trail.servers, trail.prefix + DEAD_LETTERS, trail.partitions)
        expected = (1 + FLOOD) * trail.partitions * len(POISONS)
        eventually(lambda: reasons(letters)["bad_partial"] == expected, SETTLED_S_MAX)
        letters.close()
