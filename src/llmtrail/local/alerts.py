"""Alerts of one process: a decider over the board, its journal in a file, limits at hand. Composes; decides nothing."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmtrail.clock import Clock, random_bytes
from llmtrail.config import AlertsConfig, ConfigError
from llmtrail.core.audit import AuditRow
from llmtrail.core.board import Board
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.limit import LimitState, decode_limit
from llmtrail.core.model_identity import ModelTable
from llmtrail.core.scope import MACHINE_KINDS, Scope, ScopeKind
from llmtrail.log.journal import FileJournal, Record
from llmtrail.metrics import ALERTS_FIRING, ALERTS_GROUPS, Metrics
from llmtrail.store.alerts import AlertRow, insert_alerts, insert_audit
from llmtrail.store.errors import StoreError
from llmtrail.store.gpu_proof import requests_on
from llmtrail.store.handle import Handle, Limits
from llmtrail.store.proof import Worst, requests_of
from llmtrail.store.spent import Spent, last_corrected_ns, spent_by_scope
from llmtrail_alerts.board_statistics import BoardStatistics
from llmtrail_alerts.channels.post import address_rule
from llmtrail_alerts.decider import Decider, DeciderParts
from llmtrail_alerts.fill import Unknown
from llmtrail_alerts.gpu_watch import GpuWatch
from llmtrail_alerts.joint_watch import JointWatch
from llmtrail_alerts.rules import Rules, RulesError
from llmtrail_alerts.watch import StatisticsWatch
from llmtrail_web.limit_board import LimitBoard

_LOG = logging.getLogger(__name__)

FILE_NAME = "alerts.db"
_NAME_BYTES = 8
# An alert waits no longer than this for the requests that prove it: they are worth a second, not more.
PROOF_LIMITS = Limits(execution_s=1.0, memory_bytes=256 * 1024 * 1024)
# Asked once at a start and when rules change: a month of calls may be looked through.
FILL_LIMITS = Limits(execution_s=20.0, memory_bytes=1024 * 1024 * 1024)


class AlertStore:
    """Where decisions go: tables of a store."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def insert_alerts(self, rows: Sequence[AlertRow], token: str) -> None:
        """Insert decisions."""
        insert_alerts(self._handle, rows, token)

    def insert_audit(self, rows: Sequence[AuditRow], token: str) -> None:
        """Insert changes of rules."""
        insert_audit(self._handle, rows, token)


class StoredProof:
    """The requests that prove an alert, as far as a store tells of them soon."""

    def __init__(self, reader: Handle) -> None:
        self._reader = reader

    def requests(self, scope: Scope, since_ns: int, worst: Worst, modes: Sequence[str]) -> tuple[str, ...]:
        """Return their ids, the worst first; none where the store is away or slow: the alert does not wait."""
        try:
            if scope.kind in MACHINE_KINDS:
                return requests_on(self._reader, scope, since_ns)
            return requests_of(self._reader, scope, since_ns, worst, modes)
        except StoreError as error:
            _LOG.warning("no requests are named in an alert: %s", error)
            return ()


class StoredSpent:
    """What calls came to, as a store tells it."""

    def __init__(
        self, reader: Handle, places: Callable[[], Mapping[str, int]], *, counted_elsewhere: bool = False
    ) -> None:
        """Take a store, and what returns below which offsets all calls are in it; that may raise anything."""
        self._reader = reader
        self._places = places
        self.counted_elsewhere = counted_elsewhere

    def spent(
        self, kind: ScopeKind, values: tuple[str, ...], between_ns: tuple[int, int], below: Mapping[str, int]
    ) -> list[Spent] | Unknown:
        """Return what each scope used of calls that count between two times, those below some offsets."""
        try:
            return spent_by_scope(self._reader, kind, values, between_ns, below)
        except StoreError as error:
            return Unknown(str(error))

    def fences(self) -> Mapping[str, int] | Unknown:
        """Return below which offsets all calls are stored."""
        try:
            return self._places()
        except Exception as error:  # noqa: BLE001 - whatever the log's driver raises, nobody knows it then.
            return Unknown(f"the log does not answer: {error}")

    def corrected_ns(self, since_ns: int) -> int | None:
        """Return when a cost was last corrected since a time; 0: never; None where the store does not answer."""
        try:
            return last_corrected_ns(self._reader, since_ns)
        except StoreError as error:
            _LOG.warning("budgets do not know whether costs were corrected: %s", error)
            return None


def jitter() -> float:
    """Return a random number from 0 to 1; from any thread."""
    return int.from_bytes(random_bytes(_NAME_BYTES), "big") / (1 << 8 * _NAME_BYTES)


def new_limit_board() -> LimitBoard:
    """Return an empty board of limits, with a name that no other life of a process has."""
    return LimitBoard(random_bytes(_NAME_BYTES).hex())


def limits_of(shown: Sequence[Record]) -> dict[str, LimitState | None]:
    """Return what is shown of limits, by key; None where one is gone."""
    return {key: None if value is None else decode_limit(value) for key, value in shown}


@dataclass(frozen=True, slots=True)
class AlertRooms:
    """What alerts are decided from, and where they are told."""

    board: Board
    gpus: GpuBoard
    gpus_not_ready: Callable[[], str]
    limits: LimitBoard
    handle: Handle
    clock: Clock
    metrics: Metrics
    environ: Mapping[str, str]  # where secrets are that rules name by a variable
    stored_places: Callable[[], Mapping[str, int]]  # by source of the log: below which offsets all calls are stored
    on_rules: Callable[[Rules], None]  # told of rules before they are in force
    models: ModelTable  # by which names rules and callers may call a model


class LocalAlerts:
    """Decides in this process until closed."""

    def __init__(self, config: AlertsConfig, folder: Path, rooms: AlertRooms) -> None:
        """Open the journal of a data folder; raises ConfigError where no rules are named."""
        if config.folder is None:
            raise ConfigError("alerts.folder is not set: name the folder of budgets.toml, rules.toml and owners.toml.")
        self._metrics = rooms.metrics
        stored = StoredSpent(rooms.handle.reader(FILL_LIMITS), rooms.stored_places)
        self._journal = FileJournal(folder / FILE_NAME, lambda shown: rooms.limits.change(limits_of(shown)))
        self._decider = Decider(
            DeciderParts(
                folder=config.folder,
                journal=self._journal,
                new_watch=lambda policies: JointWatch(
                    StatisticsWatch(BoardStatistics(rooms.board), policies, stored=stored),
                    GpuWatch(rooms.gpus, lambda: not rooms.gpus_not_ready()),
                ),
                store=AlertStore(rooms.handle),
                proof=StoredProof(rooms.handle.reader(PROOF_LIMITS)),
                clock=rooms.clock,
                metrics=rooms.metrics,
                jitter=jitter,
                secrets=rooms.environ,
                models=rooms.models,
                page_url=config.page_url,
                addresses=address_rule(config.allowed_addresses),
                on_rules=rooms.on_rules,
            )
        )

    def start(self) -> None:
        """Begin to decide; raises ConfigError where the rules cannot be used."""
        try:
            self._decider.start()
        except RulesError as error:
            raise ConfigError(f"the rules cannot be used:\n{error}") from error

    def wake(self) -> None:
        """Tell that statistics have changed; from any thread."""
        self._decider.wake()

    def not_ready(self) -> str:
        """Say why nothing is decided, "" where all is well."""
        return self._decider.failure if self._decider.is_alive else "its thread ended"

    def refused(self) -> str:
        """Say why the rules as they stand in their files are not in force, "" where they are."""
        return self._decider.refused

    def measure(self) -> None:
        """Set the gauges."""
        groups, firing = self._decider.groups
        self._metrics.set(ALERTS_GROUPS, groups)
        self._metrics.set(ALERTS_FIRING, firing)

    def close(self) -> None:
        """Stop deciding and sending; what waits is in the journal."""
        self._decider.stop()
        self._journal.close()
