"""Rolling statistics over Kafka equal a recomputation, whoever is killed meanwhile."""

import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Published, Role, Truth, started
from kafka_writers import Trail, fresh_trail

SETTLED_S_MAX = 90.0


@pytest.fixture
def trail(kafka: Kafka) -> Trail:
    return fresh_trail(kafka.bootstrap_servers, partitions=4)


@pytest.fixture
def published(trail: Trail) -> Iterator[Published]:
    reading = Published(trail)
    yield reading
    reading.close()


def a_truth(seed: int) -> Truth:
    return Truth(random.Random(seed), time.time_ns())


def cursor_of(trail: Trail, folder: Path) -> Role:
    return Role(["ingest", "--roles", "statistics"], trail, folder / "cursor")


def aggregator_of(trail: Trail, folder: Path, name: str = "aggregator") -> Role:
    return Role(["aggregate"], trail, folder / name)


def test_statistics_equal_a_recomputation(trail: Trail, published: Published, tmp_path: Path) -> None:
    truth = a_truth(1)
    with started(cursor_of(trail, tmp_path), aggregator_of(trail, tmp_path)):
        trail.produce(truth.events(2_000))
        eventually(lambda: published.equals(truth), SETTLED_S_MAX)


ROUNDS = 20
CHUNK = 150


@pytest.mark.parametrize("seed", [1])
def test_statistics_are_exact_after_twenty_kills(seed: int, trail: Trail, published: Published, tmp_path: Path) -> None:
    truth, rng = a_truth(seed), random.Random(seed)
    cursor, aggregator = cursor_of(trail, tmp_path), aggregator_of(trail, tmp_path)
    with started(cursor, aggregator):
        for _ in range(ROUNDS):
            counted = calls_of(published)
            trail.produce(truth.events(CHUNK))
            # Somewhere in the middle of the work, a different place each round.
            eventually(partial(has_counted, published, counted + rng.randrange(CHUNK)), SETTLED_S_MAX)
            end_at_once(rng.choice(["cursor", "aggregator", "worker"]), cursor, aggregator)
        eventually(lambda: published.equals(truth), SETTLED_S_MAX)


def calls_of(published: Published) -> int:
    tenant = published.read().cells().get('["","tenant"]')
    return tenant.calls if tenant else 0


def has_counted(published: Published, calls: int) -> bool:
    return calls_of(published) >= calls


def end_at_once(victim: str, cursor: Role, aggregator: Role) -> None:
    """Kill with -9; a worker is started again by its supervisor, the others by whoever runs them: here by the test."""
    if victim == "worker":
        worker = aggregator.worker_pid()
        if worker is not None:
            os.kill(worker, signal.SIGKILL)
        return
    role = cursor if victim == "cursor" else aggregator
    role.kill()
    role.start()
