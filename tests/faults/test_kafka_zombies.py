"""A process that stands still for longer than its session and goes on: another one did its work, nothing is double."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_house import LONG, SESSION_S, SETTLED_S_MAX, KafkaHouse, kafka_house
from kafka_truth import RawEvents, rows_doubled
from kafka_writers import fresh_trail

CALLS = 2_000
FROZEN_S = 60.0 if LONG else 2 * SESSION_S


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    with kafka_house(trail, tmp_path, RawEvents(random.Random(3), time.time_ns())) as made:
        yield made


@contextmanager
def frozen(pid: int, at_least_s: float) -> Iterator[None]:
    """Let a process stand still for the block, and for as long as it is told."""
    os.kill(pid, signal.SIGSTOP)
    since_s = time.monotonic()
    yield
    eventually(lambda: time.monotonic() - since_s > at_least_s, at_least_s + 1)
    os.kill(pid, signal.SIGCONT)


def test_frozen_writers_and_workers_that_go_on_double_nothing(house: KafkaHouse) -> None:
    house.endpoint.start()
    rows, cursor, aggregator = house.rows(), house.statistics(), house.aggregator()
    for role in (rows, cursor, aggregator):
        role.start()
    house.send(CALLS)
    eventually(lambda: house.counted() > 0 and house.stored() > 0, SETTLED_S_MAX)
    for role in (house.rows("rows-2"), house.statistics("statistics-2"), house.aggregator("aggregator-2")):
        role.start()
    house.rows_hold()
    house.statistics_hold()

    house.send(CALLS)
    worker = aggregator.worker_pid()
    assert worker is not None
    # All are in the middle of it; whoever takes their partitions over does the whole of it.
    with frozen(worker, FROZEN_S), frozen(cursor.pid, FROZEN_S), frozen(rows.pid, FROZEN_S):
        house.send(CALLS)
        house.rows_hold()
        house.statistics_hold()
    house.send(CALLS)
    house.rows_hold()
    house.statistics_hold()

    assert rows_doubled(house.store()) == 0
    # The worker cannot know what it would write over: it ended itself, and was started again.
    assert "the worker slept for" in aggregator.printed()
    eventually(lambda: aggregator.worker_pid() not in {None, worker}, SETTLED_S_MAX)
