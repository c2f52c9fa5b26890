"""`llmtrail alert`: decides on budgets and alarms over Kafka. Composes; decides nothing.

The journal's partitions are shared by a consumer group; whoever has one decides on the rules that have their place in
it. The group says who should decide, the journal's fence says who may write: two never do.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from llmtrail.config import Config, kafka_client, store_tls, store_url
from llmtrail.core.board import Board
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.model_identity import ModelTable
from llmtrail.local.alerts import FILL_LIMITS, PROOF_LIMITS, AlertStore, StoredProof, StoredSpent, jitter
from llmtrail.local.prices import models_of
from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.group import GroupReader, GroupSettings
from llmtrail.log.kafka.journal import KafkaJournal
from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.port import ALERTS, LIMITS, LogClosedError
from llmtrail.metrics import ALERTS_FIRING, ALERTS_GROUPS
from llmtrail.roles.kept import KeptTopic, kept_by
from llmtrail.roles.process import RoleError, RoleProcess
from llmtrail.roles.statistics import follow_gpu_statistics, follow_statistics
from llmtrail.roles.stored import stored_places
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, open_http
from llmtrail_alerts.board_statistics import BoardStatistics
from llmtrail_alerts.channels.post import address_rule
from llmtrail_alerts.decider import Decider, DeciderParts
from llmtrail_alerts.gpu_watch import GpuWatch
from llmtrail_alerts.homes import home_of
from llmtrail_alerts.joint_watch import JointWatch
from llmtrail_alerts.needs import needs_of, unkept
from llmtrail_alerts.rules import Rules, RulesError
from llmtrail_alerts.watch import StatisticsWatch
from llmtrail_ingest.price_overrides import PriceFileError

_LOG = logging.getLogger(__name__)

GROUP = "llmtrail.alerts"
# A decider is asked so often whether it still decides; its news come by other ways.
LOOK_EVERY_S = 1.0
# Every offset lies before this one: to wait for it is to wait for the partition's loss.
_NEVER = 2**62


@dataclass(slots=True)
class _Rooms:
    config: Config
    process: RoleProcess
    board: Board
    not_ready: Callable[[], str]
    gpus: GpuBoard
    gpus_not_ready: Callable[[], str]
    store: Handle
    partitions: int
    stored_places: Callable[[], Mapping[str, int]]
    kept: KeptTopic
    environ: Mapping[str, str]
    models: ModelTable
    deciders: dict[int, Decider] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)  # by partition, why no rules are in force at all

    def wake(self) -> None:
        for decider in list(self.deciders.values()):
            decider.wake()


def start(config: Config, process: RoleProcess, environ: Mapping[str, str]) -> None:
    """Start the role in `process`; raises RoleError, with what to do.

    `environ` is where secrets are that rules name by a variable.
    """
    if not config.kafka.bootstrap_servers:
        raise RoleError("no Kafka is named: set LLMTRAIL_KAFKA=host:port; `llmtrail up` decides by itself.")
    if config.alerts.folder is None:
        raise RoleError("no rules are named: set LLMTRAIL_ALERTS__FOLDER to the folder of budgets.toml and rules.toml.")
    try:
        models = models_of(config)
    except PriceFileError as cause:
        raise RoleError(str(cause)) from cause
    partitions = _partitions(config)
    kept = KeptTopic(config)
    kept.start(process)
    news = threading.Event()
    board, tail = follow_statistics(config, process, news.set)
    gpus, gpu_tail = follow_gpu_statistics(config, process, news.set)
    rooms = _Rooms(
        config,
        process,
        board,
        tail.not_ready,
        gpus,
        gpu_tail.not_ready,
        _open_store(config),
        partitions,
        stored_places(config),
        kept,
        environ,
        models,
    )
    process.on_stop(rooms.store.close)
    _pass_on(news, rooms)
    prefix = config.kafka.topic_prefix
    settings = GroupSettings(kafka_client(config.kafka), GROUP, ALERTS, prefix, config.kafka.instance_id)
    group = GroupReader(settings, lambda log, partition: _Owner(log, partition, rooms))
    group.start()
    process.on_stop(group.stop)
    process.add("alerts", lambda: group.failure or _failures(rooms))
    process.add("rules", lambda: _refused(rooms))
    process.before_scrape(lambda: _measure(rooms))
    process.serve()


class _Owner:
    """Decides while this process has one partition of the journal."""

    def __init__(self, log: PartitionLog, partition: int, rooms: _Rooms) -> None:
        self._log, self._partition, self._rooms = log, partition, rooms
        self._stopping = threading.Event()

    def run(self) -> None:
        """Own the journal and decide until stopped, or until the partition is another's."""
        try:
            # Without all statistics everything would look well, and what fires would be resolved.
            while self._rooms.not_ready():
                self._stay()
            config = self._rooms.config
            prefix = config.kafka.topic_prefix
            client = kafka_client(config.kafka)
            unread = partial(self._rooms.process.metrics.unread, ALERTS)
            journal = KafkaJournal(client, prefix + ALERTS, self._partition, shown=prefix + LIMITS, unread=unread)
            try:
                self._decide(journal)
            finally:
                journal.close()
        except LogClosedError:
            return

    def stop(self) -> None:
        """Ask `run` to finish what is under way and return."""
        self._stopping.set()

    def _decide(self, journal: KafkaJournal) -> None:
        rooms = self._rooms
        decider = Decider(_parts(rooms, journal, self._partition))
        try:
            self._begin(decider)
            rooms.deciders[self._partition] = decider
            while decider.is_alive:
                self._stay()
                rooms.kept.send()
        finally:
            rooms.deciders.pop(self._partition, None)
            decider.stop()

    def _begin(self, decider: Decider) -> None:
        """Start to decide, once there are rules that can be used: until then `/readyz` says why nothing is decided."""
        refused = self._rooms.refused
        while True:
            try:
                decider.start()
            except RulesError as error:
                if refused.get(self._partition) != str(error):
                    _LOG.error("nothing is decided, because the rules cannot be used: %s", error)
                refused[self._partition] = str(error)
                self._stay()
            else:
                refused.pop(self._partition, None)
                return

    def _stay(self) -> None:
        """Wait a moment; raises LogClosedError once the partition is to be given up."""
        if self._stopping.is_set():
            raise LogClosedError(f"{ALERTS}[{self._partition}] is given up.")
        self._log.wait(ALERTS, self._partition, _NEVER, LOOK_EVERY_S)
        end = self._log.end(ALERTS, self._partition)
        if end > self._log.committed(GROUP, ALERTS, self._partition):
            # The journal is read by other means; what the group fetched of it is let go.
            self._log.commit(GROUP, ALERTS, self._partition, end)


def _parts(rooms: _Rooms, journal: KafkaJournal, partition: int) -> DeciderParts:
    config, partitions = rooms.config, rooms.partitions
    if config.alerts.folder is None:
        raise RoleError("no rules are named.")

    own = kept_by(config.stats)

    def keep(rules: Rules) -> None:
        wanted = needs_of(rules, own)
        if rooms.board.zones != wanted.zones:
            rooms.board.keep(wanted.zones)
        if partition == 0:
            rooms.kept.publish(wanted)

    def is_mine(rules: Rules, name: str) -> bool:
        return home_of(rules, name, partitions) == partition

    return DeciderParts(
        folder=config.alerts.folder,
        journal=journal,
        new_watch=lambda policies: JointWatch(
            StatisticsWatch(
                BoardStatistics(rooms.board),
                policies,
                ready=lambda: not rooms.not_ready(),
                stored=StoredSpent(rooms.store.reader(FILL_LIMITS), rooms.stored_places, counted_elsewhere=True),
            ),
            GpuWatch(rooms.gpus, ready=lambda: not rooms.gpus_not_ready()),
        ),
        store=AlertStore(rooms.store),
        proof=StoredProof(rooms.store.reader(PROOF_LIMITS)),
        clock=rooms.process.clock,
        metrics=rooms.process.metrics,
        jitter=jitter,
        secrets=rooms.environ,
        models=rooms.models,
        page_url=config.alerts.page_url,
        addresses=address_rule(config.alerts.allowed_addresses),
        is_mine=is_mine,
        check=lambda rules: () if rooms.kept.is_there else unkept(rules, own),
        on_rules=keep,
        home=str(partition),
        audits=partition == 0,
    )


def _partitions(config: Config) -> int:
    prefix = config.kafka.topic_prefix
    states = KafkaAdmin(kafka_client(config.kafka)).states({prefix + ALERTS, prefix + LIMITS})
    for name in (ALERTS, LIMITS):
        if prefix + name not in states:
            raise RoleError(f"there is no topic {prefix}{name}; run `llmtrail topics create`.")
    return states[prefix + ALERTS].partitions


def _open_store(config: Config) -> Handle:
    url = store_url(config.store)
    if not url:
        raise RoleError("no ClickHouse is named: set LLMTRAIL_STORE__URL; decisions are kept in its table `alerts`.")
    try:
        return open_http(url, replicated=bool(config.store.cluster), tls=store_tls(config))
    except StoreError as cause:
        raise RoleError(str(cause)) from cause


def _pass_on(news: threading.Event, rooms: _Rooms) -> None:
    """Wake every decider when statistics changed."""
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            news.wait()
            news.clear()
            rooms.wake()

    thread = threading.Thread(target=run, name="llmtrail-alert-news", daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        news.set()
        thread.join(1.0)

    rooms.process.on_stop(stop)


def _failures(rooms: _Rooms) -> str:
    return "; ".join(sorted({decider.failure for decider in rooms.deciders.values() if decider.failure}))


def _refused(rooms: _Rooms) -> str:
    none = {f"nothing is decided, because the rules cannot be used: {why}" for why in list(rooms.refused.values())}
    former = {decider.refused for decider in list(rooms.deciders.values())}
    return "; ".join(sorted((none | former) - {""}))


def _measure(rooms: _Rooms) -> None:
    groups = [decider.groups for decider in rooms.deciders.values()]
    rooms.process.metrics.set(ALERTS_GROUPS, sum(known for known, _ in groups))
    rooms.process.metrics.set(ALERTS_FIRING, sum(firing for _, firing in groups))
