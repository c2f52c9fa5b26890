"""A collector reads each target apart, sends what it read, and keeps on disk what nobody takes."""

from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import hostile_server as server
from eventually import eventually
from llmtrail.clock import SystemClock, random_bytes
from llmtrail.core.gpu import GpuScrape, decode_scrape
from llmtrail.emit.answer import Answer, Later, Taken
from llmtrail.emit.tally import DropReason, Tally
from llmtrail.metrics import GPU_DELIVERED, GPU_LOST, Metrics
from llmtrail.roles.gpu import account
from llmtrail_gpu.delivery import Delivery, Edges
from llmtrail_gpu.scraper import BACKOFF_LAST_S, Loop, Pace, PageReader, Scraper
from llmtrail_gpu.simulate import THROTTLE_FROM_S, XID_AT_S, Node, pages
from llmtrail_gpu.simulator import Simulator
from llmtrail_gpu.targets import Target

CLOCK = SystemClock()
WAIT_S = 20.0
# Faster than configuration allows, so that tests are.
FAST = Pace(0.02, 0.0, 2.0)


def scrape(number: int) -> GpuScrape:
    return GpuScrape(sampled_at_ns=number, host="node", target="t")


class Poster:
    """Takes batches, or not."""

    def __init__(self) -> None:
        self.is_up = True
        self.taken: list[int] = []

    def post(self, events: Sequence[bytes]) -> Answer:
        if not self.is_up:
            return Later("away", 0.01)
        self.taken += [decode_scrape(event).sampled_at_ns for event in events]
        return Taken(len(events))

    def close(self) -> None:
        pass


def delivery(poster: Poster, folder: Path, bytes_max: int = 1024 * 1024) -> Delivery:
    return Delivery(poster, folder, bytes_max, Edges(CLOCK, random_bytes))


def test_a_slow_target_delays_no_other() -> None:
    read: list[str] = []

    def loop_of(target: Target) -> Loop:
        reader = PageReader(target, "node", FAST.deadline_s, CLOCK)
        return Loop(reader.read, lambda told: read.append(told.target), FAST, CLOCK, lambda: 0.5)

    with server.serving(server.drip_head) as slow, server.serving(server.whole) as good:
        scraper = Scraper(loop_of)
        scraper.set_targets([Target(slow), Target(good)])
        eventually(lambda: read.count(good) >= 10, WAIT_S)
        assert read.count(slow) <= 1
        scraper.set_targets([Target(slow)])
        assert scraper.targets == [Target(slow)]
        scraper.stop()


def test_a_target_that_fails_is_a_scrape_with_its_error() -> None:
    with server.serving(server.no_http) as url:
        told = PageReader(Target(url, "gpu-1"), "node", 2.0, CLOCK).read()
    assert (told.host, told.target, told.gpus) == ("gpu-1", url, ())
    assert told.error


@given(st.floats(0, 100), st.integers(0, 40), st.floats(0, 1), st.floats(1, 60), st.floats(0, 0.5))
def test_waits_are_never_negative_and_grow_to_a_limit(
    spent_s: float, failures: int, fraction: float, interval_s: float, jitter: float
) -> None:
    pace = Pace(interval_s, jitter, 5.0)
    wait_s = pace.wait_s(spent_s, failures, fraction)
    assert 0 <= wait_s <= max(BACKOFF_LAST_S, interval_s) * (1 + jitter / 2)
    assert failures or wait_s <= interval_s * (1 + jitter / 2)


def test_scrapes_that_nobody_takes_wait_on_disk_and_go_in_order_later(tmp_path: Path) -> None:
    poster = Poster()
    poster.is_up = False
    first = delivery(poster, tmp_path)
    first.start()
    for number in range(5):
        first.take(scrape(number))
    eventually(lambda: first.is_backing_off, WAIT_S)
    first.stop()
    assert poster.taken == []
    # Another process, later.
    poster.is_up = True
    second = delivery(poster, tmp_path)
    second.start()
    second.take(scrape(5))
    eventually(lambda: len(poster.taken) == 6, WAIT_S)
    second.stop()
    assert sorted(poster.taken) == list(range(6))
    assert [number for number in poster.taken if number < 5] == list(range(5))
    assert list(tmp_path.iterdir()) == []


def test_a_full_spool_gives_up_the_oldest_scrapes_whole(tmp_path: Path) -> None:
    poster = Poster()
    poster.is_up = False
    limit = 4_000
    first = delivery(poster, tmp_path, limit)
    first.start()
    first.take(scrape(0))
    eventually(lambda: first.is_backing_off, WAIT_S)
    for number in range(1, 200):
        first.take(scrape(number))
    first.stop()
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.seg")) <= limit
    assert first.tally.dropped
    poster.is_up = True
    second = delivery(poster, tmp_path, limit)
    second.start()
    eventually(lambda: 199 in poster.taken, WAIT_S)
    second.stop()
    assert poster.taken == sorted(poster.taken)
    assert 1 < len(set(poster.taken)) < 200


def test_what_was_delivered_and_what_was_given_up_are_metrics_however_often_they_are_read() -> None:
    tally, metrics = Tally(), Metrics()
    tally.accepted = 3
    tally.drop(DropReason.SPOOL_FULL, calls=2)
    tally.reject("bad_scrape")
    for _ in range(2):
        account(metrics, tally)
    assert metrics.value(GPU_DELIVERED) == 3
    assert [metrics.value(GPU_LOST, reason=reason) for reason in ("spool_full", "bad_scrape")] == [2, 1]
    tally.drop(DropReason.SPOOL_FULL)
    account(metrics, tally)
    assert metrics.value(GPU_LOST, reason="spool_full") == 3


def read_at(node: Node, at_s: float) -> GpuScrape:
    with Simulator(pages(node), lambda: at_s) as simulator:
        return PageReader(Target(simulator.urls[0]), "here", 5.0, CLOCK).read()


def test_the_simulated_node_throttles_and_then_loses_a_gpu() -> None:
    node = Node(seed=7)
    calm = read_at(node, 1.0)
    assert (len(calm.gpus), calm.host, calm.error, calm.rejected) == (8, node.host, "", ())
    assert all(not gpu.throttle_reasons and gpu.xid is None for gpu in calm.gpus)
    hot = read_at(node, THROTTLE_FROM_S)
    assert [gpu.gpu_index for gpu in hot.gpus if gpu.throttle_reasons] == [node.hot_gpu]
    lost = read_at(node, XID_AT_S)
    assert [(gpu.gpu_index, gpu.xid, gpu.power_w) for gpu in lost.gpus if gpu.xid] == [(node.lost_gpu, 79, None)]


def test_a_seed_tells_the_same_story_again_and_its_server_too() -> None:
    told = [[page(at_s) for page in pages(Node(seed=3)).values()] for at_s in (0.0, 12.5, 12.5)]
    assert told[1] == told[2] != told[0]
    with Simulator(pages(Node()), lambda: 10.0) as simulator:
        [served] = PageReader(Target(simulator.urls[1]), "here", 5.0, CLOCK).read().engines
    assert served.model == Node().model
    assert served.generated_tokens == 9_600
