"""A process's own cursor over samples: what it remembers after a start, and what it counts."""

from llmtrail.core.gpu import GpuSample, GpuScrape, encode_scrape
from llmtrail.core.gpu_board import GpuBoard, GpuFate
from llmtrail.log.port import GPU, Append
from llmtrail.testing.memory_log import MemoryLog
from llmtrail_ingest.gpu.feed import GpuFeed

NS = 1_000_000_000
NOW_S = 1_763_700_000


class _Clock:
    def now_ns(self) -> int:
        return NOW_S * NS

    def monotonic_ns(self) -> int:
        return NOW_S * NS


def append(log: MemoryLog, host: str, ago_s: int, value: bytes | None = None) -> None:
    at_ns = (NOW_S - ago_s) * NS
    gpu = GpuSample(sampled_at_ns=at_ns, host=host, gpu_uuid=f"GPU-{host}", utilization=0.5)
    scrape = GpuScrape(sampled_at_ns=at_ns, host=host, target="t", gpus=(gpu,))
    log.append([Append(GPU, [value or encode_scrape(scrape)], [host.encode()])], at_ns)


def test_a_start_reads_the_last_hour_and_of_what_is_older_who_is_silent() -> None:
    log, board, news = MemoryLog(), GpuBoard(), list[None]()
    for host, ago_s in (("gone", 90_000), ("silent", 7_220), ("silent", 7_200), ("here", 7_200), ("here", 30)):
        append(log, host, ago_s)
    feed = GpuFeed(log, board, _Clock(), lambda: news.append(None))

    assert feed.not_ready()
    while feed.run_once():
        pass

    assert (feed.not_ready(), len(news)) == ("", 1)
    assert [(one.host, one.last_sampled_ns // NS - NOW_S) for one in board.targets(NOW_S)] == [
        ("here", -30),
        ("silent", -7_200),
    ]
    assert [(one.host, one.samples) for one in board.devices(3_600, NOW_S)] == [("here", 1)]


def test_what_cannot_be_read_is_counted_and_what_follows_is_taken() -> None:
    log, board = MemoryLog(), GpuBoard()
    append(log, "a", 20, b"{")
    append(log, "a", 10)
    feed = GpuFeed(log, board, _Clock())

    assert feed.run_once() == 2
    append(log, "a", 10)
    assert feed.run_once() == 1

    assert board.counts[GpuFate.BAD] == board.counts[GpuFate.APPLIED] == board.counts[GpuFate.REPEATED] == 1
