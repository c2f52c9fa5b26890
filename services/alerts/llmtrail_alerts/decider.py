"""One decider: rules, journal, engine, delivery and table put together, and its loop. Only acts.

It owns what its journal holds until it is stopped, or until the journal says that it is another's.
"""

import logging
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from llmtrail.clock import Clock
from llmtrail.core import json_decode
from llmtrail.core.model_identity import ModelTable
from llmtrail.core.policy import FailurePolicy
from llmtrail.log.journal import Journal, JournalLostError, Record
from llmtrail.metrics import ALERTS_RULES_REFUSED, ALERTS_UNSTORED, Metrics
from llmtrail.outgoing import AddressRule
from llmtrail_alerts.channels.port import Channel
from llmtrail_alerts.channels.post import ADDRESSES
from llmtrail_alerts.channels.senders import new_sender
from llmtrail_alerts.delivery import Delivery, Edges
from llmtrail_alerts.engine import Engine, EngineParts, Watch
from llmtrail_alerts.prover import Proof, Prover, Steps
from llmtrail_alerts.reload import Reloaded, RulesFolder
from llmtrail_alerts.rule_changes import Snapshot, decode_snapshot, encode_snapshot
from llmtrail_alerts.rules import Rules, RulesError
from llmtrail_alerts.rules_file import SecretError, channel_of
from llmtrail_alerts.table import AlertTable, Store
from llmtrail_alerts.toml_table import Problem

_LOG = logging.getLogger(__name__)

# Rules are looked for so often: whoever saves a file sees it taken up while still looking.
RULES_EVERY_S = 1.0
# News of statistics wakes it; without any, what is due by time alone is looked for so often.
TURN_EVERY_S = 0.25
# News come with every range: what comes within this is decided together.
GATHER_S = 0.05
# After a long turn it rests four times as long, so that deciding takes a fifth of a core at most; but half a second is
# the longest that news wait.
REST_TIMES = 4
REST_S_MAX = 0.5
AGAIN_FIRST_S = 0.2
AGAIN_LAST_S = 5.0
_NS = 1_000_000_000
Policies = Mapping[str, FailurePolicy]
_TEXTS_KEY = msgspec.json.encode(("texts of rules",)).decode()
_SNAPSHOT_KEY = msgspec.json.encode(("rules",)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeciderParts:
    """What a decider is given."""

    folder: Path  # of the rules
    journal: Journal
    new_watch: Callable[[Callable[[], Policies]], Watch]
    store: Store
    proof: Proof
    clock: Clock
    metrics: Metrics
    jitter: Callable[[], float]  # 0 to 1; safe from several threads
    secrets: Mapping[str, str]  # the environment's
    models: ModelTable | None = None  # the names that rules may call a model by, and callers ask for it by
    page_url: str = ""
    addresses: AddressRule = ADDRESSES  # that channels may send to
    is_mine: Callable[[Rules, str], bool] = lambda _rules, _name: True
    # What this process cannot do of rules that are good in themselves; and told of rules before they are in force.
    check: Callable[[Rules], Sequence[Problem]] = lambda _: ()
    on_rules: Callable[[Rules], None] = lambda _: None
    home: str = ""  # the journal's partition, where there are several
    audits: bool = True  # of several deciders one writes down who changed which rule


class Decider:
    """Decides until stopped. `start` may raise; from then on it goes on by itself."""

    def __init__(self, parts: DeciderParts) -> None:
        self._parts = parts
        self._stopping = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmtrail-alerts", daemon=True)
        self._folder = RulesFolder(parts.folder, models=parts.models)
        self._untaken: Reloaded | None = None  # changed rules that could not be written yet
        self._engine: Engine | None = None
        self._delivery: Delivery | None = None
        self._table: AlertTable | None = None
        self._prover: Prover | None = None
        self._rest_s = GATHER_S
        self._ended_ns = 0
        self.failure = "it has not decided yet"

    def start(self) -> None:
        """Read rules and journal, take up what waits, and go on in a thread; raises RulesError."""
        parts = self._parts
        records = list(parts.journal.load())
        self._folder = RulesFolder(parts.folder, _known(records), check=parts.check, models=parts.models)
        opened = self._open(records)
        parts.on_rules(opened.rules)
        self._delivery = Delivery(self._channels(opened.rules), self._edges())
        self._table = AlertTable(parts.journal, parts.store, lambda rows: parts.metrics.set(ALERTS_UNSTORED, rows))
        self._prover = Prover(parts.proof, Steps(self._delivery.offer, self._table.offer), parts.clock)
        engine = EngineParts(
            journal=parts.journal,
            watch=parts.new_watch(self._policies),
            delivery=self._delivery,
            table=self._table,
            prover=self._prover,
            clock=parts.clock,
            metrics=parts.metrics,
            channels=self._channels,
            is_mine=parts.is_mine,
            home=parts.home,
        )
        self._engine = Engine(engine, opened.rules)
        self._engine.load(records, opened.names)
        self._take(self._engine, opened)
        self._prover.start()
        self._table.start()
        self._thread.start()

    def _open(self, records: Sequence[tuple[str, bytes]]) -> Reloaded:
        """Read the folder; where that is refused, go on with the rules that were in force when a process last ended."""
        now_ns = self._parts.clock.now_ns()
        try:
            return self._folder.open(now_ns)
        except RulesError as error:
            texts = _texts(records)
            if not texts:
                raise  # nothing was ever in force: whoever starts it hears why, and no limit is missing unnoticed
            opened = self._folder.open_former(texts, error, now_ns)
            self._parts.metrics.count(ALERTS_RULES_REFUSED)
            _LOG.error("the rules cannot be used; those that were in force before stay: %s", error)
            return opened

    @property
    def refused(self) -> str:
        """Return why the rules as they stand in their files are not in force; "" where they are."""
        error = self._folder.refused
        return "" if error is None else f"the changed rules are refused and the former ones are in force: {error}"

    def wake(self) -> None:
        """Tell that there are news; from any thread."""
        self._news.set()

    def stop(self, timeout_s: float = 15.0) -> None:
        """End after the turn and the attempts under way. What waits is in the journal."""
        self._stopping.set()
        self._news.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if self._prover is not None:
            self._prover.stop(timeout_s)
        if self._delivery is not None:
            self._delivery.stop(timeout_s)
        if self._table is not None:
            self._table.stop(timeout_s)

    @property
    def is_alive(self) -> bool:
        """Say whether it decides."""
        return self._thread.is_alive()

    @property
    def groups(self) -> tuple[int, int]:
        """Return how many groups are remembered, and how many of them are at a level."""
        return self._engine.groups if self._engine is not None else (0, 0)

    def _policies(self) -> Policies:
        return self._engine.rules.policies if self._engine is not None else {}

    def _edges(self) -> Edges:
        parts = self._parts
        return Edges(
            journal=parts.journal,
            clock=parts.clock,
            jitter=parts.jitter,
            metrics=parts.metrics,
            new_sender=lambda channel: new_sender(channel, parts.page_url, parts.addresses),
        )

    def _run(self) -> None:
        pause_s, looked_ns = AGAIN_FIRST_S, 0
        while not self._stopping.is_set():
            try:
                now_ns = self._parts.clock.monotonic_ns()
                if self._untaken is not None or now_ns - looked_ns >= RULES_EVERY_S * _NS:
                    looked_ns = now_ns
                    self._reload()
                self._turn()
                self.failure, pause_s = "", AGAIN_FIRST_S
            except JournalLostError as lost:
                self.failure = str(lost)
                _LOG.warning("alerts are decided elsewhere from now on: %s", lost)
                return
            except Exception as cause:  # noqa: BLE001 - the loop's edge: nothing was decided; it is done again.
                self.failure = f"{type(cause).__name__}: {cause}"
                _LOG.exception("alerts are decided again in %.1f s", pause_s)
                self._stopping.wait(pause_s)
                pause_s = min(pause_s * 2, AGAIN_LAST_S)

    def _turn(self) -> None:
        if self._news.wait(TURN_EVERY_S):
            rested_s = (self._parts.clock.monotonic_ns() - self._ended_ns) / _NS
            self._stopping.wait(max(GATHER_S, self._rest_s - rested_s))
        self._news.clear()
        if self._engine is not None and not self._stopping.is_set():
            began_ns = self._parts.clock.monotonic_ns()
            verdicts = self._engine.turn()
            self._ended_ns = self._parts.clock.monotonic_ns()
            if not verdicts:  # else it waited for the journal, which costs no work here
                self._rest_s = min(REST_TIMES * (self._ended_ns - began_ns) / _NS, REST_S_MAX)

    def _reload(self) -> None:
        if self._engine is None:
            return
        if self._untaken is None:
            self._untaken = self._folder.poll(self._parts.clock.now_ns())
            if self._untaken is not None and self._untaken.error is not None:
                self._parts.metrics.count(ALERTS_RULES_REFUSED)
                _LOG.error("the changed rules cannot be used; the former ones stay: %s", self._untaken.error)
        if self._untaken is not None:
            try:
                self._take(self._engine, self._untaken)
            finally:
                if self._engine.rules is self._untaken.rules:
                    self._untaken = None  # they are written; what came after it is not to hold up decisions

    def _take(self, engine: Engine, reloaded: Reloaded) -> None:
        self._parts.on_rules(reloaded.rules)
        kept: Sequence[Record] = (
            (_SNAPSHOT_KEY, encode_snapshot(self._folder.known)),
            (_TEXTS_KEY, zlib.compress(msgspec.json.encode(self._folder.texts))),
        )
        engine.take_rules(reloaded.rules, reloaded.audit if self._parts.audits else (), kept, reloaded.names)

    def _channels(self, rules: Rules) -> dict[str, Channel]:
        """Return the channels whose secrets are there; one that lacks its own is told and left out."""
        found = {}
        for name, spec in rules.channels.items():
            try:
                found[name] = channel_of(spec, self._parts.secrets, self._parts.folder)
            except SecretError as error:
                _LOG.error("channel %s cannot be used: %s", name, error)
        return found


def _texts(records: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """Return the files of the rules that were last in force; none where nobody remembers."""
    found = dict(records).get(_TEXTS_KEY)
    try:
        return {} if found is None else json_decode.decode(zlib.decompress(found), type=dict[str, str])
    except (msgspec.DecodeError, zlib.error):
        return {}


def _known(records: Sequence[tuple[str, bytes]]) -> Snapshot | None:
    """Return what the rules were when they were last taken up; None where nobody remembers."""
    found = dict(records).get(_SNAPSHOT_KEY)
    if found is None:
        return None
    try:
        return decode_snapshot(found)
    except msgspec.DecodeError:
        return None
