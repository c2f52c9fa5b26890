"""Whatever is edited in the rules, what is decided is what a fresh start with the new rules would decide.

The real watch, decisions, grouping, engine and couriers. After each edit, taken up by a running process or by the next
one, levels, limits and open incidents are those of a process that never knew the former rules; what was opened is
closed; and nobody hears twice of the same amount while it holds.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import msgspec
from msgspec.structs import replace as struct_replace

from engine_world import CHANNELS, NS, Life, Process, World, check_told, states_of
from llmtrail.core.limit import LimitState, decode_limit
from llmtrail.core.scope import ScopeKind
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.model import Alarm, Budget, Level, Measure, Period, Reason, Severity, Target, Unit
from llmtrail_alerts.owners import ChannelSpec, Owner
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.rule_changes import renames, snapshot
from llmtrail_alerts.rules import Rules

SEEDS = 2_000
TENANTS = ("", "acme")
USERS = ("u-1", "u-2")
MODELS = ("m-1", "m-2")
ZONES = ("UTC", "Asia/Tokyo", "America/Los_Angeles")
EDITS = (
    *("amount", "period", "zone", "target", "tenant", "levels", "owner", "name", "gone", "new", "window", "inhibits"),
)
TOLD = {Reason.FIRST, Reason.LEVEL_CHANGED}
SPECS = {name: ChannelSpec(name=name, kind=channel.kind) for name, channel in CHANNELS.items()}
OWNERS = {
    "team": Owner(name="team", channels=("pager", "slack")),
    "desk": Owner(name="desk", channels=("slack",)),
    "night": Owner(name="night", channels=("pager",)),
}


def levels_of(rng: random.Random, limit: int) -> tuple[Level, ...]:
    """Return some soft levels and perhaps a hard one, each named by its amount."""
    shares = sorted(rng.sample((40, 60, 80), rng.randint(0, 2)))
    soft = tuple(
        Level(str(limit * share // 100), limit * share // 100, limit * share // 100, Severity.WARNING)
        for share in shares
    )
    hard = Level(str(limit), limit, limit, Severity.CRITICAL, hard=rng.random() < 0.7)
    return (*soft, hard) if not soft or rng.random() < 0.8 else soft


def budget_of(rng: random.Random, name: str) -> Budget:
    limit = rng.choice((20, 50, 100, 120))
    return Budget(
        name=name,
        target=target_of(rng),
        unit=Unit.CALLS,
        limit=limit,
        period=rng.choice((Period.MINUTE, Period.HOUR, Period.DAY, Period.MONTH)),
        zone=rng.choice(ZONES),
        levels=levels_of(rng, limit),
        owner="team",
    )


def target_of(rng: random.Random) -> Target:
    kind, names = rng.choice(((ScopeKind.USER, USERS), (ScopeKind.MODEL, MODELS)))
    return Target(kind, (rng.choice(("*", *names)),), rng.choice(("*", "*", *TENANTS)))


def alarm_of(rng: random.Random, name: str) -> Alarm:
    at = rng.choice((5, 15, 40))
    return Alarm(
        name=name,
        target=target_of(rng),
        measure=Measure.FAILURES,
        modes=("timeout",),
        window_s=rng.choice((60, 3_600)),
        levels=(Level(str(at), at, at, Severity.WARNING), Level(str(2 * at), 2 * at, 2 * at, Severity.CRITICAL)),
        owner="team",
    )


def edited_budget(rng: random.Random, one: Budget, what: str, name: str) -> Budget:
    """Return a budget with one thing changed."""
    other = budget_of(rng, name)
    tenant = rng.choice(("*", *TENANTS))
    changed = {
        "amount": replace(one, limit=other.limit, levels=levels_of(rng, other.limit)),
        "period": replace(one, period=other.period),
        "zone": replace(one, zone=other.zone),
        "target": replace(one, target=other.target),
        "tenant": replace(one, target=replace(one.target, tenant=tenant)),
        "levels": replace(one, levels=levels_of(rng, one.limit)),
        "owner": replace(one, owner=rng.choice(tuple(OWNERS))),
        "name": replace(one, name=name),
    }
    return changed.get(what, one)


def edited_alarm(rng: random.Random, one: Alarm, what: str, name: str) -> Alarm:
    """Return an alarm with one thing changed."""
    other = alarm_of(rng, name)
    tenant = rng.choice(("*", *TENANTS))
    changed = {
        "target": replace(one, target=other.target),
        "tenant": replace(one, target=replace(one.target, tenant=tenant)),
        "levels": replace(one, levels=other.levels),
        "owner": replace(one, owner=rng.choice(tuple(OWNERS))),
        "name": replace(one, name=name),
        "window": replace(one, window_s=other.window_s),
        "inhibits": replace(one, inhibits=() if one.inhibits else ("beside",)),
    }
    return changed.get(what, one)


def edited(rng: random.Random, rules: Rules, count: int) -> tuple[Rules, str]:
    """Return rules with one thing changed, and what that was."""
    what = rng.choice(EDITS)
    budgets, alarms = list(rules.budgets), list(rules.alarms)
    place = rng.randrange(len(budgets))
    if what == "new":
        budgets.append(budget_of(rng, f"b-{count}"))
    elif what == "gone" and len(budgets) > 1:
        del budgets[place]
    else:
        budgets[place] = edited_budget(rng, budgets[place], what, f"b-{count}")
        alarms[0] = edited_alarm(rng, alarms[0], what, f"a-{count}")
    return replace(rules, budgets=tuple(budgets), alarms=tuple(alarms)), what


class Edits(Life):
    """A decider whose rules are edited, and which nothing kills."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        super().__init__(seed, [self.first(rng)])
        self.world.kill_share = 0.0
        self.process = Process(self.world, self.rules)
        self.edits: list[str] = []

    @staticmethod
    def first(rng: random.Random) -> Rules:
        budgets = tuple(budget_of(rng, f"first-{number}") for number in range(rng.randint(1, 2)))
        alarms = alarm_of(rng, "failing"), replace(alarm_of(rng, "beside"), target=Target(ScopeKind.TENANT, ()))
        return Rules(budgets=budgets, alarms=alarms, owners=OWNERS, channels=SPECS)

    def call(self) -> None:
        at_ns = self.world.now_ns
        event = Event(
            at_ns=at_ns,
            tenant=self.rng.choice(TENANTS),
            user=self.rng.choice(USERS),
            model=self.rng.choice(MODELS),
            failure=self.rng.choice(("", "", "timeout")),
        )
        self.world.statistics.add(event, at_ns, self.rng.choice((1, 10, 30)))

    def edit(self, number: int) -> None:
        former = self.rules
        self.rules, what = edited(self.rng, former, number)
        self.edits.append(what)
        names = renames(snapshot(former), snapshot(self.rules))
        if self.process is None or self.rng.random() < 0.3:
            self.process = Process(self.world, self.rules, names)
        else:
            self.process.engine.take_rules(self.rules, (), (), names)

    def decide(self) -> None:
        assert self.process is not None
        while self.process.engine.turn():
            pass
        while any(self.process.deliver(name) == 0.0 for name in CHANNELS):
            pass

    def arrive(self) -> None:
        """Let all that was gathered be told, and all that was written to be sent arrive."""
        assert self.process is not None
        for number in range(40):
            self.world.now_ns += 60 * NS
            if number < 10:
                self.process.engine.turn()
            while any(self.process.deliver(name) == 0.0 for name in CHANNELS):
                pass

    def live(self) -> None:
        for number in range(self.rng.randint(2, 6)):
            self.world.now_ns += self.rng.choice((NS, 20 * NS, 70 * NS, 1_800 * NS, 20_000 * NS))
            for _ in range(self.rng.randint(0, 5)):
                self.call()
            self.decide()
            if self.rng.random() < 0.7:
                before = len(self.world.stored)
                self.edit(number)
                self.decide()
                check_fresh(self)
                check_begins_once(list(self.world.stored.values())[before:])


def fresh(life: Edits) -> World:
    """Return the world of a process that starts now, with the same calls, and never knew other rules."""
    world = World(random.Random(0), kafka=True, now_ns=life.world.now_ns, kill_share=0.0)
    world.statistics = CaseStatistics()
    world.statistics._slots = life.world.statistics._slots
    while Process(world, life.rules).engine.turn():
        pass
    return world


def levels(world: World) -> dict[str, tuple[int, str]]:
    """Return which level each group that fires is at, and in which period; of those that calls say anything of."""
    firing = {key: state for key, state in states_of(world).items() if state.level >= 0 and not state.unheard_ns}
    return {key: (state.level, state.period) for key, state in firing.items()}


def limits(world: World) -> dict[str, LimitState]:
    """Return what callers are told, apart from since when and what was spent by then."""
    return {key: struct_replace(decode_limit(value), since_ns=0, spent=0) for key, value in world.shown.items()}


def check_fresh(life: Edits) -> None:
    wanted = fresh(life)
    assert levels(life.world) == levels(wanted), f"levels after {life.edits}"
    assert limits(life.world) == limits(wanted), f"limits after {life.edits}"


def check_once(world: World) -> None:
    """Of one firing nobody hears twice of an amount, or of less than somebody has heard of."""
    heard: dict[str, list[tuple[float, bool, int]]] = {}
    for row in world.stored.values():
        if not row.told or row.reason not in TOLD:
            continue
        mark = float(row.level), row.hard, list(Severity).index(Severity(row.severity))
        for former in heard.setdefault(row.incident, []):
            assert any(old < new for old, new in zip(former, mark, strict=True)), f"{row} after {former}"
        heard[row.incident].append(mark)


def check_open(world: World) -> None:
    """An incident is open where it was opened as long as something of it fires, and no longer."""
    there = [msgspec.json.decode(key, type=tuple[str, str])[1] for key in world.held if key.startswith('["grouping"')]
    batches = {key.removeprefix("batch/") for key in there if key.startswith("batch/")}
    sent = {entry.message.incident for entry in world.written.values() if entry.channel == "pager"}
    assert world.pager == batches & sent
    firing = [state for state in states_of(world).values() if state.level >= 0 and state.told]
    assert batches == {world.joined.get(state.incident, state.incident) for state in firing}


def check_begins_once(rows: Sequence[AlertRow]) -> None:
    """What still holds after an edit is not ended by it to begin again in the same moment."""
    ended: set[tuple[str, str, str, tuple[str, ...]]] = set()
    begun: set[str] = set()
    for row in rows:
        group = row.rule, row.tenant, row.scope_kind, tuple(row.scope)
        if row.reason == Reason.FIRST:
            assert group not in ended, row
            begun.add(row.incident)
        elif row.reason == Reason.RESOLVED and row.incident not in begun:
            ended.add(group)


def test_after_each_of_thousands_of_edits_all_is_decided_as_after_a_fresh_start() -> None:
    edits, opened, fired = dict[str, int](), 0, 0
    for seed in range(SEEDS):
        life = Edits(seed)
        try:
            life.live()
            check_once(life.world)
            life.rest()
            life.arrive()
            check_told(life.world, f"seed {seed}")
            check_open(life.world)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, after {life.edits}: {error}") from error
        for what in life.edits:
            edits[what] = edits.get(what, 0) + 1
        opened += len(life.world.opened)
        fired += len(life.world.stored)
    assert len(edits) == 12
    assert min(opened, fired, *edits.values()) > SEEDS // 20, "too little happened to prove anything"
