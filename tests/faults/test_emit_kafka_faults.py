"""A Kafka broker that is killed, frozen or away: the SDK loses nothing, and repeats are known by their call id."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from eventually import eventually
from kafka_here import StartBroker
from kafka_topic import TopicTail
from kafka_writers import fresh_trail
from llmtrail.clock import SystemClock, random_bytes
from llmtrail.emit.background import Edges
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.door import Recorder
from llmtrail.emit.kafka import KafkaPoster
from llmtrail.testing.kafka_broker import LocalBroker, free_port

_WAIT_S = 60.0
_FROZEN_S = 8.0

Make = Callable[..., Recorder]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Recorder] = []

    def recorder(servers: str, prefix: str) -> Recorder:
        config = EmitConfig(spool=tmp_path / "spool", kafka=servers, kafka_prefix=prefix)
        edges = Edges(SystemClock(), random_bytes, KafkaPoster(config, SystemClock()), lambda event: event)
        made.append(Recorder(config, edges))
        return made[-1]

    yield recorder
    for each in made:
        each.close()


class Steady:
    """Records numbered calls, some hundred a second, until told to stop; `slowest_s` is the longest hand-over."""

    def __init__(self, recorder: Recorder) -> None:
        self.count = 0
        self.slowest_s = 0.0
        self._recorder = recorder
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.003):
            began = time.monotonic()
            record(self._recorder, self.count, 1)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.count += 1


def build(n: int) -> dict[str, Any]:
    return {"request_model": "m", "messages": [{"role": "user", "content": "hello " * 50}], "attributes": {"n": n}}


def record(recorder: Recorder, first: int, count: int) -> None:
    for n in range(first, first + count):
        recorder.record_parts(build, n, time.time_ns(), None, 1_000)


def held(recorder: Recorder, tail: TopicTail, count: int) -> None:
    """Every call arrived; a repeat is byte for byte the call that was sent before, so its id tells."""
    eventually(lambda: recorder.flush(1.0), _WAIT_S)
    eventually(lambda: set(tail.numbers()) >= set(range(count)), _WAIT_S)
    assert set(tail.numbers()) == set(range(count))
    by_id: dict[str, set[bytes]] = {}
    for one in tail.found:
        by_id.setdefault(one.event["call_id"], set()).add(one.value)
    assert len(by_id) == count
    assert all(len(values) == 1 for values in by_id.values())
    stats = recorder.stats()
    assert (stats.recorded, stats.sent_accepted, stats.dropped, stats.adds_up) == (count, count, {}, True)


def test_a_broker_killed_and_started_again_in_the_middle_loses_nothing(own_kafka: StartBroker, make: Make) -> None:
    broker = own_kafka()
    trail = fresh_trail(broker.bootstrap_servers)
    tail = TopicTail(trail.servers, trail.topic, trail.partitions)
    recorder = make(trail.servers, trail.prefix)
    with Steady(recorder) as steady:
        eventually(lambda: recorder.stats().sent_accepted > 200, _WAIT_S)
        broker.kill()
        eventually(lambda: recorder.stats().spooled_pending > 200, _WAIT_S)
        broker.restart()
        sent = recorder.stats().sent_accepted
        eventually(lambda: recorder.stats().sent_accepted > sent + 200, _WAIT_S)
    held(recorder, tail, steady.count)
    tail.close()


def test_a_frozen_broker_loses_nothing_doubles_nothing_and_holds_nobody_up(own_kafka: StartBroker, make: Make) -> None:
    broker = own_kafka()
    trail = fresh_trail(broker.bootstrap_servers)
    tail = TopicTail(trail.servers, trail.topic, trail.partitions)
    recorder = make(trail.servers, trail.prefix)
    with Steady(recorder) as steady:
        eventually(lambda: recorder.stats().sent_accepted > 200, _WAIT_S)
        broker.freeze()
        until = time.monotonic() + _FROZEN_S
        eventually(lambda: time.monotonic() > until, _FROZEN_S + 5)
        assert recorder.stats().spooled_pending > 0
        broker.thaw()
        recorded = recorder.stats().recorded
        eventually(lambda: recorder.stats().sent_accepted >= recorded, _WAIT_S)
    held(recorder, tail, steady.count)
    # What was on its way when the broker froze was not sent a second time.
    assert len(tail.found) == steady.count
    assert steady.slowest_s < _FROZEN_S / 4
    tail.close()


def test_what_was_recorded_before_the_broker_came_is_delivered_in_order(
    own_kafka: StartBroker, make: Make, tmp_path: Path
) -> None:
    # Given a broker that had the topic once and is away now, so that all goes to the spool.
    broker: LocalBroker = own_kafka(port=free_port())
    trail = fresh_trail(broker.bootstrap_servers, partitions=1)
    broker.stop()
    recorder = make(trail.servers, trail.prefix)
    for first in range(0, 3000, 1000):
        record(recorder, first, 1000)
        eventually(lambda expected=first + 1000: recorder.stats().spooled_pending == expected, _WAIT_S)  # type: ignore[misc]
    assert recorder.stats().sent_accepted == 0
    # When it comes, then all of it arrives, oldest first, and the spool is empty.
    broker.restart()
    tail = TopicTail(trail.servers, trail.topic, 1)
    held(recorder, tail, 3000)
    assert [one.number for one in tail.found] == list(range(3000))
    assert not list(tmp_path.rglob("*.seg"))
    tail.close()
