"""Compose the rooms into one process: gateway, log, writer, store, SQL. The only file that knows all of them."""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from starlette.applications import Starlette

from llmtrail import clock as clock_module
from llmtrail.access.auditor import Auditor
from llmtrail.access.book import TokenBook
from llmtrail.access.gate import Gate
from llmtrail.clock import Clock, SystemClock
from llmtrail.config import Config, ConfigError, StoreConfig, kept_days, store_tls, store_url
from llmtrail.core.access.binding import check_binding
from llmtrail.core.board import Board
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.kept import Kept
from llmtrail.core.minutes import MinuteBook
from llmtrail.core.redact import ContentPolicy
from llmtrail.local import moved_file, port_file
from llmtrail.local.alerts import FILL_LIMITS, AlertRooms, LocalAlerts, StoredSpent, new_limit_board
from llmtrail.local.audit import LocalAudit
from llmtrail.local.budgets import RulesInForce, told_routes
from llmtrail.local.data_folder import open_data_folder
from llmtrail.local.gateway import LogAppender, gateway_config
from llmtrail.local.gpu import gpu_store, gpu_writer, measure_gpu_board
from llmtrail.local.grpc_port import GrpcParts, grpc_server
from llmtrail.local.http import ProcessState, process_routes
from llmtrail.local.keeper import Keeper
from llmtrail.local.measured import MeasuredApp, MeasuredSink, folder_bytes
from llmtrail.local.prices import price_book
from llmtrail.local.servers import PortTakenError, Servers, listeners_of
from llmtrail.local.sink import MinuteSink, StoreSink
from llmtrail.local.span_ledger import span_ledger
from llmtrail.local.statistics import LocalStatistics
from llmtrail.local.tls import ServerTls, measure_tls, server_tls
from llmtrail.log.local import LocalLog, LocalLogSettings
from llmtrail.log.log_file import LogBusyError
from llmtrail.log.port import CALLS, DEAD_LETTERS, GPU, SPANS, Append, Log
from llmtrail.log.retention import Keep
from llmtrail.metrics import (
    AUDIT_WAITING,
    GPU_SCRAPES,
    HTTP_CONNECTIONS,
    INGEST_BACKLOG_EVENTS,
    INGEST_FIELDS_MOVED,
    INGEST_LETTERS_UNKEPT,
    LOG_SIZE_BYTES,
    MINUTES_BEHIND_SECONDS,
    MINUTES_ROWS,
    MINUTES_UNPLACED,
    Metrics,
)
from llmtrail.refusals import Refusals
from llmtrail.store.arrow import warm_up
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, Limits, open_chdb, open_http
from llmtrail.store.lookup import find_request, quick_reader
from llmtrail.store.migrate import migrate
from llmtrail.store.retention import set_retention
from llmtrail_aggregator.minute_cursor import MinuteLoop
from llmtrail_aggregator.minutes import MinuteWriter
from llmtrail_alerts.needs import needs_of
from llmtrail_alerts.rules import Rules, RulesError
from llmtrail_alerts.rules_file import load_rules
from llmtrail_ingest.dead_letter import GROUP as DEAD_LETTER_GROUP
from llmtrail_ingest.dead_letter import dead_letter_writer
from llmtrail_ingest.gateway.app import Gateway, GatewayParts
from llmtrail_ingest.gateway.gpu import gpu_routes
from llmtrail_ingest.gateway.otlp import otlp_routes
from llmtrail_ingest.gpu.feed import GpuFeed
from llmtrail_ingest.gpu.writer import GROUP as GPU_GROUP
from llmtrail_ingest.otlp.loop import GROUP as SETTLER_GROUP
from llmtrail_ingest.otlp.loop import SettleLoop
from llmtrail_ingest.otlp.natives import NativeCalls
from llmtrail_ingest.otlp.settle import SettleLimits
from llmtrail_ingest.pricebook import GenaiPriceBook
from llmtrail_ingest.tally import Fate
from llmtrail_ingest.writer.pipeline import GROUP as WRITER_GROUP
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts
from llmtrail_web.gpu import gpu_stats_routes
from llmtrail_web.limits import limit_routes
from llmtrail_web.requests import request_routes
from llmtrail_web.sql_endpoint import SqlConfig, sql_app
from llmtrail_web.stats import stats_routes

# Inserts under way are waited for; what is on the log anyway is stored at the next start.
STOP_S_MAX = 8.0
_READERS = (
    (CALLS, WRITER_GROUP),
    (SPANS, SETTLER_GROUP),
    (DEAD_LETTERS, DEAD_LETTER_GROUP),
    (GPU, GPU_GROUP),
)
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000
_NS_PER_HOUR = 3_600 * 1_000_000_000


class StartError(RuntimeError):
    """Embedded llmtrail cannot start; the text says what to do."""


@dataclass(slots=True)
class _Rooms:
    """What was opened, in the order in which it is closed again."""

    log: LocalLog
    handle: Handle
    reader: Handle


class Embedded:
    """The whole house in one process; a context manager. Threads: HTTP, log appender, writer, two inserts."""

    def __init__(self, config: Config, clock: Clock | None = None, environ: Mapping[str, str] | None = None) -> None:
        """Take the settings; `environ` is where secrets are that rules name by a variable."""
        self._config = config
        self._environ = environ or {}
        self._clock = clock or SystemClock()
        self.metrics = Metrics()
        self._refusals = Refusals(self.metrics, self._clock.now_ns)
        self._audit = Auditor(self._clock, clock_module.random_bytes, self.metrics)
        self._spans = span_ledger(self.metrics)
        self._board = Board(config.stats.zones, threading.Lock())
        self._gpu_board = GpuBoard(threading.Lock())
        self._gpu_feed: GpuFeed | None = None
        self._threads: list[threading.Thread] = []
        self._stops: list[Callable[[], None]] = []
        self._alive: dict[str, Callable[[], bool]] = {}
        self._rooms: _Rooms | None = None
        self._statistics: LocalStatistics | None = None
        self._alerts: LocalAlerts | None = None
        self._minutes = MinuteBook(config.stats.zones[0], threading.Lock())
        # Nothing is limited where no rules are named.
        self._limit_board = new_limit_board()
        self._tokens: TokenBook | None = None
        self._servers: Servers | None = None
        self._tls: ServerTls | None = None
        self.grpc_port: int | None = None

    def __enter__(self) -> Self:
        """Open the data folder and serve; raise StartError, with what to do, when that cannot be."""
        try:
            self._start()
        except (ConfigError, StoreError, PortTakenError, LogBusyError, ValueError) as cause:
            self._close()
            raise StartError(str(cause)) from cause
        except (OSError, sqlite3.Error) as cause:
            self._close()
            folder = self._config.server.data
            raise StartError(
                f"cannot start in {folder}: {cause}. Check that its disk has room and that it may be written to."
            ) from cause
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop taking requests, store what is under way, close."""
        self._close()

    @property
    def http_url(self) -> str:
        """Return where the gateway answers."""
        return self._url(0)

    @property
    def sql_url(self) -> str:
        """Return where SQL is answered."""
        return self._url(1)

    @property
    def log(self) -> Log:
        """Return the log, for tests and for the demo's summary."""
        return self._open_rooms().log

    def backlog_events(self) -> int:
        """Return how many acknowledged records are not yet where they belong: calls, spans and dead letters."""
        log = self._open_rooms().log
        return sum(log.end(topic, 0) - log.committed(group, topic, 0) for topic, group in _READERS)

    def _backlog_full(self) -> bool:
        return self.backlog_events() >= self._config.ingest.backlog_events_max

    def _url(self, index: int) -> str:
        if self._servers is None:
            raise StartError("llmtrail is not running; use it as a context manager.")
        return self._servers.urls[index]

    def _open_rooms(self) -> _Rooms:
        if self._rooms is None:
            raise StartError("llmtrail is not running; use it as a context manager.")
        return self._rooms

    def _start(self) -> None:
        config = self._config
        tokens = TokenBook(config, self._audit.rows, self._clock.now_ns)
        check_binding(config.server.host, tokens.tokens())
        folder = config.server.data
        open_data_folder(folder)
        moved_file.check_at_home(folder)
        rooms = self._open(folder)
        sink = MeasuredSink(StoreSink(rooms.handle), self.metrics, self._clock)
        self._start_writer(rooms, sink)
        self._start_alerts(rooms)
        self._start_keeper(rooms)
        self._start_minutes(rooms)
        self._start_gpu(rooms)
        audit = LocalAudit(self._clock, self._audit, self.metrics).start(rooms.log, rooms.handle)
        self._stops.append(self._audit.stop)
        self._run("llmtrail-audit-table", audit.run, audit.stop)
        self._tokens = tokens
        tokens.start()
        self._stops.append(tokens.stop)
        gate = Gate(tokens.tokens, self._clock.now_ns, self._refusals.strangers, self._audit)
        self._serve(rooms, gate, folder, self._start_settler(rooms))

    def _open(self, folder: Path) -> _Rooms:
        config = self._config
        log = LocalLog(folder / "log", LocalLogSettings(bytes_max=config.log.bytes_max))
        try:
            url = store_url(config.store)
            handle = (
                open_http(url, replicated=bool(config.store.cluster), tls=store_tls(config))
                if url
                else open_chdb(config.server.store_folder)
            )
            migrate(handle)
            for table, days in _kept_days(config.store):
                set_retention(handle, table, days)
            for table, days in kept_days(config.store).items():
                set_retention(handle, table, days)
        except BaseException:
            log.close()
            raise
        self._rooms = _Rooms(log, handle, quick_reader(handle, self._limits()))
        return self._rooms

    def _limits(self) -> Limits:
        store = self._config.store
        return Limits(execution_s=float(store.query_seconds_max), memory_bytes=store.query_bytes_max)

    @cached_property
    def _book(self) -> GenaiPriceBook:
        return price_book(self._config)

    def _rules_in_force(self) -> RulesInForce:
        return RulesInForce(self._config.alerts.folder, self._book.models)

    def _start_writer(self, rooms: _Rooms, sink: MeasuredSink) -> None:
        config = self._config
        book = self._book
        statistics = LocalStatistics(
            config.server.data, config.stats.zones, frozenset(config.stats.feature_users), self._take_statistics
        )
        self._statistics = statistics
        self._keep_for_rules_at_start(statistics)
        parts = WriterParts(
            log=rooms.log,
            sink=sink,
            book=lambda _: book,
            tally=self.metrics,
            clock=self._clock,
            statistics=statistics.fold,
        )
        batches = WriterConfig(batch_rows=config.ingest.batch_rows, batch_ms=config.ingest.batch_ms, checked=True)
        writer = Writer(parts, batches)
        letters = dead_letter_writer(rooms.log, sink, self.metrics.unread)

        def write() -> None:
            warm_up()
            writer.run()

        self._run("llmtrail-writer", write, writer.stop)
        self._run("llmtrail-dead-letters", letters.run, letters.stop)

    def _keep_for_rules_at_start(self, statistics: LocalStatistics) -> None:
        """Keep what rules need before the first range is counted, as far as they can be read already."""
        self._board.keep(statistics.zones)
        folder = self._config.alerts.folder
        if folder is None:
            return
        try:
            self._keep_for(load_rules(folder))
        except RulesError:
            return  # the decider says why, and which rules are in force instead

    def _keep_for(self, rules: Rules) -> None:
        stats = self._config.stats
        kept = needs_of(rules, Kept(stats.zones, frozenset(stats.feature_users)))
        if self._statistics is not None:
            self._statistics.keep(kept.zones, kept.feature_users)
        if self._board.zones != kept.zones:
            self._board.keep(kept.zones)

    def _take_statistics(self, changes: Mapping[str, bytes | None]) -> None:
        self._board.put(changes)
        self._minutes.take(changes)
        self._wake_alerts()

    def _wake_alerts(self) -> None:
        if self._alerts is not None:
            self._alerts.wake()

    def _start_minutes(self, rooms: _Rooms) -> None:
        def count(seconds: int, written: int) -> None:
            self.metrics.count(MINUTES_ROWS, written, seconds=str(seconds))

        loop = MinuteLoop(MinuteWriter(self._minutes, MinuteSink(rooms.handle), count), self._clock)
        self._run("llmtrail-minutes", loop.run, loop.stop)

    def _start_gpu(self, rooms: _Rooms) -> None:
        writer = gpu_writer(rooms.log, gpu_store(rooms.handle, self._config), self._clock, unread=self.metrics.unread)
        self._run("llmtrail-gpu", writer.run, writer.stop)
        feed = GpuFeed(rooms.log, self._gpu_board, self._clock, self._wake_alerts)
        self._run("llmtrail-gpu-statistics", feed.run, feed.stop)
        self._gpu_feed = feed

    def _start_alerts(self, rooms: _Rooms) -> None:
        config = self._config
        if config.alerts.folder is None:
            return
        rooms_of_alerts = AlertRooms(
            board=self._board,
            gpus=self._gpu_board,
            gpus_not_ready=self._gpu_not_ready,
            limits=self._limit_board,
            handle=rooms.handle,
            clock=self._clock,
            metrics=self.metrics,
            environ=self._environ,
            stored_places=lambda: _stored_places(rooms.log),
            on_rules=self._keep_for,
            models=self._book.models,
        )
        self._alerts = LocalAlerts(config.alerts, config.server.data, rooms_of_alerts)
        self._alerts.start()

    def _start_keeper(self, rooms: _Rooms) -> None:
        keep = Keep(self._config.log.keep_hours * _NS_PER_HOUR, self._config.log.keep_bytes)
        keeper = Keeper(rooms.log, self._clock, keep)
        self._run("llmtrail-keeper", keeper.run, keeper.stop)

    def _start_settler(self, rooms: _Rooms) -> NativeCalls:
        natives = NativeCalls()
        limits = SettleLimits(quiet_ns=self._config.ingest.settle_ms * _NS_PER_MS)
        settler = SettleLoop(rooms.log, self._clock.now_ns, natives, limits, self.metrics.unread)
        settler.start()
        self._alive["llmtrail-settle"] = lambda: settler.is_alive
        self._stops.append(settler.stop)
        return natives

    def _count_scrapes(self, fate: Fate, scrapes: int) -> None:
        self.metrics.count(GPU_SCRAPES, scrapes, fate=str(fate))

    def _serve(self, rooms: _Rooms, gate: Gate, folder: Path, natives: NativeCalls) -> None:
        config = self._config
        parts = GatewayParts(
            appender=LogAppender(rooms.log),
            tally=self.metrics,
            clock=self._clock,
            random=clock_module.random_bytes,
            backlog_full=self._backlog_full,
            natives=natives,
            turned_away=self._refusals.turned_away,
            held=self._refusals.held,
            count_unkept=lambda letters: self.metrics.count(INGEST_LETTERS_UNKEPT, letters),
            count_moved=lambda name, fields: self.metrics.count(INGEST_FIELDS_MOVED, fields, field=name),
            gate=gate,
        )
        gateway = Gateway(parts, gateway_config(config.ingest))
        unread = "" if config.alerts.folder is None else "the rules are not read yet"
        state = ProcessState(self._readiness, self._warnings, self._exposition)
        http = Starlette(
            routes=[
                *gateway.routes(),
                *otlp_routes(gateway, self._spans),
                *gpu_routes(gateway, self._count_scrapes),
                *request_routes(lambda wanted, tenant: find_request(rooms.reader, wanted, tenant), gate),
                *stats_routes(self._board, self._clock.now_ns, gate),
                *gpu_stats_routes(self._gpu_board, self._clock.now_ns, gate, self._gpu_not_ready),
                *limit_routes(self._limit_board, gate, lambda: self._readiness().get("alerts", unread)),
                *told_routes(
                    rooms.reader,
                    (self._board, StoredSpent(rooms.handle.reader(FILL_LIMITS), lambda: _stored_places(rooms.log))),
                    self._rules_in_force(),
                    self._clock,
                    gate,
                ),
                *process_routes(state, gate, config.server.host),
            ]
        )
        self._tls = server_tls(config.server)
        sql = sql_app(rooms.handle, SqlConfig(limits=self._limits()), gate)
        self._servers = Servers(
            listeners_of(
                config.server,
                MeasuredApp(http, self.metrics, self._clock),
                MeasuredApp(sql, self.metrics, self._clock, counts_sql=True),
            ),
            config.server.http,
            self._refusals.turned_away,
            self._tls,
        )
        self._servers.start()
        if config.server.grpc:
            self._start_grpc(rooms, gate)
        port_file.write(folder, port_file.running(self._servers.urls, self.grpc_port, config.server.tls_certificate))

    def _start_grpc(self, rooms: _Rooms, gate: Gate) -> None:
        policy = ContentPolicy(self._config.ingest.content)

        def append(appends: Sequence[Append]) -> None:
            rooms.log.append(appends, self._clock.now_ns())

        parts = GrpcParts(append, gate, policy, self._spans, self._backlog_full, self._refusals.turned_away)
        server = grpc_server(self._config.server, parts, self._tls)
        server.start()
        self.grpc_port = server.port
        self._stops.append(server.stop)

    def _run(self, name: str, target: Callable[[], object], stop: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        self._alive[name] = thread.is_alive
        self._stops.append(stop)
        thread.start()

    def _readiness(self) -> dict[str, str]:
        alive = {name: "" if is_alive() else "its thread ended" for name, is_alive in self._alive.items()}
        limit = self._config.ingest.backlog_events_max
        behind = self.backlog_events()
        if self._alerts is not None:
            alive |= {"alerts": self._alerts.not_ready(), "rules": self._alerts.refused()}
        return alive | {"backlog": "" if behind < limit else f"{behind} events are not stored yet"}

    def _warnings(self) -> dict[str, str]:
        return {"tokens": "" if self._tokens is None else self._tokens.failure, "audit": self._audit.failure}

    def _gpu_not_ready(self) -> str:
        return "samples are not read yet" if self._gpu_feed is None else self._gpu_feed.not_ready()

    def _exposition(self) -> bytes:
        measure_gpu_board(self._gpu_board, self.metrics)
        self.metrics.set(HTTP_CONNECTIONS, self._servers.connections if self._servers is not None else 0)
        self.metrics.set(AUDIT_WAITING, self._audit.waiting)
        self.metrics.set(INGEST_BACKLOG_EVENTS, self.backlog_events())
        self.metrics.set(MINUTES_BEHIND_SECONDS, self._minutes.behind_s(self._clock.now_ns() // _NS_PER_S))
        self.metrics.set(MINUTES_UNPLACED, self._minutes.unplaced)
        if self._alerts is not None:
            self._alerts.measure()
        measure_tls(self._tls, self.metrics)
        self.metrics.set(LOG_SIZE_BYTES, folder_bytes(self._config.server.data / "log"))
        return self.metrics.render()

    def _close(self) -> None:
        self._limit_board.close()
        if self._servers is not None:
            self._servers.stop()
            port_file.remove(self._config.server.data, os.getpid())
        for stop in self._stops:
            stop()
        for thread in self._threads:
            thread.join(timeout=STOP_S_MAX)
        if self._alerts is not None:
            self._alerts.close()
        if self._statistics is not None:
            self._statistics.close()
        if self._rooms is not None:
            self._rooms.log.close()
            self._rooms.handle.close()
        self._servers, self._rooms = None, None


def _stored_places(log: Log) -> Mapping[str, int]:
    """Return below which offset all calls of the log are stored."""
    return {f"{log.topic_id(CALLS)}/0": log.committed(WRITER_GROUP, CALLS, 0)}


def _kept_days(store: StoreConfig) -> Iterable[tuple[str, int]]:
    yield "calls", store.calls_days
    yield "bodies", store.bodies_days
    yield "dead_letters", store.dead_letters_days


__all__: Sequence[Any] = ["Embedded", "StartError"]
