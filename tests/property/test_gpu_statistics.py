"""Statistics of GPUs: one process and the aggregator come to the same, whatever comes twice, late, or is cut off."""

import random
from collections import defaultdict
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape, encode_scrape
from llmtrail.core.gpu_board import GpuBoard, GpuFate
from llmtrail.core.gpu_window import DeviceId
from llmtrail.log.kafka.tail import Record
from llmtrail.log.port import GPU, Append
from llmtrail.roles.statistics import take_records
from llmtrail.testing.memory_log import MemoryLog
from llmtrail_aggregator.gpu import GpuFold
from llmtrail_ingest.gpu.feed import GpuFeed

NS = 1_000_000_000
BEGIN_S = 1_763_700_000
NOW_S = BEGIN_S + 300
WINDOWS_S = (60, 300, 3_600)
SHARES = st.none() | st.floats(0, 1)
COUNTS = st.none() | st.integers(0, 9)


class CrashError(Exception):
    """The worker is killed here."""


class Clock:
    def now_ns(self) -> int:
        return NOW_S * NS

    def monotonic_ns(self) -> int:
        return NOW_S * NS


class Table(MutableMapping[str, bytes]):
    """A table whose changes become records, and that dies before one of its writes."""

    def __init__(self) -> None:
        self.values_kept: dict[str, bytes] = {}
        self.records: list[Record] = []
        self.writes_left: int | None = None

    def _write(self, key: str, value: bytes | None) -> None:
        if self.writes_left is not None:
            if not self.writes_left:
                raise CrashError
            self.writes_left -= 1
        self.records.append((key.encode(), value))

    def __setitem__(self, key: str, value: bytes) -> None:
        self._write(key, value)
        self.values_kept[key] = value

    def __delitem__(self, key: str) -> None:
        self._write(key, None)
        del self.values_kept[key]

    def __getitem__(self, key: str) -> bytes:
        return self.values_kept[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_kept)

    def __len__(self) -> int:
        return len(self.values_kept)


@st.composite
def scrapes(draw: st.DrawFn) -> GpuScrape:
    at_ns = (BEGIN_S + draw(st.integers(0, 299))) * NS
    host, target = draw(st.sampled_from(["a", "b"])), draw(st.sampled_from(["page", "nvml"]))
    gpus = tuple(
        GpuSample(
            sampled_at_ns=at_ns,
            host=host,
            gpu_uuid=f"GPU-{number}",
            utilization=draw(SHARES),
            power_w=draw(st.none() | st.floats(0, 1e12)),
            ecc_corrected=draw(COUNTS),
            remapped_rows_uncorrected=draw(COUNTS),
            row_remap_failed=draw(st.none() | st.booleans()),
            xid=draw(st.sampled_from([None, None, 13, 79])),
            throttle_reasons=draw(st.sampled_from([(), ("hw_thermal",), ("sw_power", "hw_thermal")])),
            pod=draw(st.sampled_from(["", "p"])),
        )
        for number in range(draw(st.integers(0, 2)))
    )
    engine = EngineSample(
        sampled_at_ns=at_ns, host=host, address="e", engine=Engine.VLLM, waiting=draw(COUNTS), preemptions=draw(COUNTS)
    )
    error = draw(st.sampled_from(["", "", "refused"]))
    return GpuScrape(sampled_at_ns=at_ns, host=host, target=target, gpus=gpus, engines=(engine,), error=error)


def once(given: list[GpuScrape]) -> list[GpuScrape]:
    """Return the scrapes without those of a time and target that were there before: no reader reads twice at once."""
    return list({(one.host, one.target, one.sampled_at_ns): one for one in given}.values())


def told(board: GpuBoard) -> tuple[object, ...]:
    windows = [(board.devices(window_s, NOW_S), board.engines(window_s, NOW_S)) for window_s in WINDOWS_S]
    return windows, board.targets(NOW_S)


def arrived_ns(index: int) -> int:
    """Return when the record at an offset reached the log: after all were sampled, some after the others."""
    return NOW_S * NS + index


@given(st.lists(scrapes(), max_size=12).map(once), st.randoms(use_true_random=False))
def test_the_order_of_scrapes_and_their_repeats_change_nothing(some: list[GpuScrape], rng: random.Random) -> None:
    straight, crooked = GpuBoard(), GpuBoard()
    for one in some:
        straight.take(one, arrived_ns(0))
    shuffled = [*some, *some[::2]]
    rng.shuffle(shuffled)
    for one in shuffled:
        crooked.take(one, arrived_ns(0))

    assert told(crooked) == told(straight)
    assert crooked.counts[GpuFate.APPLIED] == len(some)
    assert crooked.counts[GpuFate.REPEATED] == len(some[::2])


@given(st.lists(scrapes(), max_size=10).map(once), st.lists(st.integers(0, 2), max_size=10))
def test_one_process_and_the_aggregator_tell_the_same_whenever_a_worker_dies(
    some: list[GpuScrape], deaths: list[int]
) -> None:
    log, here = MemoryLog(), GpuBoard()
    for index, one in enumerate(some):
        log.append([Append(GPU, [encode_scrape(one)], [one.host.encode()])], arrived_ns(index))
    feed = GpuFeed(log, here, Clock())
    while feed.run_once():
        pass

    table, there = Table(), GpuBoard()
    fold = GpuFold(table, lambda: [0], Clock().now_ns)
    for index, one in enumerate(some):
        if index < len(deaths):
            table.writes_left = deaths[index]
        try:
            fold.take(encode_scrape(one), arrived_ns(index), 0)
        except CrashError:
            # Another worker has the table as it is, and the scrapes that were not committed, perhaps one before.
            fold = GpuFold(table, lambda: [0], Clock().now_ns)
            table.writes_left = None
            for again in range(max(index - 1, 0), index + 1):
                fold.take(encode_scrape(some[again]), arrived_ns(again), 0)
        table.writes_left = None
    take_records(there, table.records)

    assert told(there) == told(here) == told(fold.board)
    later = GpuBoard()
    take_records(later, [(key.encode(), value) for key, value in table.items()])
    assert told(later) == told(here)


@given(st.lists(scrapes(), min_size=1, max_size=12).map(once))
def test_figures_equal_those_that_are_added_up_sample_by_sample(some: list[GpuScrape]) -> None:
    board = GpuBoard()
    busy: dict[DeviceId, list[float]] = defaultdict(list)
    seen: dict[DeviceId, int] = defaultdict(int)
    for one in some:
        board.take(one, arrived_ns(0))
        for gpu in one.gpus:
            device = DeviceId(gpu.host, gpu.gpu_uuid, gpu.mig_instance)
            seen[device] += 1
            if gpu.utilization is not None:
                busy[device].append(gpu.utilization)

    windows = {one.id: one for one in board.devices(300, NOW_S)}

    assert {device: one.samples for device, one in windows.items()} == seen
    for device, window in windows.items():
        shares = busy[device]
        if window.utilization is None:
            assert not shares
        else:
            assert window.utilization.mean == pytest.approx(fmean(shares), abs=1e-6)
            assert window.utilization.max == pytest.approx(max(shares), abs=1e-6)
        assert all(0 < share <= 1 for share in window.throttled.values())
        assert window.ecc_corrected is None or window.ecc_corrected >= 0


@given(st.lists(st.integers(0, 100), min_size=2, max_size=20), st.randoms(use_true_random=False))
def test_a_counter_that_only_grows_has_grown_by_last_less_first(counts: list[int], rng: random.Random) -> None:
    board, rising = GpuBoard(), sorted(counts)
    order = list(enumerate(rising))
    rng.shuffle(order)
    for place, count in order:
        at_ns = (BEGIN_S + place * 15) * NS
        gpu = GpuSample(sampled_at_ns=at_ns, host="a", gpu_uuid="g", ecc_uncorrected=count)
        board.take(GpuScrape(sampled_at_ns=at_ns, host="a", target="t", gpus=(gpu,)), arrived_ns(0))

    (window,) = board.devices(3_600, NOW_S)

    assert window.ecc_uncorrected == rising[-1] - rising[0]


def test_a_partition_that_is_another_workers_is_left_alone() -> None:
    table = Table()
    one = GpuScrape(sampled_at_ns=BEGIN_S * NS, host="a", target="t", error="e")
    GpuFold(table, lambda: [0, 1], Clock().now_ns).take(encode_scrape(one), arrived_ns(0), 1)
    kept = dict(table)

    fold = GpuFold(table, lambda: [0], Clock().now_ns)
    far_ns = (NOW_S + 100_000) * NS
    fold.take(encode_scrape(replace(one, sampled_at_ns=far_ns)), far_ns, 0)

    assert kept.items() <= table.values_kept.items()
    assert [seen.last_sampled_ns for seen in fold.board.targets(NOW_S + 100_000)] == [far_ns]


def test_what_came_long_before_a_worker_is_passed_over() -> None:
    table = Table()
    fold = GpuFold(table, lambda: [0], Clock().now_ns)
    one = GpuScrape(sampled_at_ns=BEGIN_S * NS, host="a", target="t")

    fold.take(encode_scrape(one), arrived_ns(0) - 4_000 * NS, 0)

    assert (fold.board.counts[GpuFate.LATE], table.records) == (1, [])
