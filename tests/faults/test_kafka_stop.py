"""SIGTERM under load: each role ends in time and in order, and its successors find everything."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_house import SETTLED_S_MAX, KafkaHouse, kafka_house
from kafka_truth import RawEvents, rows_doubled
from kafka_writers import fresh_trail

CALLS = 3_000
# What is promised; an orchestrator kills after 30 s or so.
STOPPED_S_MAX = 10.0


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    with kafka_house(trail, tmp_path, RawEvents(random.Random(19), time.time_ns())) as made:
        yield made


def test_every_role_ends_in_time_under_load_and_loses_nothing(house: KafkaHouse) -> None:
    house.endpoint.start()
    roles = [house.rows(), house.statistics(), house.aggregator()]
    for role in roles:
        role.start()
    house.send(CALLS)
    eventually(lambda: house.counted() > 0 and house.stored() > 0, SETTLED_S_MAX)
    for role in roles:
        house.send(CALLS)
        since_s = time.monotonic()
        assert role.stop() == 0, role.printed()
        assert time.monotonic() - since_s < STOPPED_S_MAX
        role.start()
    house.rows_hold()
    house.statistics_hold()
    assert rows_doubled(house.store()) == 0
