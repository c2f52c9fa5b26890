"""A decider whose rules are edited, which nothing kills: for tests of what an edit does."""

import random
from collections.abc import Sequence

from engine_world import BEGAN_NS, CHANNELS, NS, Process, World, rules_of
from llmtrail.core.limit import LimitLevel, decode_limit
from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.model import Alarm, Budget, Level, Measure, Period, Severity, Target, Unit
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.rule_changes import renames, snapshot
from llmtrail_alerts.rules import Rules

HOUR_S = 3_600
# Midnight in Tokyo, 15:00 UTC, on the day of the calls here.
TOKYO_NS = (BEGAN_NS // NS // 86_400 * 86_400 + 15 * HOUR_S) * NS


def soft(at: int) -> Level:
    return Level(f"{at}", at, at, Severity.WARNING)


def hard(at: int) -> Level:
    return Level(f"{at}", at, at, Severity.CRITICAL, hard=True)


DAILY = Budget(
    name="daily",
    target=Target(ScopeKind.FEATURE, ("*",)),
    unit=Unit.CALLS,
    limit=100,
    period=Period.DAY,
    zone="Asia/Tokyo",
    levels=(soft(80), hard(100)),
    owner="team",
)
FAILING = Alarm(
    name="failing",
    target=Target(ScopeKind.FEATURE, ("search",)),
    measure=Measure.FAILURES,
    modes=("timeout",),
    window_s=3_600,
    levels=(Level("critical", 5, 5, Severity.CRITICAL),),
    repeat_s=600,
    owner="team",
)


class Calm(random.Random):
    """Chance by which nothing dies, and every message arrives."""

    def random(self) -> float:
        """Return what is neither rare nor certain."""
        return 0.5


class House:
    """One process after the other, which nothing kills, and what it did."""

    def __init__(self, *budgets: Budget, alarms: Sequence[Alarm] = (), at_ns: int = TOKYO_NS + NS) -> None:
        self.world = World(Calm(), kafka=True, now_ns=at_ns, kill_share=0.0)
        self.rules = rules_of(budgets, alarms)
        self.process = Process(self.world, self.rules)

    def call(self, count: int, feature: str = "search", failure: str = "", tenant: str = "") -> None:
        event = Event(at_ns=self.world.now_ns, feature=feature, failure=failure, tenant=tenant)
        self.world.statistics.add(event, self.world.now_ns, count)
        self.decide()

    def decide(self, later_s: int = 1) -> None:
        self.world.now_ns += later_s * NS
        self.process.engine.turn()
        while any(self.process.deliver(name) == 0.0 for name in CHANNELS):
            pass

    def edit(self, rules: Rules, *, restarts: bool = False) -> None:
        names = renames(snapshot(self.rules), snapshot(rules))
        self.rules = rules
        if restarts:
            self.process = Process(self.world, rules, names)
        else:
            self.process.engine.take_rules(rules, (), (), names)
        self.decide()

    def limits(self) -> list[tuple[LimitLevel, int, str]]:
        return [(one.state, one.limit, one.period) for one in map(decode_limit, self.world.shown.values())]

    def told(self) -> list[tuple[str, str]]:
        return [(row.reason, row.level) for row in self.world.stored.values() if row.told]
