"""Rows written by real writer processes equal the raw events, whoever is killed meanwhile: writers, or ClickHouse."""

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_house import SETTLED_S_MAX, KafkaHouse, kafka_house
from kafka_truth import RawEvents, rows_doubled
from kafka_writers import fresh_trail

ROUNDS = 20
CHUNK = 150
# Rounds in which ClickHouse is killed instead of a writer.
STORE_EVERY = 5


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    with kafka_house(trail, tmp_path, RawEvents(random.Random(7), time.time_ns())) as made:
        yield made


def test_no_call_is_missing_or_there_twice_after_twenty_kills_of_writers(house: KafkaHouse) -> None:
    rng = random.Random(11)
    house.endpoint.start()
    writers = [house.rows("rows-0"), house.rows("rows-1")]
    for writer in writers:
        writer.start()
    for number in range(ROUNDS + ROUNDS // STORE_EVERY):
        before = house.stored()
        house.send(CHUNK)
        # Somewhere in the middle of the work, a different place each round.
        eventually(partial(has_stored, house, before + rng.randrange(CHUNK)), SETTLED_S_MAX)
        if number % (STORE_EVERY + 1) == STORE_EVERY:
            house.endpoint.kill()
            house.endpoint.start()
        else:
            victim = rng.choice(writers)
            victim.kill()
            victim.start()
    house.rows_hold()
    assert rows_doubled(house.store()) == 0


def has_stored(house: KafkaHouse, calls: int) -> bool:
    return house.stored() >= calls
