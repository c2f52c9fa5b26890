"""Looking only at what may have changed decides what looking at everything each time would have decided.

Over a real board, whose slots are rolled up as time passes. Steps are never shorter than what is looked at less often
than each time, so that both see the same moments. Comparisons with the usual are not here: what is usual changes with
each minute, and a scope without any news is not worth asking it again.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from llmtrail.core.board import Board
from llmtrail.core.cell import Cell
from llmtrail.core.partial import Partial, Source, slot_of
from llmtrail.core.scope import Scope, ScopeKind, shard_of
from llmtrail_alerts.board_statistics import BoardStatistics
from llmtrail_alerts.decide import decide_all, is_forgettable
from llmtrail_alerts.model import (
    Alarm,
    Budget,
    GroupKey,
    GroupState,
    Level,
    Measure,
    Period,
    Rule,
    Severity,
    Target,
    Unit,
)
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.watch import StatisticsWatch
from told_board import ToldBoard

SEEDS = 20
NS = 1_000_000_000
BEGAN_S = 1_769_896_800  # two hours before midnight of the 31st, UTC
ZONES = ("UTC", "Asia/Kolkata")
TENANTS, FEATURES, IDS = ("", "acme"), ("search", "chat"), ("a", "b", "c")


def level(at: float, clear: float | None = None) -> Level:
    return Level(f"{at}", at, at if clear is None else clear, Severity.ERROR)


def budget(name: str, kind: ScopeKind, values: tuple[str, ...], period: Period, limit: int) -> Budget:
    levels = (level(limit // 2), level(limit))
    return Budget(name=name, target=Target(kind, values), unit=Unit.CALLS, limit=limit, period=period, levels=levels)


def alarm(name: str, kind: ScopeKind, measure: Measure, window_s: int, *levels: Level) -> Alarm:
    values = () if kind is ScopeKind.TENANT else ("*",)
    return Alarm(name=name, target=Target(kind, values), measure=measure, window_s=window_s, levels=levels)


def alarms(window_s: int) -> tuple[Alarm, ...]:
    """Return alarms of every way in which time alone changes what is seen."""
    failing = alarm("failing", ScopeKind.FEATURE, Measure.ERROR_RATE, window_s, level(0.3, 0.2), level(0.7))
    cheap = alarm("cheap", ScopeKind.FEATURE, Measure.COST, window_s, level(8, 12))
    slow = alarm("slow", ScopeKind.FEATURE, Measure.LATENCY_P50_MS, window_s, level(20), level(400))
    silent = alarm("silent", ScopeKind.FEATURE, Measure.NO_DATA_S, max(window_s, 300), level(window_s / 2))
    named = replace(silent, name="named", target=Target(ScopeKind.FEATURE, ("other",)))
    waits = replace(failing, name="waits", for_s=window_s // 2, resolve_after_s=window_s // 3, repeat_s=window_s)
    return failing, replace(cheap, below=True), slow, silent, named, waits, replace(failing, name="some", min_calls=3)


MINUTES = (
    *alarms(60),
    *(replace(one, name=f"{one.name}-5m") for one in alarms(300)),
    alarm("storm", ScopeKind.TENANT, Measure.ATTEMPTS_PER_REQUEST, 300, level(5), level(12, 6)),
    alarm("prompts", ScopeKind.TENANT, Measure.ATTEMPTS_PER_PROMPT, 60, level(5)),
    budget("minutely", ScopeKind.USER, ("*",), Period.MINUTE, 4),
    budget("hourly", ScopeKind.FEATURE_USER, ("search", "*"), Period.HOUR, 6),
    budget("daily", ScopeKind.FEATURE, ("*",), Period.DAY, 20),
    replace(budget("monthly", ScopeKind.TENANT, (), Period.MONTH, 40), zone="Asia/Kolkata"),
)
HOURS = (
    *alarms(3_600),
    budget("request", ScopeKind.REQUEST, ("*",), Period.TOTAL, 6),
    budget("session", ScopeKind.SESSION, ("*",), Period.TOTAL, 8),
    alarm("storm", ScopeKind.TENANT, Measure.ATTEMPTS_PER_REQUEST, 3_600, level(8, 6)),
)
DAYS = alarms(86_400)


class Decider:
    """Decides what one watch sees, and keeps the states."""

    def __init__(self, board: Board, rules: Sequence[Rule]) -> None:
        self.watch = StatisticsWatch(BoardStatistics(board))
        self.rules = {rule.name: rule for rule in rules}
        self.states: dict[GroupKey, GroupState] = {}

    def decide(self, now_s: int, *, everything: bool) -> set[tuple[object, ...]]:
        """Return what was decided."""
        found: set[tuple[object, ...]] = set()
        for seen in self.watch.look(list(self.rules.values()), self.states, now_s * NS, everything=everything):
            rule = self.rules[seen.key.rule]
            state, verdicts = decide_all(rule, self.states.get(seen.key), seen, Quiet(), now_s * NS)
            found |= {(one.key, one.reason, one.told, one.level, one.sighting.value, one.id) for one in verdicts}
            if is_forgettable(state, now_s * NS):
                self.states.pop(seen.key, None)
            else:
                self.states[seen.key] = state
        self.watch.settled()
        return found

    def levels(self) -> dict[GroupKey, int]:
        """Return what fires."""
        return {key: state.level for key, state in self.states.items() if state.level >= 0}


class World:
    """Calls, the board that they are counted on, and two deciders."""

    def __init__(self, seed: int, rules: Sequence[Rule]) -> None:
        self.rng = random.Random(seed)
        self.slots = ToldBoard(ZONES)
        self.now_s, self.offset = BEGAN_S, 0
        self.lazy, self.thorough = Decider(self.slots.board, rules), Decider(self.slots.board, rules)

    def call(self) -> None:
        rng = self.rng
        tenant, feature, user, one = (rng.choice(among) for among in (TENANTS, FEATURES, IDS, IDS))
        failed = rng.random() < 0.4
        cell = Cell(
            calls=1,
            errors=int(failed),
            cost_nanousd=rng.randint(0, 9),
            attempts=rng.choice((1, 1, 4)),
            latency={rng.choice((100, 400)): 1},
        )
        scopes = [
            (ScopeKind.TENANT, ()),
            (ScopeKind.FEATURE, (feature,)),
            (ScopeKind.USER, (user,)),
            (ScopeKind.FEATURE_USER, (feature, user)),
            (ScopeKind.REQUEST, (one,)),
            (ScopeKind.SESSION, (user,)),
            (ScopeKind.PROMPT, (one,)),
        ]
        at = slot_of((self.now_s - rng.choice((0, 0, 0, 9, 61, 200))) * NS)
        hitters = {ScopeKind.REQUEST, ScopeKind.SESSION, ScopeKind.PROMPT}
        for kind, values in scopes:
            text = Scope(tenant, kind, values).text()
            source = Source("t", 0, self.offset, self.offset + 1)
            self.offset += 1
            told = {at: {text: cell.copy()}}
            self.slots.fold(
                Partial(
                    shard=shard_of(text),
                    watermark_s=self.now_s,
                    source=source,
                    slots={} if kind in hitters else told,
                    hitters=told if kind in hitters else {},
                )
            )


def walk(world: World, steps: Sequence[int], said: str) -> int:
    decided = 0
    for number in range(world.rng.randint(4, 14)):
        world.now_s += world.rng.choice(steps)
        for _ in range(world.rng.choice((0, 0, 1, 2, 5))):
            world.call()
        if world.rng.random() < 0.3:
            world.slots.beat(world.now_s)
        wanted = world.thorough.decide(world.now_s, everything=True)
        found = world.lazy.decide(world.now_s, everything=number == 0)
        assert found == wanted, f"{said}, at {world.now_s}: {found ^ wanted}"
        assert world.lazy.levels() == world.thorough.levels(), said
        decided += len(found)
    return decided


@pytest.mark.parametrize(
    ("rules", "steps"),
    [(MINUTES, (10, 10, 11, 30, 61, 300, 400)), (HOURS, (60, 61, 400, 1_700, 4_000)), (DAYS, (900, 4_000, 90_000))],
    ids=["minutes", "hours", "days"],
)
def test_looking_at_what_may_have_changed_decides_as_looking_at_everything(
    rules: Sequence[Rule], steps: Sequence[int]
) -> None:
    decided = sum(walk(World(seed, rules), steps, f"seed {seed}") for seed in range(SEEDS))
    assert decided > SEEDS, "too little happened to prove anything"
