"""One history of everything: calls, failures, revisions, repeats, restarts, skewed clocks, edits of rules and alerts.

At every quiet moment rows, statistics, budgets, limits and alerts say the same money both ways, and it is that of the
raw events: the level that each budget is at, and the limit that callers are told, are worked out from these alone.
"""

import random
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

import engine_world
from engine_world import CHANNELS, Process, states_of
from llmtrail.core.limit import LimitLevel, decode_limit, limit_key
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.board_statistics import BoardStatistics
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.model import Alarm, Budget, Level, Measure, Period, Severity, Target, Unit
from llmtrail_alerts.owners import ChannelSpec
from llmtrail_alerts.periods import period_of
from llmtrail_alerts.rule_changes import renames, snapshot
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.targets import is_meant
from world_histories import MODELS, TENANTS, ZONES, Way, World, play
from world_truth import NS

HISTORIES = 2_000
TOGETHER = 100
UNPRICED_NANOUSD = 3_000_000
LIMITS_NANOUSD = (1_000_000, 20_000_000, 100_000_000, 1_000_000_000)
NAMES = {ScopeKind.FEATURE: ("search", "chat", "later"), ScopeKind.MODEL: MODELS, ScopeKind.TENANT: ()}
SPECS = {name: ChannelSpec(name=name, kind=channel.kind) for name, channel in CHANNELS.items()}


class _Board(BoardStatistics):
    """What one way has counted, as a decider asks for it; there are no GPUs."""

    gpus = CaseStatistics().gpus


def target_of(rng: random.Random) -> Target:
    kind = rng.choice(tuple(NAMES))
    values = (rng.choice(("*", "*", *NAMES[kind])),) if NAMES[kind] else ()
    return Target(kind, values, rng.choice(("*", "*", *TENANTS)))


def levels_of(rng: random.Random, limit: int) -> tuple[Level, ...]:
    shares = sorted(rng.sample((30, 60, 90), rng.randint(0, 2)))
    soft = [Level(f"{share}%", limit * share // 100, limit * share // 100, Severity.WARNING) for share in shares]
    return (*soft, Level("100%", limit, limit, Severity.CRITICAL, hard=rng.random() < 0.7))


def budget_of(rng: random.Random, name: str) -> Budget:
    limit = rng.choice(LIMITS_NANOUSD)
    return Budget(
        name=name,
        target=target_of(rng),
        unit=Unit.NANOUSD,
        limit=limit,
        period=rng.choice((Period.MINUTE, Period.HOUR, Period.DAY, Period.MONTH, Period.MONTH)),
        zone=rng.choice(ZONES),
        levels=levels_of(rng, limit),
        owner="team",
        unpriced_ceiling_nanousd=UNPRICED_NANOUSD,
    )


def alarm_of(rng: random.Random) -> Alarm:
    at = rng.choice((1, 2, 4))
    return Alarm(
        name="failing",
        target=target_of(rng),
        measure=Measure.FAILURES,
        modes=("timeout",),
        window_s=rng.choice((60, 3_600)),
        levels=(Level(str(at), at, at, Severity.WARNING),),
        owner="team",
    )


def edited(rng: random.Random, rules: Rules, count: int) -> Rules:
    """Return rules with one budget changed in one thing, gone, or one more; the alarm perhaps changed too."""
    budgets = list(rules.budgets)
    place, other = rng.randrange(len(budgets)), budget_of(rng, f"b-{count}")
    one = budgets[place]
    match rng.choice(("amount", "period", "zone", "target", "levels", "name", "new", "gone", "alarm")):
        case "amount":
            budgets[place] = replace(one, limit=other.limit, levels=other.levels)
        case "period":
            budgets[place] = replace(one, period=other.period)
        case "zone":
            budgets[place] = replace(one, zone=other.zone)
        case "target":
            budgets[place] = replace(one, target=other.target)
        case "levels":
            budgets[place] = replace(one, levels=levels_of(rng, one.limit))
        case "name":
            budgets[place] = replace(one, name=other.name)
        case "new":
            budgets.append(other)
        case "gone" if len(budgets) > 1:
            del budgets[place]
        case _:
            return replace(rules, alarms=(alarm_of(rng),))
    return replace(rules, budgets=tuple(budgets))


class Decider:
    """What decides over the statistics of one way, through restarts and edits of its rules."""

    def __init__(self, way: Way, world: World, rules: Rules) -> None:
        self.way, self.rules = way, rules
        self.world = engine_world.World(
            random.Random(world.rng.random()), kafka=way.name == "kafka", now_ns=world.clock.at_ns, kill_share=0.0
        )
        self.world.statistics = cast("CaseStatistics", _Board(way.statistics.board))
        self.process = Process(self.world, rules)

    def take(self, rules: Rules, *, restarts: bool) -> None:
        names = renames(snapshot(self.rules), snapshot(rules))
        self.rules = rules
        if restarts:
            self.restart(names)
        else:
            self.process.engine.take_rules(rules, (), (), names)

    def restart(self, names: dict[str, str] | None = None) -> None:
        self.world.statistics = cast("CaseStatistics", _Board(self.way.statistics.board))
        self.process = Process(self.world, self.rules, names)

    def decide(self, now_ns: int) -> None:
        self.world.now_ns = max(self.world.now_ns, now_ns)
        while self.process.engine.turn():
            pass
        while any(self.process.deliver(name) == 0.0 for name in CHANNELS):
            pass


@dataclass
class House:
    """The deciders of both ways, and the rules that they share."""

    rules: Rules
    deciders: list[Decider] = field(default_factory=list)
    edits: int = 0
    fired: int = 0
    stopped: int = 0
    moments: int = 0

    def begin(self, world: World) -> None:
        if not self.deciders:
            self.deciders = [Decider(way, world, self.rules) for way in world.ways]

    def edit(self, world: World) -> None:
        self.begin(world)
        self.edits += 1
        self.rules = edited(world.rng, self.rules, self.edits)
        for decider in self.deciders:
            decider.take(self.rules, restarts=world.rng.random() < 0.3)

    def restart(self, world: World) -> None:
        self.begin(world)
        world.rng.choice(self.deciders).restart()

    def decide(self, world: World) -> None:
        """Decide in the middle of things, when not all that was sent is counted."""
        self.begin(world)
        for decider in self.deciders:
            decider.decide(world.clock.at_ns)

    def observe(self, world: World) -> None:
        """Hold what both deciders say against the raw events."""
        self.decide(world)
        self.moments += 1
        wanted, stopped = truth_of(world, self.rules)
        for decider in self.deciders:
            names = {one.name for one in self.rules.budgets}
            states = {key: one for key, one in states_of(decider.world).items() if one.rule in names}
            found = {key: (one.level, one.value) for key, one in states.items() if one.level >= 0}
            assert {key: level for key, (level, _) in found.items()} == {
                key: level for key, (level, _) in wanted.items()
            }, f"{decider.way.name}: levels"
            assert limits_of(decider) == stopped, f"{decider.way.name}: limits"
        self.fired += len(wanted)
        self.stopped += sum(1 for level, *_ in stopped.values() if level is LimitLevel.HARD)
        embedded, kafka = (alarms_of(decider) for decider in self.deciders)
        assert embedded == kafka


def truth_of(world: World, rules: Rules) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[LimitLevel, int]]]:
    """Return which level each budget of each scope is at, and what callers are to be told, by the raw events alone."""
    levels: dict[str, tuple[int, int]] = {}
    limits: dict[str, tuple[LimitLevel, int]] = {}
    tenants = {one.tenant for one in world.truth.calls.values()}
    for budget in rules.budgets:
        start_ns = period_of(budget, world.clock.at_ns // NS).start_s * NS
        kind = budget.target.kind
        for tenant in tenants:
            for values in values_of(kind):
                scope = Scope(tenant, kind, values)
                if not is_meant(budget.target, scope):
                    continue
                _, cost, unpriced = world.truth.sums(scope, start_ns)
                spent = cost + unpriced * UNPRICED_NANOUSD
                reached = [number for number, level in enumerate(budget.levels) if spent >= level.at]
                if reached:
                    key = limit_key(budget.name, scope.text())
                    levels[key] = reached[-1], spent
                    limits[key] = state_of(budget, reached[-1]), budget.limit
    return levels, limits


def values_of(kind: ScopeKind) -> list[tuple[str, ...]]:
    """Return the values of every scope of a kind that a history may have."""
    return [(name,) for name in NAMES[kind]] if NAMES[kind] else [()]


def state_of(budget: Budget, level: int) -> LimitLevel:
    return LimitLevel.HARD if budget.levels[level].hard else LimitLevel.SOFT


def limits_of(decider: Decider) -> dict[str, tuple[LimitLevel, int]]:
    told = {key: decode_limit(value) for key, value in decider.world.shown.items()}
    return {key: (one.state, one.limit) for key, one in told.items()}


def alarms_of(decider: Decider) -> set[tuple[str, int]]:
    names = {one.name for one in decider.rules.alarms}
    states = states_of(decider.world).values()
    return {(one.scope, one.level) for one in states if one.rule in names and one.level >= 0}


def house_of(seed: int) -> House:
    rng = random.Random(-1 - seed)
    budgets = tuple(budget_of(rng, f"first-{number}") for number in range(rng.randint(2, 4)))
    owners = {"team": engine_world.OWNER}
    return House(Rules(budgets=budgets, alarms=(alarm_of(rng),), owners=owners, channels=SPECS))


@pytest.mark.parametrize("first", range(0, HISTORIES, TOGETHER))
def test_rows_statistics_budgets_limits_and_alerts_are_equal_at_every_quiet_moment(first: int) -> None:
    fired = stopped = edits = 0
    for seed in range(first, first + TOGETHER):
        house = house_of(seed)
        try:
            play(seed, (house.observe,), ((house.edit, 3), (house.restart, 1), (house.decide, 3)))
            for decider in house.deciders:
                assert len(decider.world.opened) == len(set(decider.world.opened)), "an incident was opened twice"
        except AssertionError as wrong:
            wrong.add_note(f"seed {seed}")
            raise
        fired, stopped, edits = fired + house.fired, stopped + house.stopped, edits + house.edits
    assert min(fired, stopped, edits) > TOGETHER // 4, "too little happened to prove anything"
