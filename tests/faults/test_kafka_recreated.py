"""`llm.calls` is deleted and made again while everything runs: its new records are read from the first one on."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from eventually import eventually
from kafka_here import Kafka
from kafka_house import SETTLED_S_MAX, KafkaHouse, kafka_house
from kafka_truth import RawEvents, rows_doubled
from kafka_writers import Trail, fresh_trail

CALLS = 400


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    with kafka_house(trail, tmp_path, RawEvents(random.Random(29), time.time_ns())) as made:
        yield made


def make_anew(trail: Trail) -> None:
    admin = AdminClient(dict(trail.client))
    for deleted in admin.delete_topics([trail.topic]).values():
        deleted.result(SETTLED_S_MAX)
    eventually(lambda: trail.topic not in admin.list_topics(timeout=10).topics, SETTLED_S_MAX)
    trail.create(trail.topic)


# Fewer records than before, and more: offsets of the old topic lie past its end, or among its records.
@pytest.mark.parametrize("calls", [CALLS // 4, CALLS * 3])
def test_a_topic_that_was_made_again_is_read_whole_and_once(house: KafkaHouse, calls: int) -> None:
    house.endpoint.start()
    for role in (house.rows(), house.statistics(), house.aggregator()):
        role.start()
    house.send(CALLS)
    house.rows_hold()
    house.statistics_hold()

    make_anew(house.trail)
    # The statistics know repeats from the log alone, and the old one is gone: of its calls nothing is sent again.
    house.raw.let_go()
    house.send(calls)
    house.rows_hold()
    house.statistics_hold()
    assert rows_doubled(house.store()) == 0
