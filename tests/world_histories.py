"""Random histories of calls as the world sends them, carried both ways by the real writers; and what they come to.

What they come to is worked out again from the raw events alone (`Truth`). Embedded is one log, whose writer folds what
it plans; over Kafka are two partitions, whose writers and cursors cut ranges of their own, die and begin again. A test
may give `play` further `observers`, asked at every quiet moment, and `deeds` of its own beside those here.
"""

import json
import random
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

from msgspec.structs import replace

from kafka_writers import known_calls
from llmtrail.core.board import Board
from llmtrail.core.cell import Cell
from llmtrail.core.ids import log_key, uuid7
from llmtrail.core.partial import Partial, decode_partials, encode_partials
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.slot import SlotKey
from llmtrail.log.memory import MemoryLog
from llmtrail.log.port import CALLS, Append
from llmtrail.store.rows import CallRow, Corrected, DeadLetterRow, KnownCall
from llmtrail_aggregator.fold import apply_all
from llmtrail_aggregator.shelf import Shelf
from llmtrail_ingest.statistics.cursor import GROUP, PartialsSink, Publishing, StatisticsCursor
from llmtrail_ingest.statistics.known import CountedCalls
from llmtrail_ingest.statistics.outlet import Outlet
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.tally import CountingTally, Fate
from llmtrail_ingest.writer.lanes import Lanes
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts
from llmtrail_ingest.writer.step import Batch
from world_truth import BOOK, DAY_S, NS, Event, Truth

BEGAN_NS = 1_795_000_000 * NS
PARTITIONS = 2
__all__ = ["DAY_S", "NS", "Event", "Truth"]
LANES = Lanes()
TENANTS = ("", "", "acme", "globex")
ZONES = ("UTC", "Asia/Tokyo", "America/Los_Angeles")  # whose months are kept
STEPS_S = (0, 0, 0.3, 7, 61, 250, 3_700, 90_000)
LATENCIES_MS = (None, 40.0, 20_000.0, 95_000.0, 600_000.0)
MODELS = ("gpt-4o-mini", "gpt-4o", "nobody-prices-this")
ANSWERED_AS = {"gpt-4o": "gpt-4o-2024-08-06", "gpt-4o-mini": "gpt-4o-mini-2024-07-18"}
# A call's tenant and its id as a number.
Name = tuple[str, int]


class DiedError(Exception):
    """The process died here."""


class MortalLog(MemoryLog):
    """A log whose next commit of a group kills who makes it, where that is wanted."""

    dies = ""

    def commit(self, group: str, topic: str, partition: int, next_offset: int) -> None:
        if self.dies == group:
            self.dies = ""
            raise DiedError
        super().commit(group, topic, partition, next_offset)


class Rows:
    """The store: of each call the highest revision, the later of two equal ones."""

    def __init__(self) -> None:
        self.rows: dict[Name, CallRow] = {}
        self.letters: dict[tuple[str, int], DeadLetterRow] = {}

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        del token
        for row in rows:
            former = self.rows.get((row.tenant, row.call_key))
            if former is None or former.call.revision <= row.call.revision:
                self.rows[row.tenant, row.call_key] = row

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        del token
        self.letters |= {(letter.topic_id, letter.offset): letter for letter in letters}

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        return known_calls(self.rows.values(), call_keys)

    def newest_made_ms(self, before_ms: int) -> int | None:
        return max((key >> 80 for _, key in self.rows if key >> 80 < before_ms), default=None)

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        return sorted({key for _, key in self.rows if key >> 80 > after_ms}, reverse=True)[:ids_max]

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        return sum(1 for row in rows if (row.tenant, row.call_key) not in self.rows)


class Folded:
    """The statistics: partials as messages, folded into slots, shown on a board."""

    def __init__(self) -> None:
        self.table: dict[str, bytes] = {}
        self.shelf = Shelf(self.table)
        self.board = Board(ZONES)

    def send(self, partials: Iterable[Partial]) -> None:
        by_shard: dict[int, list[Partial]] = {}
        for partial in partials:
            by_shard.setdefault(partial.shard, []).append(partial)
        for together in by_shard.values():
            changed: dict[str, bytes | None] = {}
            for key, slot in apply_all(self.shelf, decode_partials(encode_partials(together)), ZONES).writes:
                changed[key.text()] = None if slot is None else self.shelf.put(key, slot)
                if slot is None:
                    self.shelf.delete(key)
            self.board.put(changed)

    def fold(self, batch: Batch) -> None:
        if batch.rows:
            self.send(partials_of(batch, batch.rows[-1].ingested_at_ns))

    def total(self, scope: Scope, since_s: int = 0) -> Cell:
        """Return what is counted of a scope since a time."""
        return self.board.since([scope.text()], since_s, 2**40).get(scope.text(), Cell())

    @property
    def late(self) -> int:
        keys = map(SlotKey.parse, self.table)
        # What becomes part of a month does so in the month of every zone.
        slots = (self.shelf.get(key) for key in keys if key.zone in ("", ZONES[0]))
        return sum(sum(slot.late.values()) for slot in slots if slot is not None)


@dataclass
class Clock:
    """The log's time, which the world moves."""

    at_ns: int = BEGAN_NS

    def now_ns(self) -> int:
        return self.at_ns

    def monotonic_ns(self) -> int:
        return self.at_ns


class Way(Protocol):
    """One of the two ways from events to rows and statistics."""

    name: str
    store: Rows
    statistics: Folded
    tally: CountingTally

    def append(self, event: bytes, key: str, tenant: str) -> None: ...
    def settle(self) -> None: ...
    def restart(self, rng: random.Random) -> None: ...


def _run(writer: Writer, log: MemoryLog, group: str) -> None:
    while log.committed(group, CALLS, 0) < log.end(CALLS, 0):
        writer.run_once()
        writer.drain()


class Embedded:
    """One process, one partition."""

    name = "embedded"

    def __init__(self, clock: Clock) -> None:
        self.store, self.statistics, self.tally = Rows(), Folded(), CountingTally()
        self._clock, self._log = clock, MortalLog()
        self._start()

    def _start(self) -> None:
        parts = WriterParts(self._log, self.store, lambda _: BOOK, self.tally, self._clock, self.statistics.fold)
        self._writer = Writer(parts, WriterConfig(batch_ms=0, batch_rows=13), lanes=LANES)
        self._writer.recover()

    def append(self, event: bytes, key: str, tenant: str) -> None:
        headers = {"tenant": tenant} if tenant else {}
        self._log.append([Append(CALLS, [event], [key.encode()], headers)], self._clock.at_ns)

    def settle(self) -> None:
        try:
            _run(self._writer, self._log, "writer")
        except DiedError:
            self._start()
            self.settle()

    def restart(self, rng: random.Random) -> None:
        if rng.random() < 0.5:
            self._log.dies = "writer"
        else:
            self._start()


@dataclass
class _Partition:
    log: MortalLog
    rows: Writer
    statistics: Writer


class OverKafka:
    """Two partitions, each with a writer of rows and a cursor of statistics that asks no store."""

    name = "kafka"

    def __init__(self, clock: Clock) -> None:
        self.store, self.statistics, self.tally = Rows(), Folded(), CountingTally()
        self._clock = clock
        self._partitions = [self._started(MortalLog()) for _ in range(PARTITIONS)]

    def _started(self, log: MortalLog) -> _Partition:
        return _Partition(log, self._rows(log), self._cursor(log))

    def _rows(self, log: MortalLog) -> Writer:
        parts = WriterParts(log, self.store, lambda _: BOOK, self.tally, self._clock)
        writer = Writer(parts, WriterConfig(batch_ms=0, batch_rows=3), lanes=LANES)
        writer.recover()
        return writer

    def _cursor(self, log: MortalLog) -> Writer:
        counted = CountedCalls(1_000)
        sink = PartialsSink(Publishing(cast("Outlet", self.statistics)), counted)
        parts = WriterParts(log, sink, lambda _: BOOK, CountingTally(), self._clock, sink.publish)
        writer = Writer(parts, WriterConfig(batch_ms=0, batch_rows=11, in_flight=1, group=GROUP), lanes=LANES)
        StatisticsCursor(log, 0, writer, counted, BOOK).look_back()
        writer.recover()
        return writer

    def append(self, event: bytes, key: str, tenant: str) -> None:
        log = self._partitions[zlib.crc32(key.encode()) % PARTITIONS].log
        headers = {"tenant": tenant} if tenant else {}
        log.append([Append(CALLS, [event], [key.encode()], headers)], self._clock.at_ns)

    def settle(self) -> None:
        for one in self._partitions:
            try:
                _run(one.rows, one.log, "writer")
            except DiedError:
                one.rows = self._rows(one.log)
                _run(one.rows, one.log, "writer")
            try:
                _run(one.statistics, one.log, GROUP)
            except DiedError:
                one.statistics = self._cursor(one.log)
                _run(one.statistics, one.log, GROUP)

    def restart(self, rng: random.Random) -> None:
        one = rng.choice(self._partitions)
        match rng.randrange(4):
            case 0:
                one.log.dies = "writer"
            case 1:
                one.log.dies = GROUP
            case 2:
                one.rows = self._rows(one.log)
            case _:
                one.statistics = self._cursor(one.log)


@dataclass
class World:
    """A history under way."""

    rng: random.Random
    clock: Clock = field(default_factory=Clock)
    truth: Truth = field(default_factory=Truth)
    ways: tuple[Way, ...] = ()
    sent: list[tuple[Event, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ways = (Embedded(self.clock), OverKafka(self.clock))

    def send(self, event: Event, tenant: str) -> None:
        self.sent.append((event, tenant))
        self.truth.take(event, tenant, self.clock.at_ns)
        for way in self.ways:
            way.append(json.dumps(event).encode(), log_key(event["call_id"]), tenant)

    def settle(self) -> None:
        for way in self.ways:
            way.settle()

    def call(self) -> None:
        rng = self.rng
        latency_ms = rng.choice(LATENCIES_MS)
        skew_s = rng.choice((0, 0, 0, 0.4, 300, 4_000, -300, -90_000))  # how far the sender's clock is ahead
        lag_s = rng.choice((0.1, 0.1, 5, 5_000, 86_000, 90_000))
        started_ns = self.clock.at_ns + int((skew_s - lag_s) * NS) - int((latency_ms or 0) * 1_000_000)
        event: Event = {
            "call_id": uuid7(started_ns, rng.randbytes(10)),
            "started_at": started_ns,
            "provider": "openai",
            "request_model": rng.choice(MODELS),
            "feature": rng.choice(("search", "chat")),
            "trace_id": f"{rng.randrange(16):032x}",
            "messages": [{"role": "user", "content": "q" * rng.randrange(40)}],
            **self._measures(latency_ms),
        }
        if rng.random() < 0.3:
            event["parameters"] = {"service_tier": rng.choice(("priority", "flex", "default")), "temperature": 0}
        if rng.random() < 0.2:
            event |= {"status": "error", "failure_mode": rng.choice(("timeout", "rate_limited", "budget_refused"))}
            event.pop("usage", None)
        elif rng.random() < 0.5:
            event["response_model"] = ANSWERED_AS.get(event["request_model"], event["request_model"])
        if rng.random() < 0.1:
            event["tenant"] = rng.choice(("acme", "initech"))
        if self.sent and rng.random() < 0.1:
            # Chance, or a sender that guesses ids and comes first.
            event["call_id"] = rng.choice(self.sent)[0]["call_id"]
        self.send(event, rng.choice(TENANTS))

    def _measures(self, latency_ms: float | None) -> Event:
        measures: Event = {}
        if latency_ms is not None:
            measures["latency_ms"] = latency_ms
        if self.rng.random() < 0.9:
            measures["usage"] = {"input_tokens": self.rng.randrange(10**6), "output_tokens": self.rng.randrange(10**5)}
        return measures

    def revision(self) -> None:
        if not self.sent:
            return
        rng = self.rng
        former, tenant = rng.choice(self.sent)
        event = {name: former[name] for name in ("call_id", "started_at", "request_model")}
        event["revision"] = former.get("revision", 0) + rng.choice((0, 1, 1, 1, 2))
        if stated := rng.choice((former.get("tenant"), former.get("tenant"), None, "acme")):
            event["tenant"] = stated
        match rng.randrange(5):
            case 0:
                event["parser"] = {"status": "ok"}
            case 1:
                event |= self._measures(rng.choice(LATENCIES_MS))
            case 2:
                event["started_at"] += rng.choice((-40 * DAY_S, -3_600, 30, 2 * DAY_S)) * NS
            case 3:
                event["feature"] = rng.choice(("search", "chat", "later"))
            case _:
                event["request_model"] = rng.choice(("gpt-4o-mini", "gpt-4o"))
        self.send(event, rng.choice((tenant, tenant, "", "acme", "globex")))

    def repeat(self) -> None:
        if self.sent:
            event, tenant = self.rng.choice(self.sent)
            self.send(event, self.rng.choice((tenant, tenant, tenant, "globex")))

    def correction(self) -> None:
        self.settle()
        if not self.truth.calls:
            return
        tenant, call_id = name = self.rng.choice(list(self.truth.calls))
        key = tenant, int(call_id.replace("-", ""), 16)
        corrected = Corrected(self.rng.randrange(10**9), "computed", "corrected", None, self.clock.at_ns)
        self.truth.calls[name].corrected = corrected
        for way in self.ways:
            way.store.rows[key] = replace(way.store.rows[key], corrected=corrected)

    def restart(self) -> None:
        self.rng.choice(self.ways).restart(self.rng)

    def wait(self) -> None:
        self.clock.at_ns += int(self.rng.choice(STEPS_S) * NS)


DEEDS: tuple[tuple[Callable[[World], None], int], ...] = (
    (World.call, 8),
    (World.revision, 6),
    (World.repeat, 3),
    (World.correction, 1),
    (World.restart, 2),
    (World.wait, 8),
    (World.settle, 2),
)
Observer = Callable[[World], None]


def play(
    seed: int, observers: Sequence[Observer] = (), deeds: Sequence[tuple[Callable[[World], None], int]] = ()
) -> World:
    """Play one history; hold rows and statistics of both ways against the truth at each quiet moment."""
    world = World(random.Random(seed))
    chosen, weights = zip(*DEEDS, *deeds, strict=True)
    for _ in range(world.rng.randrange(5, 16)):
        deed = world.rng.choices(chosen, weights)[0]
        deed(world)
        if deed is World.settle:
            _observe(world, observers)
    world.settle()
    _observe(world, observers)
    return world


def _observe(world: World, observers: Sequence[Observer]) -> None:
    for observer in (rows_are_right, statistics_are_right, *observers):
        observer(world)


def rows_are_right(world: World) -> None:
    """Hold every row: whose it is, when it counts, what it cost when written and what is shown of that."""
    truth = world.truth
    calls = {(tenant, int(call_id.replace("-", ""), 16)): one for (tenant, call_id), one in truth.calls.items()}
    wanted = {
        key: (one.tenant, one.counted_at_ns, one.event.get("revision", 0), one.cost) for key, one in calls.items()
    }
    corrected = {key: one.corrected for key, one in calls.items()}
    for way in world.ways:
        rows = way.store.rows
        found = {key: (row.tenant, row.counted_at_ns, row.call.revision, row.cost_nanousd) for key, row in rows.items()}
        assert found == wanted, way.name
        assert {key: row.corrected for key, row in rows.items()} == corrected, way.name
        counts = {fate: way.tally.total(fate) for fate in (Fate.STORED, Fate.SKIPPED, Fate.REJECTED)}
        assert list(counts.values()) == [truth.stored, truth.skipped, truth.rejected], way.name
        assert not way.store.letters, way.name


def statistics_are_right(world: World) -> None:
    """Hold the sums of all time and of the last day of each tenant, feature and model, as budgets read them."""
    day_s = (world.clock.at_ns // NS - DAY_S) // 900 * 900
    tenants = {one.tenant for one in world.truth.calls.values()}
    scopes = [Scope(tenant, ScopeKind.TENANT, ()) for tenant in tenants]
    for kind, names in ((ScopeKind.FEATURE, ("search", "chat", "later")), (ScopeKind.MODEL, MODELS)):
        scopes += [Scope(tenant, kind, (name,)) for tenant in tenants for name in names]
    for way in world.ways:
        assert way.statistics.late == sum(one.counted_at_ns is None for one in world.truth.calls.values()), way.name
        for scope in scopes:
            for since_s in (0, day_s):
                cell = way.statistics.total(scope, since_s)
                found = (cell.calls, cell.cost_nanousd, cell.unpriced)
                assert found == world.truth.sums(scope, since_s * NS), (way.name, scope, since_s)
