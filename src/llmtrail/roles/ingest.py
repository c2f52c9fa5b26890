"""`llmtrail ingest` over Kafka: the gateway in front of it, the writers behind it. Composes; decides nothing.

Each part is a consumer group of its own, so any number of these processes share the partitions. When the store is
away only the rows' cursor stands still: the gateway, the settler and the statistics go on.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from starlette.routing import BaseRoute

from llmtrail import clock as clock_module
from llmtrail.clock import Clock
from llmtrail.config import Config, kafka_client, store_tls, store_url
from llmtrail.core.redact import ContentPolicy
from llmtrail.local.gateway import gateway_config
from llmtrail.local.gpu import gpu_store, gpu_writer
from llmtrail.local.grpc_port import GrpcParts, grpc_server
from llmtrail.local.measured import MeasuredSink
from llmtrail.local.prices import price_book
from llmtrail.local.sink import StoreSink
from llmtrail.local.span_ledger import span_ledger
from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.group import GroupReader, GroupSettings
from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.kafka.producer import DELIVERY_MS_MAX, KafkaProducer
from llmtrail.log.port import AUDIT, CALLS, DEAD_LETTERS, GPU, PARTIALS, SPANS, Append
from llmtrail.metrics import (
    CONSUMER_LAG,
    GPU_SCRAPES,
    INGEST_FIELDS_MOVED,
    INGEST_LETTERS_UNKEPT,
    INGEST_SKIPPED_RECORDS,
    STATISTICS_UNMATCHED,
)
from llmtrail.roles.kept import KeptTopic
from llmtrail.roles.limits import limits_from_kafka
from llmtrail.roles.minutes import minute_group
from llmtrail.roles.ports import KafkaAppender, LettersToLog, SpansLog
from llmtrail.roles.process import RoleError, RoleProcess
from llmtrail.roles.stored import ROWS_GROUP
from llmtrail.roles.web import answering, open_store
from llmtrail.store.alerts import insert_audit
from llmtrail.store.arrow import warm_up
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, open_http
from llmtrail_ingest.audit_rows import audit_writer
from llmtrail_ingest.dead_letter import dead_letter_writer
from llmtrail_ingest.gateway.app import Gateway, GatewayParts
from llmtrail_ingest.gateway.gpu import gpu_routes
from llmtrail_ingest.gateway.otlp import otlp_routes
from llmtrail_ingest.gpu.writer import GROUP as GPU_GROUP
from llmtrail_ingest.gpu.writer import GpuWriter
from llmtrail_ingest.otlp.ledger import SpanLedger
from llmtrail_ingest.otlp.loop import REREAD_RECORDS_MAX, SettleLoop
from llmtrail_ingest.otlp.natives import NativeCalls
from llmtrail_ingest.otlp.settle import SettleLimits
from llmtrail_ingest.statistics.cursor import GROUP as STATISTICS_GROUP
from llmtrail_ingest.statistics.cursor import IN_FLIGHT, PartialsSink, Publishing, StatisticsCursor
from llmtrail_ingest.statistics.known import CountedCalls
from llmtrail_ingest.statistics.outlet import Outlet
from llmtrail_ingest.tally import CountingTally, Fate
from llmtrail_ingest.topic_writer import TopicWriter
from llmtrail_ingest.writer.beat import Beat
from llmtrail_ingest.writer.lanes import Lanes
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts

_LOG = logging.getLogger(__name__)

LETTERS_GROUP = "llmtrail.dead-letters"
AUDIT_GROUP = "llmtrail.audit"
SETTLER_GROUP = "llmtrail.settler"
# Where the store is busy, rows wait up to so long for company: at a quarter of a second twelve partitions make
# forty-eight parts a second in every table.
ROWS_S_MAX = 1.0
_NS_PER_MS = 1_000_000
DELIVERY_SLACK_S = 5.0


class Part(StrEnum):
    """What one `llmtrail ingest` may do."""

    GATEWAY = "gateway"
    ROWS = "rows"
    STATISTICS = "statistics"
    WEB = "web"


@dataclass(slots=True)
class _Rooms:
    producer: KafkaProducer
    process: RoleProcess
    config: Config
    clock: Clock
    spans: SpanLedger


def start(config: Config, parts: frozenset[Part], process: RoleProcess) -> None:
    """Start the parts in `process`; raises RoleError, ConfigError or PortTakenError, with what to do."""
    if not config.kafka.bootstrap_servers:
        raise RoleError("no Kafka is named: set LLMTRAIL_KAFKA=host:port, or run `llmtrail up` for one process.")
    producer = KafkaProducer(kafka_client(config.kafka), config.kafka.topic_prefix)
    rooms = _Rooms(producer, process, config, process.clock, span_ledger(process.metrics))
    process.on_stop(rooms.producer.close)
    groups: dict[str, GroupReader] = {}
    routes: list[BaseRoute] = []
    sql = None
    if parts & {Part.ROWS, Part.WEB}:
        # Without a server's URL the engine runs in this process, and only this process can answer for its folder.
        handle = open_store(config) if Part.WEB in parts else _open_server(config)
        process.on_stop(handle.close)
        if Part.ROWS in parts:
            groups |= _row_groups(rooms, handle)
        if Part.WEB in parts:
            routes, sql = answering(config, handle, process)
    if Part.STATISTICS in parts:
        groups["statistics"] = _statistics(rooms)
    if Part.GATEWAY in parts:
        groups["settler"] = _settlers(rooms)
    _run(groups, process)
    if Part.GATEWAY in parts:
        routes += [*_gateway_routes(rooms), *limits_from_kafka(config, process)]
        if config.server.grpc:
            process.grpc_port = _serve_grpc(rooms)
    process.serve(routes, sql)


def _run(groups: dict[str, GroupReader], process: RoleProcess) -> None:
    for name, group in groups.items():
        group.start()
        process.add(name, _readiness(group))
    process.together([group.stop for group in groups.values()])

    def measure() -> None:
        # A partition that another member has now is that one's to tell of.
        process.metrics.clear(CONSUMER_LAG)
        for group in groups.values():
            for partition, lag in group.lags().items():
                labels = {"consumergroup": group.settings.group, "topic": group.settings.topic}
                process.metrics.set(CONSUMER_LAG, lag, partition=str(partition), **labels)
            process.metrics.set(INGEST_SKIPPED_RECORDS, group.skipped_records, topic=group.settings.topic)

    process.before_scrape(measure)


def _readiness(group: GroupReader) -> Callable[[], str]:
    return lambda: group.failure if group.is_alive else "its thread ended"


def _group(config: Config, group: str, topic: str, *, reread_records: int = 0) -> GroupSettings:
    client, prefix = kafka_client(config.kafka), config.kafka.topic_prefix
    return GroupSettings(client, group, topic, prefix, config.kafka.instance_id, reread_records)


def _row_groups(rooms: _Rooms, handle: Handle) -> dict[str, GroupReader]:
    config, process = rooms.config, rooms.process
    process.add("store", _answers(handle))
    warm_up()
    sink = MeasuredSink(StoreSink(handle), process.metrics, rooms.clock)
    book = price_book(config)
    batches = WriterConfig(batch_rows=config.ingest.batch_rows, batch_ms=config.ingest.batch_ms, group=ROWS_GROUP)
    letters = LettersToLog(sink, rooms.producer)
    shortest_s = config.ingest.batch_ms / 1_000
    beat = Beat(rooms.clock, max(ROWS_S_MAX, shortest_s), shortest_s)
    lanes = Lanes()
    process.on_stop(lanes.close)

    def writer(log: PartitionLog, partition: int) -> Writer:
        parts = WriterParts(log, letters, lambda _: book, process.metrics, rooms.clock, company=beat)
        return Writer(parts, batches, partition, lanes)

    def letter_writer(log: PartitionLog, _: int) -> TopicWriter:
        return dead_letter_writer(log, sink, process.metrics.unread)

    return {
        "rows": GroupReader(_group(config, ROWS_GROUP, CALLS), writer),
        "dead letters": GroupReader(_group(config, LETTERS_GROUP, DEAD_LETTERS), letter_writer),
        "minutes": minute_group(config, handle, process, rooms.producer),
        "gpu": _gpu_group(rooms, handle),
        **_audit_group(rooms, handle),
    }


def _audit_group(rooms: _Rooms, handle: Handle) -> dict[str, GroupReader]:
    """Return what brings the audit into the table; a cluster that was made before it has no such topic yet."""
    config = rooms.config
    topic = config.kafka.topic_prefix + AUDIT
    if topic not in KafkaAdmin(kafka_client(config.kafka)).states({topic}):
        _LOG.warning("there is no topic %s, so uses of tokens and reads are not kept: llmtrail topics create", topic)
        return {}
    insert = partial(insert_audit, handle)
    unread = partial(rooms.process.metrics.unread, AUDIT)

    def writer(log: PartitionLog, _: int) -> TopicWriter:
        return audit_writer(log, insert, unread)

    return {"audit": GroupReader(_group(config, AUDIT_GROUP, AUDIT), writer)}


def _gpu_group(rooms: _Rooms, handle: Handle) -> GroupReader:
    store = gpu_store(handle, rooms.config)

    def writer(log: PartitionLog, partition: int) -> GpuWriter:
        return gpu_writer(log, store, rooms.clock, partition, unread=rooms.process.metrics.unread)

    return GroupReader(_group(rooms.config, GPU_GROUP, GPU), writer)


def _statistics(rooms: _Rooms) -> GroupReader:
    config, metrics = rooms.config, rooms.process.metrics
    topic = config.kafka.topic_prefix + PARTIALS
    state = KafkaAdmin(kafka_client(config.kafka)).states({topic}).get(topic)
    if state is None:
        raise RoleError(f"there is no topic {topic}; run `llmtrail topics create`.")
    kept = KeptTopic(config)
    kept.start(rooms.process)
    publishing = Publishing(
        Outlet(rooms.producer, state.partitions),
        lambda: kept().feature_users,
        lambda calls: metrics.count(STATISTICS_UNMATCHED, calls),
    )
    book = price_book(config)
    lanes = Lanes()
    rooms.process.on_stop(lanes.close)
    batches = WriterConfig(
        batch_rows=config.ingest.batch_rows,
        in_flight=IN_FLIGHT,
        group=STATISTICS_GROUP,
    )
    beat = Beat(rooms.clock, config.stats.batch_ms / 1_000)

    def cursor(log: PartitionLog, partition: int) -> StatisticsCursor:
        counted = CountedCalls(config.stats.known_calls)
        sink = PartialsSink(publishing, counted)
        # What becomes of an event is counted by the rows' cursor.
        parts = WriterParts(log, sink, lambda _: book, CountingTally(), rooms.clock, sink.publish, beat)
        return StatisticsCursor(log, partition, Writer(parts, batches, partition, lanes), counted, book)

    return GroupReader(_group(config, STATISTICS_GROUP, CALLS, reread_records=config.stats.known_calls), cursor)


def _open_server(config: Config) -> Handle:
    url = store_url(config.store)
    if not url:
        raise RoleError(
            "no ClickHouse is named: set LLMTRAIL_STORE__URL=http://user:password@host:8123, add web to --roles to "
            "run its engine in this process, or leave the rows to others with `--roles gateway,statistics`."
        )
    # A server that is away is no reason not to take events: `/readyz` tells of it, and the rows wait for it.
    return open_http(url, replicated=bool(config.store.cluster), asks=False, tls=store_tls(config))


def _answers(handle: Handle) -> Callable[[], str]:
    def ready() -> str:
        try:
            handle.query("SELECT 1")
        except StoreError as error:
            return str(error)
        return ""

    return ready


def _settlers(rooms: _Rooms) -> GroupReader:
    limits = SettleLimits(quiet_ns=rooms.config.ingest.settle_ms * _NS_PER_MS)

    def settler(log: PartitionLog, _: int) -> SettleLoop:
        spans = SpansLog(log, rooms.producer)
        return SettleLoop(spans, rooms.clock.now_ns, NativeCalls(), limits, rooms.process.metrics.unread)

    return GroupReader(_group(rooms.config, SETTLER_GROUP, SPANS, reread_records=REREAD_RECORDS_MAX), settler)


def _gateway_routes(rooms: _Rooms) -> list[BaseRoute]:
    config, metrics = rooms.config, rooms.process.metrics
    parts = GatewayParts(
        appender=KafkaAppender(rooms.producer),
        tally=metrics,
        clock=rooms.clock,
        random=clock_module.random_bytes,
        backlog_full=lambda: rooms.producer.is_full,
        turned_away=rooms.process.refusals.turned_away,
        held=rooms.process.refusals.held,
        count_unkept=lambda letters: metrics.count(INGEST_LETTERS_UNKEPT, letters),
        count_moved=lambda name, fields: metrics.count(INGEST_FIELDS_MOVED, fields, field=name),
        gate=rooms.process.gate,
    )
    gateway = Gateway(parts, gateway_config(config.ingest))

    def count_scrapes(fate: Fate, scrapes: int) -> None:
        metrics.count(GPU_SCRAPES, scrapes, fate=str(fate))

    return [
        *gateway.routes(),
        *otlp_routes(gateway, rooms.spans),
        *gpu_routes(gateway, count_scrapes),
    ]


def _serve_grpc(rooms: _Rooms) -> int:
    """Take OTLP over gRPC too; return the port."""
    config, producer = rooms.config, rooms.producer

    def append(appends: Sequence[Append]) -> None:
        # The producer itself fails what no broker acknowledges in time.
        producer.append(appends).result(DELIVERY_MS_MAX / 1000 + DELIVERY_SLACK_S)

    parts = GrpcParts(
        append=append,
        gate=rooms.process.gate,
        policy=ContentPolicy(config.ingest.content),
        ledger=rooms.spans,
        backlog_full=lambda: producer.is_full,
        turned_away=rooms.process.refusals.turned_away,
    )
    server = grpc_server(config.server, parts, rooms.process.tls)
    server.start()
    rooms.process.on_stop(server.stop)
    return server.port
