"""Every reader of a topic, as production has it, over records that a test made: the one list of them.

Each takes records of its topic between two good ones, raises nothing, comes past the last and says how many it counted
as unreadable. `topic_readers` finds the readers in the code, so that none is left out.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from engine_world import METRICS, NS, Life, Process, World, rules_of
from kafka_writers import RememberingSink
from limits_house import hard_limit
from llmtrail.clock import SystemClock
from llmtrail.config import Config
from llmtrail.core.audit import AuditRow
from llmtrail.core.board import Board
from llmtrail.core.cell import Cell
from llmtrail.core.gpu import GpuSample, GpuScrape, encode_scrape
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.kept import KEY, Kept, encode_kept
from llmtrail.core.limit import encode_limit
from llmtrail.core.minutes import MinuteBook
from llmtrail.core.partial import Partial, Source, encode_partials
from llmtrail.core.redact import ContentPolicy
from llmtrail.core.scope import Scope, ScopeKind, shard_of
from llmtrail.core.slot import SlotKey, SlotState, Tier, encode_slot
from llmtrail.core.slot_parts import check_slot
from llmtrail.emit.limit_source import TopicLimits
from llmtrail.log.kafka.whole import Kept as KeptRecord
from llmtrail.log.port import (
    ALERTS,
    AUDIT,
    CALLS,
    DEAD_LETTERS,
    GPU,
    GPU_STATS,
    KEPT,
    LIMITS,
    PARTIALS,
    SPANS,
    STATS,
    Append,
)
from llmtrail.metrics import UNREADABLE_RECORDS, Metrics
from llmtrail.roles.kept import KeptTopic
from llmtrail.roles.limits import take_limits
from llmtrail.roles.move_kafka import Kafka
from llmtrail.roles.move_plan import MoveError
from llmtrail.roles.statistics import take_records
from llmtrail.testing.memory_log import MemoryLog
from llmtrail_aggregator.minute_cursor import MinuteCursor
from llmtrail_alerts.model import Budget, Level, Period, Severity, Target, Unit
from llmtrail_alerts.rule_case import Event
from llmtrail_ingest.audit_rows import audit_append, audit_writer
from llmtrail_ingest.dead_letter import dead_letter_writer, letter_of, letter_value
from llmtrail_ingest.gpu.feed import GpuFeed
from llmtrail_ingest.gpu.writer import GpuWriter
from llmtrail_ingest.otlp.admit import admit_spans
from llmtrail_ingest.otlp.loop import SettleLoop
from llmtrail_ingest.statistics.cursor import GROUP as STATISTICS_GROUP
from llmtrail_ingest.statistics.cursor import PartialsSink, Publishing, StatisticsCursor
from llmtrail_ingest.statistics.known import CountedCalls
from llmtrail_ingest.tally import CountingTally, Fate
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts
from llmtrail_web.limit_board import LimitBoard
from otlp_spans import chat, span
from poison import Poison
from worker_alone import Stream, worker_alone
from world_truth import BOOK

NOW_NS = 1_795_000_200 * NS
NOW_S = NOW_NS // NS
TENANT = Scope("", ScopeKind.TENANT, ()).text()
SHARD = shard_of(TENANT)
Feed = Callable[[Sequence[Poison]], int]


@dataclass(frozen=True, slots=True)
class Consumer:
    """One reader of a topic: the file that reads, and how records are fed to what it does with them."""

    file: str
    topic: str
    feed: Feed


class Clock(SystemClock):
    """Stands still."""

    def now_ns(self) -> int:
        return NOW_NS


def log_of(topic: str, poisons: Sequence[Poison], good: Sequence[Append]) -> MemoryLog:
    """Return a log with poison between good records; a tombstone comes as no bytes, as the driver's reader hands it."""
    log = MemoryLog()
    between = [Append(topic, [one.value or b""], [one.key], {"source": "kafka"}) for one in poisons]
    for append in (good[0], *between, *good[1:]):
        log.append([append], NOW_NS)
    return log


def unread_by(act: Callable[[Metrics], object], topic: str) -> int:
    """Return how many records of a topic were counted while something was done."""
    metrics = Metrics()
    act(metrics)
    return int(metrics.value(UNREADABLE_RECORDS, topic=topic))


def _call(number: int) -> Append:
    event = b'{"call_id":"01990000-0000-7000-8000-%012d","started_at":%d,"request_model":"m"}' % (number, NOW_NS)
    return Append(CALLS, [event], [b"k"], {"source": "http"})


def _read_to_end(log: MemoryLog, topic: str, group: str, run_once: Callable[[], int]) -> None:
    for _ in range(100_000):
        if log.committed(group, topic, 0) == log.end(topic, 0):
            return
        run_once()
    raise AssertionError(f"{topic} is not read to its end")


def _written(writer: Writer) -> int:
    written = writer.run_once()
    writer.drain()
    return written


def rows_of_calls(poisons: Sequence[Poison]) -> int:
    log, sink, tally = log_of(CALLS, poisons, [_call(1), _call(2)]), RememberingSink(), CountingTally()
    writer = Writer(WriterParts(log, sink, lambda _: BOOK, tally, Clock()), WriterConfig(batch_ms=0, group="g"))
    writer.recover()
    _read_to_end(log, CALLS, "g", lambda: _written(writer))
    assert len(sink.rows) == tally.total(Fate.STORED)
    assert tally.total(Fate.STORED) >= 2
    return tally.total(Fate.REJECTED)


def statistics_of_calls(poisons: Sequence[Poison]) -> int:
    """The cursor looks back on what it counted, then counts the rest."""
    log = log_of(CALLS, poisons, [_call(1), _call(2)])
    counted, published = CountedCalls(1_000), list[Partial]()
    sink = PartialsSink(Publishing(cast("Any", SimpleNamespace(send=published.extend))), counted)
    tally = CountingTally()
    parts = WriterParts(log, sink, lambda _: BOOK, tally, Clock(), sink.publish)
    writer = Writer(parts, WriterConfig(batch_ms=0, in_flight=1, group=STATISTICS_GROUP))
    writer.recover()
    _read_to_end(log, CALLS, STATISTICS_GROUP, lambda: _written(writer))
    calls = sum(cells[TENANT].calls for one in published for cells in one.slots.values() if TENANT in cells)
    assert calls == tally.total(Fate.STORED) >= 2
    again = CountedCalls(1_000)
    assert StatisticsCursor(log, 0, writer, again, BOOK).look_back() == calls
    return tally.total(Fate.REJECTED)


def natives_of_calls(poisons: Sequence[Poison]) -> int:
    """The settler looks for calls that an SDK reports too; what it cannot read there is somebody else's to count."""
    loop = SettleLoop(log_of(CALLS, poisons, [_call(1), _call(2)]), lambda: NOW_NS)
    loop.run_once(NOW_NS)
    return len(poisons)


def spans(poisons: Sequence[Poison]) -> int:
    good = [admit_spans([span(n, None, chat())], ContentPolicy.FULL, "").appends[0] for n in (1, 2)]
    log = log_of(SPANS, poisons, good)

    def act(metrics: Metrics) -> None:
        loop = SettleLoop(log, lambda: NOW_NS, unread=metrics.unread)
        for turn in range(200):
            loop.run_once(NOW_NS + turn * NS)
        assert log.end(CALLS, 0), "the good spans became calls"

    counted = unread_by(act, SPANS)
    assert log.end(DEAD_LETTERS, 0) == counted
    return counted


def dead_letters(poisons: Sequence[Poison]) -> int:
    letter = letter_value(letter_of(b"x", reason="r", detail="d", source="log"))
    good = [Append(DEAD_LETTERS, [letter], [b"k"])] * 2
    log, sink = log_of(DEAD_LETTERS, poisons, good), _Letters()

    def act(metrics: Metrics) -> None:
        writer = dead_letter_writer(log, sink, metrics.unread)
        _read_to_end(log, DEAD_LETTERS, "dead-letter-writer", writer.run_once)

    counted = unread_by(act, DEAD_LETTERS)
    assert len(sink.letters) == 2 + len(poisons)
    return counted


def audit(poisons: Sequence[Poison]) -> int:
    rows = [
        AuditRow(audit_id=f"a{number}", changed_at_ns=NOW_NS, actor="x", action="used", kind="token", name="n")
        for number in range(2)
    ]
    log, stored = log_of(AUDIT, poisons, [audit_append([row]) for row in rows]), list[AuditRow]()

    def act(metrics: Metrics) -> None:
        writer = audit_writer(log, lambda found, _: stored.extend(found), lambda n: metrics.unread(AUDIT, n))
        _read_to_end(log, AUDIT, "audit-writer", writer.run_once)

    counted = unread_by(act, AUDIT)
    assert {row.audit_id for row in stored} >= {"a0", "a1"}
    return counted


@dataclass
class _Letters:
    """The store of letters, and of samples."""

    letters: list[Any] = field(default_factory=list)
    gpus: list[Any] = field(default_factory=list)

    def insert_dead_letters(self, letters: Sequence[Any], _token: str) -> None:
        self.letters += letters

    def insert_gpu(self, gpus: Sequence[Any], _engines: Sequence[Any], _token: str) -> None:
        self.gpus += gpus

    def begin(self, _now_ns: int) -> dict[int, set[str]]:
        return {}

    def __getattr__(self, name: str) -> Any:
        if name not in {"insert_scrapes", "insert_places", "roll_up"}:
            raise AttributeError(name)
        return lambda *_: None


def _scrapes() -> list[Append]:
    at_ns = NOW_NS - 20 * NS
    values = [
        encode_scrape(
            GpuScrape(
                sampled_at_ns=at_ns,
                host=host,
                target="t",
                gpus=(GpuSample(sampled_at_ns=at_ns, host=host, gpu_uuid="GPU-1", utilization=0.5),),
            )
        )
        for host in ("n0", "n1")
    ]
    return [Append(GPU, [value], [b"n"], {"source": "http"}) for value in values]


def samples(poisons: Sequence[Poison]) -> int:
    log, sink = log_of(GPU, poisons, _scrapes()), _Letters()

    def act(metrics: Metrics) -> None:
        writer = GpuWriter(log, cast("Any", sink), Clock(), unread=metrics.unread)
        _read_to_end(log, GPU, "llmtrail.gpu", writer.run_once)

    counted = unread_by(act, GPU)
    assert {row.host for row in sink.gpus} >= {"n0", "n1"}
    assert len(sink.letters) == counted
    return counted


def gpu_feed(poisons: Sequence[Poison]) -> int:
    board = GpuBoard()
    feed = GpuFeed(log_of(GPU, poisons, _scrapes()), board, Clock())
    while feed.run_once():
        continue
    assert {one.host for one in board.targets(NOW_S)} >= {"n0", "n1"}
    return board.counts[cast("Any", "bad")]


def _slot() -> tuple[str, bytes]:
    key = SlotKey(SHARD, Tier.MINUTE, NOW_S // 60 * 60)
    slot = SlotState(key.tier, key.start_s, key.start_s + 60, key.start_s, applied=1, cells={TENANT: Cell(calls=1)})
    return key.text(), encode_slot(slot)


def statistics(poisons: Sequence[Poison]) -> int:
    board, good = Board(), _slot()
    records = [(one.key, one.value) for one in poisons] + [(good[0].encode(), good[1])]

    def act(metrics: Metrics) -> None:
        take_records(board, records, check_slot, lambda strange: metrics.unread(STATS, strange))

    counted = unread_by(act, STATS)
    assert board.since([TENANT], 0, 2**40)[TENANT].calls == 1
    return counted


def gpu_statistics(poisons: Sequence[Poison]) -> int:
    board, source = GpuBoard(), GpuBoard()
    taken = source.take_value(_scrapes()[0].values[0], NOW_NS)
    records = [(one.key, one.value) for one in poisons] + [(key.encode(), value) for key, value in taken.writes.items()]

    def act(metrics: Metrics) -> None:
        take_records(board, records, unread=lambda strange: metrics.unread(GPU_STATS, strange))

    counted = unread_by(act, GPU_STATS)
    assert [one.host for one in board.targets(NOW_S)] == ["n0"]
    return counted


class _Minutes:
    """The store of minutes, of which only the book is of interest."""

    def __init__(self) -> None:
        self.book = MinuteBook()

    def write_due(self, _now_s: int) -> int:
        return 0


def minutes(poisons: Sequence[Poison]) -> int:
    key, value = _slot()
    good = Append(STATS, [value], [key.encode()])
    log, writer, turned = log_of(STATS, poisons, [good, good]), _Minutes(), list[int]()
    cursor = MinuteCursor(
        log, 0, cast("Any", writer), Clock(), lambda _, strange: turned.extend(index for index, _ in strange)
    )
    while cursor._next < log.end(STATS, 0):
        assert cursor._read()
    assert writer.book.due(NOW_S + 100_000, 10)
    return len(turned)


def limits_of_roles(poisons: Sequence[Poison]) -> int:
    board, good = LimitBoard("b"), hard_limit("u-9")
    records = [(one.key, one.value) for one in poisons] + [(good.key.encode(), encode_limit(good))]
    counted = unread_by(lambda metrics: take_limits(board, records, metrics.unread), LIMITS)
    assert any(b"u-9" in bytes(one) for one in board.page("", "").limits)
    return counted


def limits_of_callers(poisons: Sequence[Poison]) -> int:
    source, good = TopicLimits.__new__(TopicLimits), hard_limit("u-9")
    source._table = cast("Any", SimpleNamespace(is_caught_up=True))
    records = [(one.key, one.value) for one in poisons] + [(good.key.encode(), encode_limit(good))]
    news = source._news(records, is_new_table=True)
    assert news.changes[good.key] == good
    return news.unread


def kept(poisons: Sequence[Poison]) -> int:
    topic, metrics = KeptTopic(Config()), Metrics()
    topic._unread = metrics.unread
    good = encode_kept(Kept(zones=("Asia/Kolkata",)))
    # Under the one key that counts as well.
    topic.take([(one.key, one.value) for one in poisons] + [(KEY.encode(), one.value) for one in poisons])
    topic.take([(KEY.encode(), good)])
    assert "Asia/Kolkata" in topic().zones
    return int(metrics.value(UNREADABLE_RECORDS, topic=KEPT))


BUDGET = Budget(
    name="spend",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.CALLS,
    limit=5,
    period=Period.HOUR,
    levels=(Level("hard limit", 100, 100, Severity.CRITICAL, hard=True),),
    owner="team",
)
RULES = rules_of((BUDGET,))


def _journal() -> dict[str, bytes]:
    """What a decider wrote that saw a budget cross its limit and had not told anybody yet."""
    life = Life(7, [RULES])
    life.world.kill_share = 0.0
    life.world.kafka = True
    for _ in range(3):
        life.world.now_ns += 5 * NS
        life.world.statistics.add(
            Event(at_ns=life.world.now_ns, user="u-1", model="m", failure=""), life.world.now_ns, 45
        )
        life.do("decide")
    return dict(life.world.held)


JOURNAL = _journal()


def journal(poisons: Sequence[Poison]) -> int:
    """A decider starts from its journal, whatever stands under its own kinds of keys and under others."""
    world = World(random.Random(1), kafka=True, kill_share=0.0)
    world.held = dict(JOURNAL)
    for number, one in enumerate(poisons):
        for kind in _KINDS:
            world.held[f'["{kind}","{number}"]'] = one.value or b""
        world.held[one.key.decode("utf-8", "replace")] = one.value or b""
    before = METRICS.value(UNREADABLE_RECORDS, topic=ALERTS)
    process = Process(world, RULES)
    assert len(world.shown) == 1, "the limit that was reached"
    world.now_ns += 40 * NS
    process.engine.turn()
    return int(METRICS.value(UNREADABLE_RECORDS, topic=ALERTS) - before)


# Every kind of key that the journal knows.
_KINDS = sorted({key.split('"')[1] for key in JOURNAL} | {"group", "grouping"})


def partials(poisons: Sequence[Poison]) -> int:
    slots = {NOW_S // 10 * 10: {TENANT: Cell(calls=1)}}
    good = [
        encode_partials([Partial(shard=SHARD, watermark_s=NOW_S, source=Source("t", 0, n, n + 1), slots=slots)])
        for n in range(2)
    ]
    with worker_alone(Clock()) as (worker, letters):
        values = [(b"3", good[0]), *((one.key, one.value) for one in poisons), (b"3", good[1])]
        asyncio.run(worker.fold(Stream(PARTIALS, NOW_S, values)))
        cells = Board()
        cells.put(dict(worker._table.items()))
        assert cells.since([TENANT], 0, 2**40)[TENANT].calls == 2
        assert worker._report._counts["bad"] == len(letters.values)
        return len(letters.values)


def scrapes(poisons: Sequence[Poison]) -> int:
    good = [append.values[0] for append in _scrapes()]
    with worker_alone(Clock()) as (worker, letters):
        values = [(b"n", good[0]), *((one.key, one.value) for one in poisons), (b"n", good[1])]
        asyncio.run(worker.fold_gpu(Stream(GPU, NOW_S, values)))
        assert {one.host for one in worker._gpu.board.targets(NOW_S)} >= {"n0", "n1"}
        return len(letters.values) + int(worker._gpu.board.counts["bad"])


def slots_of_the_worker(poisons: Sequence[Poison]) -> int:
    """What Faust restores is the topic itself: partials are folded whatever else stands in it."""
    with worker_alone(Clock()) as (worker, _):
        worker._table._table.update({one.key: one.value for one in poisons if one.value is not None})
        key, value = _slot()
        worker._table[key] = value
        worker._table[replace(SlotKey.parse(key), shard=SHARD + 1).text()] = b"poison"
        slots = {NOW_S // 60 * 60: {TENANT: Cell(calls=1)}}
        for shard in (SHARD, SHARD + 1):
            one = Partial(shard=shard, watermark_s=NOW_S, source=Source("t", 0, 0, 1), slots=slots)
            asyncio.run(worker.fold(Stream(PARTIALS, NOW_S, [(b"k", encode_partials([one]))])))
        assert worker._report._counts["bad"] == 0
        assert worker._report._counts["applied"] == 2
        return len(poisons)


def gpu_slots_of_the_worker(poisons: Sequence[Poison]) -> int:
    """As above, of GPUs."""
    with worker_alone(Clock()) as (worker, letters):
        worker._gpu._table._table.update({one.key: one.value for one in poisons if one.value is not None})
        asyncio.run(worker.fold_gpu(Stream(GPU, NOW_S, [(b"n", _scrapes()[0].values[0])])))
        assert not letters.values
        assert [one.host for one in worker._gpu.board.targets(NOW_S)] == ["n0"]
        return len(poisons)


def moved(topic: str) -> Feed:
    """A move only compares: what is no slot of its own is named, and the move is not made."""

    def feed(poisons: Sequence[Poison]) -> int:
        kafka: Any = Kafka.__new__(Kafka)
        kafka._client, kafka._prefix = {}, ""
        kafka._whole = lambda _: [KeptRecord(0, n, one.key, one.value, {}) for n, one in enumerate(poisons)]
        assert not poisons or kafka._read(topic)
        with contextlib.suppress(MoveError):
            kafka._published({})
        return len(poisons)

    return feed


CONSUMERS = (
    Consumer("llmtrail/emit/limit_source.py", LIMITS, limits_of_callers),
    Consumer("llmtrail/roles/alert.py", ALERTS, journal),
    Consumer("llmtrail/roles/kept.py", KEPT, kept),
    Consumer("llmtrail/roles/limits.py", LIMITS, limits_of_roles),
    Consumer("llmtrail/roles/move_kafka.py", PARTIALS, moved(PARTIALS)),
    Consumer("llmtrail/roles/move_kafka.py", STATS, moved(STATS)),
    Consumer("llmtrail/roles/statistics.py", GPU_STATS, gpu_statistics),
    Consumer("llmtrail/roles/statistics.py", STATS, statistics),
    Consumer("llmtrail_aggregator/minute_cursor.py", STATS, minutes),
    Consumer("llmtrail_aggregator/worker.py", GPU, scrapes),
    Consumer("llmtrail_aggregator/worker.py", GPU_STATS, gpu_slots_of_the_worker),
    Consumer("llmtrail_aggregator/worker.py", PARTIALS, partials),
    Consumer("llmtrail_aggregator/worker.py", STATS, slots_of_the_worker),
    Consumer("llmtrail_ingest/audit_rows.py", AUDIT, audit),
    Consumer("llmtrail_ingest/dead_letter.py", DEAD_LETTERS, dead_letters),
    Consumer("llmtrail_ingest/gpu/feed.py", GPU, gpu_feed),
    Consumer("llmtrail_ingest/gpu/writer.py", GPU, samples),
    Consumer("llmtrail_ingest/otlp/loop.py", CALLS, natives_of_calls),
    Consumer("llmtrail_ingest/otlp/loop.py", SPANS, spans),
    Consumer("llmtrail_ingest/statistics/cursor.py", CALLS, statistics_of_calls),
    Consumer("llmtrail_ingest/writer/pipeline.py", CALLS, rows_of_calls),
)
