"""`llmtrail web`: look-up, SQL, what fires and, where Kafka is named, statistics. Composes; decides nothing.

Over a ClickHouse server it only reads. With a data folder of its own it runs ClickHouse's engine in process, and with
`writable` other processes use that as they would a server: a token that may administer lets them in.
"""

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from llmtrail import private_files
from llmtrail.access.gate import Gate
from llmtrail.config import Config, store_tls, store_url
from llmtrail.core.access.grant import TokenScope
from llmtrail.core.board import Board
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.model_identity import ModelTable
from llmtrail.local.alerts import FILL_LIMITS, StoredSpent
from llmtrail.local.audit import AuditTable
from llmtrail.local.budgets import RulesInForce, told_routes
from llmtrail.local.prices import models_of
from llmtrail.roles.process import RoleError, RoleProcess
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, Limits, open_chdb, open_http
from llmtrail.store.lookup import find_request, quick_reader
from llmtrail.store.migrate import migrate
from llmtrail_ingest.price_overrides import PriceFileError
from llmtrail_web.gpu import gpu_stats_routes
from llmtrail_web.requests import request_routes
from llmtrail_web.sql_endpoint import SqlConfig, sql_app
from llmtrail_web.stats import stats_routes

_NO_RULES = "no rules are named here; set LLMTRAIL_ALERTS__FOLDER to the folder that `llmtrail alert` decides by"
_NO_KAFKA = "no Kafka is named that they could come from; set LLMTRAIL_KAFKA=host:port"


def start(config: Config, process: RoleProcess, *, writable: bool) -> None:
    """Start the role in `process`; raises RoleError, ConfigError or StoreError, with what to do."""
    if writable and not process.tokens.has(TokenScope.ADMIN):
        raise RoleError('--writable needs a token: set [ingest.tokens.NAME] with scopes = ["admin"] and a secret.')
    if writable and store_url(config.store):
        raise RoleError("--writable serves this process's own data folder; leave store.url out.")
    handle = open_store(config)
    process.on_stop(handle.close)
    if not config.kafka.bootstrap_servers and not store_url(config.store):
        process.audit.keep = AuditTable(handle)
        # Before the store is closed.
        process.on_stop(process.audit.stop)
    routes, sql = answering(config, handle, process, writable=writable)
    if config.kafka.bootstrap_servers:
        from llmtrail.roles.limits import limits_from_kafka  # noqa: PLC0415 - as below

        routes += limits_from_kafka(config, process)
    process.serve(routes, sql)


def answering(
    config: Config, handle: Handle, process: RoleProcess, *, writable: bool = False
) -> tuple[list[BaseRoute], ASGIApp]:
    """Return what answers look-ups and SQL over `handle`; who administers may write where it is `writable`."""
    limits = Limits(execution_s=float(config.store.query_seconds_max), memory_bytes=config.store.query_bytes_max)
    reader = quick_reader(handle, limits)
    process.add("store", lambda: _ready(reader))
    return (
        [
            *request_routes(lambda wanted, tenant: find_request(reader, wanted, tenant), process.gate),
            *_statistics(config, process, process.gate, handle),
        ],
        sql_app(handle, SqlConfig(limits=limits, writable=writable), process.gate),
    )


def _statistics(config: Config, process: RoleProcess, gate: Gate, handle: Handle) -> list[Route]:
    """Return what answers from the board, and what fires: budgets are told by the rules that this process is given."""
    limits = Limits(execution_s=float(config.store.query_seconds_max), memory_bytes=config.store.query_bytes_max)
    reader = quick_reader(handle, limits)
    board, gpu_board, not_ready, gpus_not_ready = Board(), GpuBoard(), _no_kafka, _no_kafka
    stored: StoredSpent | None = None
    if config.kafka.bootstrap_servers:
        # Kafka's client is an extra, which a look-up over ClickHouse does without.
        from llmtrail.roles.statistics import follow_gpu_statistics, follow_statistics  # noqa: PLC0415
        from llmtrail.roles.stored import stored_places  # noqa: PLC0415

        stored = StoredSpent(handle.reader(FILL_LIMITS), stored_places(config), counted_elsewhere=True)
        board, tail = follow_statistics(config, process)
        gpu_board, gpu_tail = follow_gpu_statistics(config, process)
        not_ready, gpus_not_ready = tail.not_ready, gpu_tail.not_ready
    rules = RulesInForce(config.alerts.folder, _models(config))
    return [
        *stats_routes(board, process.clock.now_ns, gate, not_ready),
        *gpu_stats_routes(gpu_board, process.clock.now_ns, gate, gpus_not_ready),
        *told_routes(reader, (board, stored), rules, process.clock, gate, lambda: not_ready() or _no_rules(config)),
    ]


def _models(config: Config) -> ModelTable:
    try:
        return models_of(config)
    except PriceFileError as cause:
        raise RoleError(str(cause)) from cause


def _no_kafka() -> str:
    return _NO_KAFKA


def _no_rules(config: Config) -> str:
    return _NO_RULES if config.alerts.folder is None else ""


def open_store(config: Config) -> Handle:
    """Open the ClickHouse that is named, else the engine over the data folder; raises RoleError, with what to do."""
    url = store_url(config.store)
    try:
        if url:
            return open_http(url, tls=store_tls(config))
        private_files.make_folder(config.server.data)
        handle = open_chdb(config.server.store_folder)
        migrate(handle)
    except StoreError as cause:
        raise RoleError(str(cause)) from cause
    return handle


def _ready(handle: Handle) -> str:
    try:
        handle.query("SELECT 1")
    except StoreError as error:
        return str(error)
    return ""
