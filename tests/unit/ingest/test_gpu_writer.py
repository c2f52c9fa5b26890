"""How scrapes become rows: all of them once, bad ones kept, the five minutes made anew."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from llmtrail.core.gpu import (
    Engine,
    EngineSample,
    GpuSample,
    GpuScrape,
    Reason,
    RejectedLine,
    Source,
    encode_scrape,
)
from llmtrail.core.gpu_map import Place
from llmtrail.log.port import GPU, Append
from llmtrail.store.gpu import EngineRow, GpuRow
from llmtrail.store.gpu_scrapes import ScrapeRow
from llmtrail.store.rows import DeadLetterRow
from llmtrail.testing.memory_log import MemoryLog
from llmtrail_ingest.gpu.rows import AHEAD_NS_MAX, BEHIND_NS_MAX
from llmtrail_ingest.gpu.writer import ROLL_AFTER_NS, GpuWriter, Slots

_S = 1_000_000_000
NOW_NS = 1_795_000_200 * _S  # a start of five minutes
_ROLL_NS = 300 * _S


class _Clock:
    def __init__(self) -> None:
        self.at_ns = NOW_NS

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic_ns(self) -> int:
        return self.at_ns


class _AwayError(RuntimeError):
    pass


@dataclass
class _Sink:
    """A store that keeps rows by their keys, as the tables do."""

    gpus: dict[tuple[str, str, int], GpuRow] = field(default_factory=dict)
    engines: dict[tuple[str, str, int], EngineRow] = field(default_factory=dict)
    scrapes: dict[int, ScrapeRow] = field(default_factory=dict)
    letters: dict[int, DeadLetterRow] = field(default_factory=dict)
    places: list[tuple[int, Place]] = field(default_factory=list)
    rolled: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    left: dict[int, set[str]] = field(default_factory=dict)
    away: bool = False

    def insert_gpu(self, gpus: Sequence[GpuRow], engines: Sequence[EngineRow], token: str) -> None:
        assert token
        if self.away:
            raise _AwayError
        self.gpus |= {(row.host, row.gpu_uuid, row.sampled_at_ns): row for row in gpus}
        self.engines |= {(row.host, row.address, row.sampled_at_ns): row for row in engines}

    def insert_scrapes(self, scrapes: Sequence[ScrapeRow], token: str) -> None:
        assert token
        self.scrapes |= {row.offset: row for row in scrapes}

    def insert_places(self, places: Iterable[tuple[int, Place]], token: str) -> None:
        assert token
        self.places += places

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        assert token
        self.letters |= {letter.offset: letter for letter in letters}

    def roll_up(self, start_ns: int, hosts: Collection[str], now_ns: int) -> None:
        assert now_ns
        self.rolled.append((start_ns, frozenset(hosts)))

    def begin(self, now_ns: int) -> Slots:
        assert now_ns
        return self.left


def scrape(host: str, at_ns: int) -> bytes:
    gpu = GpuSample(sampled_at_ns=at_ns, host=host, gpu_uuid="GPU-1", gpu_index=0, utilization=0.5, xid=79)
    server = EngineSample(sampled_at_ns=at_ns, host=host, address="a:1", engine=Engine.VLLM, kv_cache_used=0.5)
    return encode_scrape(GpuScrape(sampled_at_ns=at_ns, host=host, target="t", gpus=(gpu,), engines=(server,)))


def _house(values: Sequence[bytes]) -> tuple[GpuWriter, _Sink, MemoryLog, _Clock]:
    log, sink, clock = MemoryLog(), _Sink(), _Clock()
    log.append([Append(GPU, list(values), [b"" for _ in values], {"source": "http"})], NOW_NS + 7)
    return GpuWriter(log, sink, clock), sink, log, clock


def test_a_scrape_becomes_rows_with_the_time_at_which_the_log_took_it() -> None:
    writer, sink, _, _ = _house([scrape("node-1", NOW_NS)])
    assert writer.run_once() == 1
    (gpu,), (server,) = sink.gpus.values(), sink.engines.values()
    assert (gpu.sampled_at_ns, gpu.received_at_ns, gpu.source) == (NOW_NS, NOW_NS + 7, Source.DCGM.value)
    assert (gpu.utilization, gpu.xid, gpu.power_w) == (0.5, 79, None)
    assert (server.engine, server.kv_cache_used, server.received_at_ns) == ("vllm", 0.5, NOW_NS + 7)
    assert {place.address for _, place in sink.places} == {"", "a:1"}
    assert writer.run_once() == 0


def test_each_reading_is_a_row_with_its_error_and_the_lines_that_gave_nothing() -> None:
    lines = (RejectedLine("DCGM_FI_DEV_X 1", Reason.UNKNOWN), RejectedLine("oops", Reason.MALFORMED))
    partly = GpuScrape(
        sampled_at_ns=NOW_NS,
        host="node-1",
        target="http://127.0.0.1:9400",
        used_lines=25,
        rejected=lines,
        rejected_counts={Reason.UNKNOWN: 7, Reason.MALFORMED: 1},
    )
    away = GpuScrape(sampled_at_ns=NOW_NS, host="node-2", target="t", error="no answer in 5 s")
    # When the collector got no answer for the first one and sends it again
    writer, sink, log, _ = _house([encode_scrape(partly), scrape("node-1", NOW_NS), encode_scrape(away), b"{"])
    log.append([Append(GPU, [encode_scrape(partly)], [b""], {})], NOW_NS)
    writer.run_once()
    assert sorted(sink.scrapes) + sorted(sink.letters) == [0, 1, 2, 4, 3]
    first, sampled, failed, again = (sink.scrapes[offset] for offset in (0, 1, 2, 4))
    assert (first.host, first.target, first.error, first.used_lines) == ("node-1", partly.target, "", 25)
    assert (first.sampled_at_ns, first.received_at_ns) == (NOW_NS, NOW_NS + 7)
    assert dict(first.rejected) == {"unknown": 7, "malformed": 1}
    assert list(zip(first.rejected_lines, first.rejected_reasons, strict=True)) == [
        ("DCGM_FI_DEV_X 1", "unknown"),
        ("oops", "malformed"),
    ]
    assert (sampled.gpus, sampled.engines, sampled.used_lines) == (1, 1, None)
    assert (failed.error, failed.gpus, failed.engines) == ("no answer in 5 s", 0, 0)
    assert (again.rejected, again.sampled_at_ns) == (first.rejected, NOW_NS)


def test_what_cannot_be_read_or_is_of_no_time_is_a_dead_letter_and_the_others_go_on() -> None:
    bad = [
        b"{",
        b'{"host": 7}',
        b"\xff",
        scrape("node-1", NOW_NS + AHEAD_NS_MAX + _S),
        scrape("node-1", NOW_NS - BEHIND_NS_MAX - _S),
        encode_scrape(GpuScrape(sampled_at_ns=0, host="node-1", target="t", error="away")),
    ]
    writer, sink, _, _ = _house([*bad, scrape("node-1", NOW_NS)])
    assert writer.run_once() == 7
    assert [sink.letters[offset].reason for offset in range(6)] == [*["bad_scrape"] * 3, *["bad_time"] * 3]
    assert [sink.letters[offset].value for offset in range(6)] == bad
    assert "set the clock of node-1 right" in sink.letters[3].detail
    assert len(sink.gpus) == len(sink.scrapes) == 1


def test_where_the_store_is_away_the_cursor_stands_and_nothing_is_lost_or_doubled() -> None:
    values = [scrape("node-1", NOW_NS + second * _S) for second in range(5)]
    writer, sink, log, _ = _house(values[:3])
    sink.away = True
    for _ in range(2):
        try:
            writer.run_once()
        except _AwayError:
            continue
        raise AssertionError("the store was not away")
    # When more came meanwhile, and another process goes on where this one stood
    log.append([Append(GPU, values[3:], [b"", b""], {})], NOW_NS)
    sink.away = False
    assert GpuWriter(log, sink, _Clock()).run_once() == 5
    assert len(sink.gpus) == len(sink.engines) == 5


def test_places_are_told_once_a_day() -> None:
    writer, sink, log, _ = _house([scrape("node-1", NOW_NS)])
    writer.run_once()
    for second in (15, 86_400):
        log.append([Append(GPU, [scrape("node-1", NOW_NS + second * _S)], [b""], {})], NOW_NS + second * _S)
        writer.run_once()
    assert len(sink.places) == 4
    assert len(set(sink.places)) == 4


def test_five_minutes_are_rolled_up_when_they_are_over_and_again_for_what_comes_late() -> None:
    writer, sink, log, clock = _house([scrape("node-1", NOW_NS), scrape("node-2", NOW_NS + 299 * _S)])
    sink.left = {NOW_NS - _ROLL_NS: {"node-9"}}
    writer.run_once()
    # Those that a former process left are over first
    clock.at_ns = NOW_NS + ROLL_AFTER_NS
    assert writer.roll_up_due() == 1
    assert sink.rolled == [(NOW_NS - _ROLL_NS, frozenset({"node-9"}))]
    clock.at_ns = NOW_NS + _ROLL_NS + ROLL_AFTER_NS - 1
    assert writer.roll_up_due() == 0
    clock.at_ns += 1
    assert writer.roll_up_due() == 1
    assert sink.rolled[-1] == (NOW_NS, frozenset({"node-1", "node-2"}))
    assert writer.roll_up_due() == 0
    # When a spool brings an old sample
    log.append([Append(GPU, [scrape("node-2", NOW_NS + _S)], [b""], {})], clock.at_ns)
    writer.run_once()
    assert writer.roll_up_due() == 1
    assert sink.rolled[-1] == (NOW_NS, frozenset({"node-2"}))
