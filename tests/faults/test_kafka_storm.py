"""A rebalance storm: every few seconds some process starts or ends, in order or not; everything is counted once."""

import random
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_house import LONG, KafkaHouse, kafka_house
from kafka_roles import Role
from kafka_truth import RawEvents, rows_doubled
from kafka_writers import fresh_trail

STORM_S = 120.0 if LONG else 27.0
TURN_S = 3.0
# Three hundred calls a second, in chunks that come while groups rebalance.
CHUNK = 150
CHUNK_EVERY_S = 0.5


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    with kafka_house(trail, tmp_path, RawEvents(random.Random(13), time.time_ns())) as made:
        yield made


def test_everything_is_counted_once_through_a_rebalance_storm(house: KafkaHouse) -> None:
    rng = random.Random(17)
    house.endpoint.start()
    pools = [
        [house.rows("rows-1"), house.rows("rows-2")],
        [house.statistics("statistics-1"), house.statistics("statistics-2")],
        [house.aggregator("aggregator-1"), house.aggregator("aggregator-2")],
    ]
    for first, _ in pools:
        first.start()
    house.send(CHUNK)
    eventually(lambda: house.counted() > 0 and house.stored() > 0, STORM_S)

    turns = 0
    while turns * TURN_S < STORM_S:
        # Each kind in turn, so that its group is disturbed again before it has settled.
        turn(rng, rng.choice(pools[turns % len(pools)]))
        for _ in range(int(TURN_S / CHUNK_EVERY_S)):
            next_s = time.monotonic() + CHUNK_EVERY_S
            house.send(CHUNK)
            eventually(partial(is_past, next_s), TURN_S)
        turns += 1
    for role in (role for pool in pools for role in pool):
        if not is_running(role):
            role.start()

    house.rows_hold()
    house.statistics_hold()
    assert rows_doubled(house.store()) == 0


def is_past(at_s: float) -> bool:
    return time.monotonic() >= at_s


def is_running(role: Role) -> bool:
    return role.process is not None and role.process.poll() is None


def turn(rng: random.Random, role: Role) -> None:
    """Start a role that does not run; end one that does, in order or at once."""
    if not is_running(role):
        role.start()
    elif rng.random() < 0.5:
        role.kill()
    else:
        # Nobody waits for it: its successor may start while it hands over.
        role.ask_to_stop()
