"""What the statistics' cursor knows after it looked back: repeats, revisions, and what it must not claim to know."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from llmtrail.core.ids import uuid7
from llmtrail.log.port import Plan, Records
from llmtrail_ingest.pricebook import load_pricebook
from llmtrail_ingest.statistics.cursor import SILENT_READS_MAX, PartialsSink, Publishing, StatisticsCursor
from llmtrail_ingest.statistics.known import CountedCalls
from llmtrail_ingest.statistics.outlet import Outlet
from llmtrail_ingest.tally import CountingTally
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts

NS = 1_000_000_000
BEGAN_NS = 1_795_000_000 * NS


def event(number: int, **named: Any) -> bytes:
    made = {"call_id": uuid7(BEGAN_NS + number * NS, bytes(10)), "started_at": BEGAN_NS, "request_model": "m"}
    return json.dumps(made | named).encode()


@dataclass
class Partition:
    """Records before the cursor, some of which a read does not give at once."""

    first: int
    values: list[bytes]
    silent: list[int] = field(default_factory=list)  # reads that give nothing, by their number
    reads: int = 0

    def start(self, topic: str, partition: int) -> int:
        return self.first

    def committed(self, group: str, topic: str, partition: int) -> int:
        return self.first + len(self.values)

    def plans(self, group: str, topic: str) -> list[Plan]:
        return []

    def read(self, topic: str, partition: int, offset: int, records_max: int, bytes_max: int) -> Records:
        self.reads += 1
        given = [] if self.reads in self.silent else self.values[offset - self.first :][: min(records_max, 2)]
        return Records(
            topic=topic,
            topic_id="t",
            partition=partition,
            first_offset=offset,
            values=given,
            keys=[b"k"] * len(given),
            appended_at_ns=[BEGAN_NS + 100 * NS] * len(given),
            headers=[{}] * len(given),
        )


def cursor_over(log: Any, counted: CountedCalls) -> StatisticsCursor:
    book = load_pricebook(None, trust_reported=False)
    sink = PartialsSink(Publishing(Outlet(log, 1)), counted)
    writer = Writer(WriterParts(log, sink, lambda _: book, CountingTally(), log), WriterConfig())
    return StatisticsCursor(log, 0, writer, counted, book)


def test_a_slow_read_is_waited_for_and_nothing_is_left_out() -> None:
    counted = CountedCalls(50_000)
    log = Partition(0, [event(number) for number in range(5)], silent=[1, 2, 4])
    assert cursor_over(log, counted).look_back() == 5
    assert counted.horizon_ms == 0  # there was nothing before it


def test_a_repeat_that_is_read_later_than_its_revision_takes_nothing_back() -> None:
    counted = CountedCalls(50_000)
    # Two records a read: the revision and the late repeat come with runs of their own.
    again = [event(0), event(1), event(0, revision=1, latency_ms=5.0), event(2), event(0), event(3)]
    cursor_over(Partition(0, again), counted).look_back()
    key = int(json.loads(event(0))["call_id"].replace("-", ""), 16)
    [known] = counted.known([key])[key]
    assert (known.revision, known.call.latency_ms) == (1, 5.0)


def test_what_lies_before_the_look_back_is_not_claimed_to_be_known() -> None:
    counted = CountedCalls(50_000)
    assert cursor_over(Partition(7, [event(0)]), counted).look_back() == 1
    assert counted.horizon_ms == (BEGAN_NS + 100 * NS) // 1_000_000


def test_brokers_that_give_nothing_end_the_worker_instead_of_its_memory() -> None:
    log = Partition(0, [event(0)], silent=list(range(1, SILENT_READS_MAX + 1)))
    with pytest.raises(RuntimeError, match="give no records"):
        cursor_over(log, CountedCalls(50_000)).look_back()
