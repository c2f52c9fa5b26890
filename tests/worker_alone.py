"""The aggregator's worker without its Kafka: its agents as they are, over tables in memory."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from llmtrail.clock import Clock
from llmtrail_aggregator.settings import WorkerSettings
from llmtrail_aggregator.worker import Aggregator, Report


class Stream:
    """The events of a Faust stream."""

    def __init__(self, topic: str, at_s: float, values: Sequence[tuple[bytes | None, bytes | None]]) -> None:
        self._events = [
            SimpleNamespace(
                key=key,
                value=value,
                message=SimpleNamespace(topic=topic, partition=0, offset=offset, timestamp=at_s),
            )
            for offset, (key, value) in enumerate(values)
        ]

    async def events(self) -> AsyncIterator[Any]:
        for event in self._events:
            yield event


class Sent:
    """A topic that keeps what is sent to it."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    async def send(self, *, key: bytes | None, value: bytes) -> "asyncio.Future[None]":
        assert key is None or len(key) <= 1_000
        self.values.append(value)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class _Table(dict[bytes, bytes]):
    """A Faust table in memory."""


@contextlib.contextmanager
def worker_alone(clock: Clock) -> Iterator[tuple[Any, Sent]]:
    """Give the worker without its Kafka: its agents, its tables and where its dead letters go."""
    settings = WorkerSettings("127.0.0.1:1", "", 1, 1, 1, ("UTC",))
    with tempfile.TemporaryDirectory() as scratch:
        worker: Any = Aggregator(settings, clock, Report(), scratch)
        letters = Sent()
        worker._letters = letters
        worker._mine = lambda _: [0]
        worker._table._table, worker._gpu._table._table = _Table(), _Table()
        yield worker, letters
