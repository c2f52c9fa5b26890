"""Cursors whose ranges end together share messages, and each hears what became of its own partials."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from llmtrail.core.cell import Cell
from llmtrail.core.partial import Partial, Source, decode_partials
from llmtrail.log.port import Append
from llmtrail_ingest.statistics.outlet import CELLS_MAX, Outlet, messages_of
from llmtrail_ingest.writer.beat import SHORTEST_S, Beat

NS = 1_000_000_000
CURSORS = 4


class Brokers:
    """Take what is produced, and answer when they are let."""

    def __init__(self) -> None:
        self.appends: list[Append] = []
        self.partitions: list[int] = []
        self.failure: Exception | None = None

    def append(self, appends: Sequence[Append], partitions: Sequence[int] | None = None) -> Future[list[int]]:
        self.appends += appends
        self.partitions += partitions or ()
        answer: Future[list[int]] = Future()
        if self.failure is not None:
            answer.set_exception(self.failure)
        else:
            answer.set_result([0] * len(appends))
        return answer


class Clock:
    """Time as a test says it."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now_ns(self) -> int:
        return self.monotonic_ns()

    def monotonic_ns(self) -> int:
        return round(self.at_s * NS)


def partial(shard: int, partition: int, cells: int = 1) -> Partial:
    slot = {f"scope-{number}": Cell(calls=1) for number in range(cells)}
    return Partial(shard=shard, watermark_s=1, source=Source("t", partition, 0, 1), slots={0: slot})


def test_those_who_come_together_share_messages_and_all_are_told() -> None:
    brokers, ready = Brokers(), threading.Barrier(CURSORS)
    outlet = Outlet(brokers, 12, company_s=0.5)

    def send(partition: int) -> None:
        ready.wait()
        outlet.send([partial(shard, partition) for shard in (3, 14)])

    with ThreadPoolExecutor(CURSORS) as cursors:
        list(cursors.map(send, range(CURSORS)))

    assert brokers.partitions == [3, 2]
    told = [decode_partials(value) for append in brokers.appends for value in append.values]
    assert [[one.shard for one in message] for message in told] == [[3] * CURSORS, [14] * CURSORS]


def test_a_failure_is_told_to_whoever_sent() -> None:
    brokers = Brokers()
    brokers.failure = RuntimeError("away")
    outlet = Outlet(brokers, 12, company_s=0.0)
    with pytest.raises(RuntimeError, match="away"):
        outlet.send([partial(1, 0)])
    brokers.failure = None
    outlet.send([partial(1, 0)])
    assert len(brokers.appends) == 2


def test_a_message_is_bounded_and_a_shard_keeps_its_order() -> None:
    half = CELLS_MAX // 2
    partials = [partial(5, number, half) for number in range(3)] + [partial(4, 0, 2 * CELLS_MAX)]
    messages = messages_of(partials)
    assert [len(message) for message in messages] == [1, 2, 1]
    assert [one.source.partition for message in messages[1:] for one in message if one.source] == [0, 1, 2]


def test_the_beat_is_one_for_all_and_slows_down_with_the_work() -> None:
    clock = Clock()
    beat = Beat(clock, longest_s=1.0)
    assert beat.wait_s() == pytest.approx(SHORTEST_S)
    clock.at_s += SHORTEST_S / 2
    assert beat.wait_s() == pytest.approx(SHORTEST_S / 2)
    beat.took(0.2)
    clock.at_s += SHORTEST_S
    assert beat.wait_s() == pytest.approx(0.2)
    beat.took(30.0)
    clock.at_s += 1
    assert beat.wait_s() == pytest.approx(1.0)
    # Once for the beat that is, once for the one after it: then all is quiet again.
    for rest_s in (1.0, SHORTEST_S):
        clock.at_s += 2
        assert beat.wait_s() == pytest.approx(rest_s)
