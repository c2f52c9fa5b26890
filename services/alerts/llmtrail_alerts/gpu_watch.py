"""Look at the rolling statistics of GPUs as the rules ask: what may be decided otherwise now, and what was seen of it.

Decides nothing, and remembers only how far it has looked. What nobody has told anything new of is looked at again as
often as its window's far edge moves on.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from zlib import crc32

from llmtrail.core.gpu_window import EngineWindow, GpuChanged, GpuWindow, TargetSeen
from llmtrail.core.scope import MACHINE_KINDS, Scope, ScopeKind, parse_scope
from llmtrail_alerts.decide import NOT_MEANT
from llmtrail_alerts.gpu_measure import (
    EVENTS,
    by_node,
    detail_of_engine,
    detail_of_gpu,
    detail_of_node,
    engine_scope,
    gpu_scope,
    node_scope,
    value_of_engine,
    value_of_gpu,
    value_of_node,
)
from llmtrail_alerts.model import Alarm, GroupKey, GroupState, Rule, Sighting
from llmtrail_alerts.periods import Bounds
from llmtrail_alerts.targets import is_machine_meant

_NS = 1_000_000_000
# A window's far edge is as fine as its slots (core.gpu_board): what holds or waits, and silence, is looked at as often.
_EDGE_S = {60: 10, 300: 10, 3_600: 60}
# Nodes that are well are looked at when they tell something new; the longer windows of them, and all where they tell
# nothing, in their turn.
_WELL_S = {60: 60, 300: 30, 3_600: 60}
# News of a thousand nodes come all the time: what a second brings is looked at together.
NEWS_EVERY_S = 1
NEWS_WINDOW_S = 60
# What nothing is heard of any more stays as it is: a GPU that fell off its bus tells nothing. After a day it is gone
# for good, and an alarm that nobody can end ends by itself.
GONE_AFTER_S = 86_400
_HOUR_S = 3_600  # what the statistics keep
GONE = "nothing was heard of it for an hour or more: it is taken for gone"


class GpuStatistics(Protocol):
    """The rolling statistics of GPUs, as far as they are used here; `core.gpu_board.GpuBoard` is one."""

    def devices(self, window_s: int, now_s: float, hosts: Collection[str] | None = None) -> Sequence[GpuWindow]:
        """Return what the GPUs of some nodes (None: all) come to in the window that ends now."""

    def engines(self, window_s: int, now_s: float, hosts: Collection[str] | None = None) -> Sequence[EngineWindow]:
        """Return what the models of model servers come to."""

    def targets(self, now_s: float, hosts: Collection[str] | None = None) -> Sequence[TargetSeen]:
        """Return every target that was heard of in the last day."""

    def changed(self, generation: int = 0) -> GpuChanged:
        """Return what samples have told of since a generation, 0 for all there is."""


class _Looked(NamedTuple):
    """How far a look came: it counts once what it saw is decided."""

    generation: int
    at_s: int


@dataclass(frozen=True, slots=True)
class _Machine:
    """One thing that an alarm may be about: its scope, the number that people know it by, and what it did."""

    scope: Scope
    text: str
    number: str
    told: GpuWindow | EngineWindow | Sequence[TargetSeen]


class GpuWatch:
    """Makes sightings of alarms with the measure gpu. For one thread."""

    def __init__(self, statistics: GpuStatistics, ready: Callable[[], bool] = lambda: True) -> None:
        """Take the statistics; while they are not `ready`, nothing is seen, so that no node seems silent."""
        self._statistics = statistics
        self._ready = ready
        self._has_begun = False
        self._asked_s = 0
        self._looked: _Looked | None = None
        self._settled = _Looked(0, 0)
        # Groups that have a state, by rule, each with its node: what they come to may change though nothing is told.
        self._held: dict[str, dict[str, str]] = {}

    def fill(self, rules: Sequence[Rule], now_ns: int) -> None:
        """Make up for nothing: no condition of a GPU looks back beyond its window."""

    def is_ready(self) -> bool:
        """Say whether the statistics are whole."""
        return self._ready()

    def look_back(self, rules: Sequence[Rule], past: Mapping[str, Bounds]) -> None:
        """Look at no period: alarms have none."""

    def is_owing(self) -> bool:
        """Return that no period of GPUs is ever owed."""
        return False

    def look(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> Iterator[Sighting]:
        """Return a sighting of each group that may be decided otherwise than it stands.

        With `everything` those of all groups of all rules. None while it is not ready: others do not wait for it.
        """
        self._looked = None
        if not self._ready():
            self._has_begun = False
            return
        everything = everything or not self._has_begun
        alarms = [rule for rule in rules if isinstance(rule, Alarm) and rule.gpu_condition is not None]
        now_s = now_ns // _NS
        if everything:
            self._has_begun = True
            self._held = _held(alarms, states)
        elif not alarms or now_s < self._asked_s + NEWS_EVERY_S:
            return
        self._asked_s = now_s
        changed = self._statistics.changed(self._settled.generation)
        news = {target.host for target in changed.targets}
        held = {node for groups in self._held.values() for node in groups.values()}
        nodes = {target.host for target in self._statistics.changed().targets} | held
        found: list[Sighting] = []
        for window_s in sorted({alarm.window_s for alarm in alarms}):
            for of_nodes in (False, True):
                same = [one for one in alarms if one.window_s == window_s and _is_of_nodes(one) is of_nodes]
                holding = nodes if of_nodes else held
                due = {node for node in nodes if everything or self._is_due(node, window_s, now_s, node in holding)}
                found += self._sightings(same, states, now_ns, due, in_full=True)
                found += self._news(same, states, now_ns, news - due)
        self._looked = _Looked(changed.generation, now_s)
        yield from found

    def settled(self) -> None:
        """Take note that what was returned was decided and written: it need not be returned again."""
        if self._looked is not None:
            self._settled = self._looked

    def _is_due(self, node: str, window_s: int, now_s: int, holds: bool) -> bool:
        """Say whether a node has its turn: each has its own second, so that no second looks at all of them."""
        every_s = (_EDGE_S if holds else _WELL_S)[window_s]
        shift_s = crc32(node.encode()) % every_s
        return (now_s + shift_s) // every_s > (self._settled.at_s + shift_s) // every_s

    def _news(
        self,
        alarms: Sequence[Alarm],
        states: Mapping[GroupKey, GroupState],
        now_ns: int,
        nodes: Collection[str],
    ) -> Iterator[Sighting]:
        """Return what is worth deciding at once of nodes that told something new.

        Of a long window only events are, where there was one within the last minute: means and shares of it are looked
        at when it moves on, since one sample more changes little of them and adding them up costs most.
        """
        if nodes and alarms and alarms[0].window_s > NEWS_WINDOW_S:
            alarms = [alarm for alarm in alarms if alarm.gpu_condition in EVENTS]
            lately = _Machines(self._statistics, NEWS_WINDOW_S, now_ns, nodes)
            nodes = {one.scope.values[0] for alarm in alarms for one in lately.of(alarm) if lately.value(alarm, one)}
        if alarms and nodes:
            yield from self._sightings(alarms, states, now_ns, nodes, in_full=False)

    def _sightings(
        self,
        alarms: Sequence[Alarm],
        states: Mapping[GroupKey, GroupState],
        now_ns: int,
        nodes: Collection[str],
        *,
        in_full: bool,
    ) -> Iterator[Sighting]:
        """Return what is worth deciding of alarms with one window on some nodes; `in_full` also what tells nothing."""
        if not alarms or not nodes:
            return
        machines = _Machines(self._statistics, alarms[0].window_s, now_ns, nodes)
        for alarm in alarms:
            held = self._held.setdefault(alarm.name, {})
            present: set[str] = set()
            for one in machines.of(alarm):
                if not is_machine_meant(alarm.target, one.scope, one.number):
                    continue
                key = GroupKey(alarm.name, one.text)
                present.add(one.text)
                value = machines.value(alarm, one)
                if key in states or _reaches(alarm, value):
                    held[one.text] = one.scope.values[0]
                    yield _sighting(key, value, machines.detail(alarm, one), now_ns)
            if in_full:
                silent = sorted(text for text, node in held.items() if node in nodes and text not in present)
                yield from self._silent(alarm, silent, machines, states, now_ns)

    def _silent(
        self,
        alarm: Alarm,
        texts: Iterable[str],
        machines: "_Machines",
        states: Mapping[GroupKey, GroupState],
        now_ns: int,
    ) -> Iterator[Sighting]:
        """Return what is seen of groups that their own node tells nothing of in the window."""
        for text in texts:
            key = GroupKey(alarm.name, text)
            state = states.get(key)
            if state is None:
                del self._held[alarm.name][text]  # decided as well, and forgotten
            elif (one := machines.elsewhere(alarm).get(text)) is not None and not is_machine_meant(
                alarm.target, one.scope, one.number
            ):
                yield _sighting(key, 0, {"why": NOT_MEANT}, now_ns)
            elif one is not None:
                yield _sighting(key, machines.value(alarm, one), machines.detail(alarm, one), now_ns)
            elif state.level < 0:
                yield _sighting(key, 0, {}, now_ns)  # what only waited to be told holds no more
            elif now_ns - state.firing_since_ns < GONE_AFTER_S * _NS or machines.is_known(parse_scope(text)):
                yield _sighting(key, None, {}, now_ns)
            else:
                yield _sighting(key, 0, {"why": GONE}, now_ns)


class _Machines:
    """What one look sees of GPUs, model servers and nodes: each asked for once, and only where an alarm wants it."""

    def __init__(self, statistics: GpuStatistics, window_s: int, now_ns: int, nodes: Collection[str] | None) -> None:
        self._statistics = statistics
        self._window_s = window_s
        self._now_ns = now_ns
        self._nodes = nodes
        self._by_kind: dict[ScopeKind, list[_Machine]] = {}
        self._known: frozenset[Scope] | None = None
        self._everywhere: _Machines | None = None

    def of(self, alarm: Alarm) -> list[_Machine]:
        """Return all that an alarm may be about, whatever its patterns say."""
        kind = alarm.target.kind
        found = self._by_kind.get(kind)
        if found is None:
            found = self._by_kind[kind] = list(self._asked(kind))
        return found

    def elsewhere(self, alarm: Alarm) -> Mapping[str, _Machine]:
        """Return what all nodes tell of, by scope: exporters may call a node otherwise than its collector does."""
        if self._everywhere is None:
            self._everywhere = _Machines(self._statistics, self._window_s, self._now_ns, None)
        return {one.text: one for one in self._everywhere.of(alarm)}

    def value(self, alarm: Alarm, one: _Machine) -> int | float | None:
        """Return what an alarm's condition comes to."""
        match one.told:
            case GpuWindow():
                return value_of_gpu(alarm, one.told)
            case EngineWindow():
                return value_of_engine(alarm, one.told)
            case targets:
                return value_of_node(alarm, targets, self._now_ns)

    def detail(self, alarm: Alarm, one: _Machine) -> dict[str, str]:
        """Return what a person wants to know beside it."""
        match one.told:
            case GpuWindow():
                return detail_of_gpu(alarm, one.told)
            case EngineWindow():
                return detail_of_engine(one.told)
            case targets:
                return detail_of_node(alarm, targets, self._now_ns)

    def is_known(self, scope: Scope) -> bool:
        """Say whether anything was heard of a GPU or model server in the last hour; of a node, within a day."""
        if self._known is None:
            now_s = self._now_ns / _NS
            gpus, engines = self._statistics.devices(_HOUR_S, now_s), self._statistics.engines(_HOUR_S, now_s)
            self._known = frozenset([*map(gpu_scope, gpus), *map(engine_scope, engines)])
        # A node that is known has its targets, whatever the window: one that lacks them was silent for a day.
        return scope in self._known

    def _asked(self, kind: ScopeKind) -> Iterator[_Machine]:
        now_s = self._now_ns / _NS
        match kind:
            case ScopeKind.GPU:
                for gpu in self._statistics.devices(self._window_s, now_s, self._nodes):
                    scope = gpu_scope(gpu)
                    yield _Machine(scope, scope.text(), "" if gpu.gpu_index is None else str(gpu.gpu_index), gpu)
            case ScopeKind.ENGINE:
                for engine in self._statistics.engines(self._window_s, now_s, self._nodes):
                    scope = engine_scope(engine)
                    yield _Machine(scope, scope.text(), "", engine)
            case ScopeKind.NODE:
                for host, targets in by_node(self._statistics.targets(now_s, self._nodes)).items():
                    scope = node_scope(host)
                    yield _Machine(scope, scope.text(), "", targets)
            case _:
                raise AssertionError(f"{kind} is no machine; there are {', '.join(MACHINE_KINDS)}.")


def _is_of_nodes(alarm: Alarm) -> bool:
    return alarm.target.kind is ScopeKind.NODE


def _held(alarms: Iterable[Alarm], states: Iterable[GroupKey]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {alarm.name: {} for alarm in alarms}
    for key in states:
        if key.rule in found:
            found[key.rule][key.scope] = parse_scope(key.scope).values[0]
    return found


def _reaches(alarm: Alarm, value: float | None) -> bool:
    """Say whether a group without a state could get one: below every level nothing is decided of it."""
    return value is not None and any(value >= level.at for level in alarm.levels)


def _sighting(key: GroupKey, value: float | None, detail: dict[str, str], now_ns: int) -> Sighting:
    return Sighting(key=key, at_ns=now_ns // _NS * _NS, value=value, detail=detail)
