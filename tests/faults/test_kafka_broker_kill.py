"""The broker is killed under load and starts again: whatever it acknowledged is counted, once."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eventually import eventually
from kafka_here import StartBroker
from kafka_house import SETTLED_S_MAX, KafkaHouse, kafka_house
from kafka_truth import RawEvents, rows_doubled
from kafka_writers import fresh_trail
from llmtrail.testing.kafka_broker import LocalBroker

CALLS = 1_500
KILLS = 2


@pytest.fixture
def broker(own_kafka: StartBroker) -> LocalBroker:
    return own_kafka()


@pytest.fixture
def house(broker: LocalBroker, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(broker.bootstrap_servers, partitions=4)
    with kafka_house(trail, tmp_path, RawEvents(random.Random(23), time.time_ns())) as made:
        yield made


def test_what_a_killed_broker_acknowledged_is_counted_once(broker: LocalBroker, house: KafkaHouse) -> None:
    house.endpoint.start()
    for role in (house.rows(), house.statistics(), house.aggregator()):
        role.start()
    house.send(CALLS)
    eventually(lambda: house.counted() > 0 and house.stored() > 0, SETTLED_S_MAX)
    for _ in range(KILLS):
        # Acknowledged, and hardly any of it read: the offsets, the plans and the partials are on their way.
        house.send(CALLS)
        broker.kill()
        broker.restart()
        house.send(CALLS)
    house.rows_hold()
    house.statistics_hold()
    assert rows_doubled(house.store()) == 0
