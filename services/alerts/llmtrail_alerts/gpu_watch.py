"""Look at the rolling statistics of GPUs as the rules ask: what may be decided otherwise now, and what was seen of it.

Decides nothing, and remembers only how far it has looked. What nobody has told anything new of is looked at again as
often as its window's far edge moves on.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from llmtrail.core.gpu_window import EngineWindow, GpuChanged, GpuWindow, TargetSeen
from llmtrail.core.scope import MACHINE_KINDS, Scope, ScopeKind, parse_scope
from llmtrail_alerts.gpu_measure import (
    Seen,
    by_node,
    engine_scope,
    gpu_scope,
    node_scope,
    seen_of_engine,
    seen_of_gpu,
    seen_of_node,
)
from llmtrail_alerts.gpu_target import is_machine_meant
from llmtrail_alerts.model import Alarm, GroupKey, GroupState, Rule, Sighting
from llmtrail_alerts.periods import Bounds

_NS = 1_000_000_000
# A window's far edge is as fine as its slots (core.gpu_board), and so are the times that a level holds.
_EDGE_S = {60: 10, 300: 10, 3_600: 60}
# News of a thousand nodes come all the time: what a second brings is looked at together.
NEWS_EVERY_S = 1
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
    slid_s: Mapping[int, int]


class _Found(NamedTuple):
    """One thing that an alarm may be about: its scope, the number that people know it by, and what was seen of it."""

    scope: Scope
    number: str
    seen: Seen


class GpuWatch:
    """Makes sightings of alarms with the measure gpu. For one thread."""

    def __init__(self, statistics: GpuStatistics, ready: Callable[[], bool] = lambda: True) -> None:
        """Take the statistics; while they are not `ready`, nothing is seen, so that no node seems silent."""
        self._statistics = statistics
        self._ready = ready
        self._has_begun = False
        self._generation = 0
        self._slid_s: Mapping[int, int] = {}
        self._looked_s = 0
        self._looked: _Looked | None = None
        # Groups that have a state, by rule: what they come to may change though nothing is told of them.
        self._held: dict[str, set[str]] = {}

    def fill(self, rules: Sequence[Rule], now_ns: int) -> None:
        """Make up for nothing: no condition of a GPU looks back beyond its window."""

    def is_ready(self) -> bool:
        """Say whether the statistics are whole."""
        return self._ready()

    def look_back(self, rules: Sequence[Rule], past: Mapping[str, Bounds]) -> None:
        """Look at no period: alarms have none."""

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
        self._has_begun = True
        alarms = [rule for rule in rules if isinstance(rule, Alarm) and rule.gpu_condition is not None]
        now_s = now_ns // _NS
        if everything:
            self._held = _held(alarms, states)
        elif not alarms or now_s < self._looked_s + NEWS_EVERY_S:
            return
        self._looked_s = now_s
        changed = self._statistics.changed(self._generation)
        hosts = {target.host for target in changed.targets}
        slid_s = dict(self._slid_s)
        found: list[Sighting] = []
        for window_s in sorted({alarm.window_s for alarm in alarms}):
            slides = everything or now_s >= slid_s.get(window_s, 0) + _EDGE_S[window_s]
            if slides:
                slid_s[window_s] = now_s
            if slides or hosts:
                same = [alarm for alarm in alarms if alarm.window_s == window_s]
                found += self._sightings(same, states, now_ns, None if slides else hosts)
        self._looked = _Looked(changed.generation, slid_s)
        yield from found

    def settled(self) -> None:
        """Take note that what was returned was decided and written: it need not be returned again."""
        if self._looked is not None:
            self._generation, self._slid_s = self._looked

    def _sightings(
        self,
        alarms: Sequence[Alarm],
        states: Mapping[GroupKey, GroupState],
        now_ns: int,
        hosts: Collection[str] | None,
    ) -> Iterator[Sighting]:
        """Return what is worth deciding of alarms with one window, of some nodes (None: of all)."""
        machines = _Machines(self._statistics, alarms[0].window_s, now_ns, hosts)
        for alarm in alarms:
            present: set[str] = set()
            for scope, number, seen in machines.found(alarm):
                if not is_machine_meant(alarm.target, scope, number):
                    continue
                key = GroupKey(alarm.name, scope.text())
                present.add(key.scope)
                if key in states or _reaches(alarm, seen.value):
                    self._held.setdefault(alarm.name, set()).add(key.scope)
                    yield _sighting(key, seen, now_ns)
            if hosts is None:
                yield from self._absent(alarm, present, machines, states, now_ns)

    def _absent(
        self,
        alarm: Alarm,
        present: Collection[str],
        machines: "_Machines",
        states: Mapping[GroupKey, GroupState],
        now_ns: int,
    ) -> Iterator[Sighting]:
        """Return what is seen of groups that nothing is told of in the window."""
        held = self._held.get(alarm.name, set())
        for text in sorted(held.difference(present)):
            key = GroupKey(alarm.name, text)
            state = states.get(key)
            if state is None:
                held.discard(text)  # decided as well, and forgotten
            elif state.level < 0:
                yield _sighting(key, Seen(0, {}), now_ns)  # what only waited to be told holds no more
            elif now_ns - state.firing_since_ns < GONE_AFTER_S * _NS or machines.is_known(parse_scope(text)):
                yield _sighting(key, Seen(None, {}), now_ns)
            else:
                yield _sighting(key, Seen(0, {"why": GONE}), now_ns)


class _Machines:
    """What one look sees of GPUs, model servers and nodes: each asked for once, and only where an alarm wants it."""

    def __init__(self, statistics: GpuStatistics, window_s: int, now_ns: int, hosts: Collection[str] | None) -> None:
        self._statistics = statistics
        self._window_s = window_s
        self._now_ns = now_ns
        self._hosts = hosts
        self._devices: Sequence[GpuWindow] | None = None
        self._engines: Sequence[EngineWindow] | None = None
        self._nodes: Mapping[str, Sequence[TargetSeen]] | None = None
        self._known: frozenset[Scope] | None = None

    def found(self, alarm: Alarm) -> Iterable[_Found]:
        """Return what an alarm's condition comes to, of all that has such a one."""
        now_s = self._now_ns / _NS
        match alarm.target.kind:
            case ScopeKind.GPU:
                if self._devices is None:
                    self._devices = self._statistics.devices(self._window_s, now_s, self._hosts)
                for gpu in self._devices:
                    number = "" if gpu.gpu_index is None else str(gpu.gpu_index)
                    yield _Found(gpu_scope(gpu), number, seen_of_gpu(alarm, gpu))
            case ScopeKind.ENGINE:
                if self._engines is None:
                    self._engines = self._statistics.engines(self._window_s, now_s, self._hosts)
                for engine in self._engines:
                    yield _Found(engine_scope(engine), "", seen_of_engine(alarm, engine))
            case ScopeKind.NODE:
                if self._nodes is None:
                    self._nodes = by_node(self._statistics.targets(now_s, self._hosts))
                for host, targets in self._nodes.items():
                    yield _Found(node_scope(host), "", seen_of_node(alarm, targets, self._now_ns))
            case _:
                raise AssertionError(f"{alarm.name} is about no machine; there are {', '.join(MACHINE_KINDS)}.")

    def is_known(self, scope: Scope) -> bool:
        """Say whether anything was heard of a GPU or model server in the last hour; of a node, within a day."""
        if self._known is None:
            now_s = self._now_ns / _NS
            gpus, engines = self._statistics.devices(_HOUR_S, now_s), self._statistics.engines(_HOUR_S, now_s)
            self._known = frozenset([*map(gpu_scope, gpus), *map(engine_scope, engines)])
        # A node that is known has its targets, whatever the window: one that lacks them was silent for a day.
        return scope in self._known


def _held(alarms: Iterable[Alarm], states: Iterable[GroupKey]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {alarm.name: set() for alarm in alarms}
    for key in states:
        if key.rule in found:
            found[key.rule].add(key.scope)
    return found


def _reaches(alarm: Alarm, value: float | None) -> bool:
    """Say whether a group without a state could get one: below every level nothing is decided of it."""
    return value is not None and any(value >= level.at for level in alarm.levels)


def _sighting(key: GroupKey, seen: Seen, now_ns: int) -> Sighting:
    return Sighting(key=key, at_ns=now_ns // _NS * _NS, value=seen.value, detail=seen.detail)
