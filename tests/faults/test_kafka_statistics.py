"""Rolling statistics over Kafka equal a recomputation, whoever is killed meanwhile."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import Producer

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Published, Role, Truth, started
from kafka_writers import Trail, fresh_trail
from llmtrail.core.cell import Cell
from llmtrail.core.partial import Partial, Source, encode_partials
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.slot import decode_slot
from llmtrail.log.port import PARTIALS
from llmtrail_aggregator.settings import WorkerSettings

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


BACKLOG = 3_000
BEGAN_S = 1_795_000_000
SHARD = 9


def test_a_backlog_is_counted_whole_where_the_cluster_is_slow_to_say_where_the_group_stands(
    trail: Trail, published: Published
) -> None:
    produce_partials(trail, range(100))
    with slow_to_seek(trail) as worker:
        eventually(lambda: fence_of(published) == 100, SETTLED_S_MAX)
        # In order, so that it commits.
        worker.communicate(timeout=SETTLED_S_MAX)
    produce_partials(trail, range(100, BACKLOG))
    with slow_to_seek(trail):
        eventually(lambda: fence_of(published) == BACKLOG, SETTLED_S_MAX)
        assert calls_of(published) == BACKLOG


def produce_partials(trail: Trail, numbers: range) -> None:
    """Produce partials of one shard, each of one call."""
    scope = Scope("", ScopeKind.TENANT, ()).text()
    producer = Producer({**trail.client, "acks": "all"})
    for number in numbers:
        source, cells = Source("topic", 0, number, number + 1), {scope: Cell(calls=1)}
        partial = Partial(shard=SHARD, watermark_s=BEGAN_S, source=source, slots={BEGAN_S: cells})
        producer.produce(trail.prefix + PARTIALS, encode_partials([partial]), partition=SHARD % trail.partitions)
    assert producer.flush(30) == 0


@contextmanager
def slow_to_seek(trail: Trail) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a worker whose questions for the group's place are answered a second late."""
    settings = WorkerSettings(trail.servers, trail.prefix, trail.partitions, trail.partitions, 1, ("UTC",))
    script = Path(__file__).with_name("slow_seek_worker.py")
    command = [sys.executable, str(script), json.dumps(asdict(settings))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def fence_of(published: Published) -> int:
    slots = [decode_slot(value) for value in published.read().slots.values()]
    return max((offset for slot in slots for offset in slot.fence.values()), default=0)
