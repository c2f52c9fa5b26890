"""A decider that dies at any write, in memory: world, process and life, for tests of what survives.

The real watch, decisions, grouping, engine and couriers over a journal in memory, which is killed before and after any
write. Time passes only as the seed says. Knows no rule of its own: each test brings its rules.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec

from llmtrail.core.audit import AuditRow
from llmtrail.core.limit import limit_key
from llmtrail.log.journal import Record
from llmtrail.metrics import Metrics
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts.case_statistics import CaseStatistics
from llmtrail_alerts.channels.pagerduty import PagerDutySender
from llmtrail_alerts.channels.port import Answer, Channel, ChannelKind, Outcome, Sending
from llmtrail_alerts.channels.slack import SlackSender
from llmtrail_alerts.courier import Courier, Surroundings
from llmtrail_alerts.delivery import Delivery
from llmtrail_alerts.engine import Engine, EngineParts
from llmtrail_alerts.gpu_watch import GpuWatch
from llmtrail_alerts.homes import home_of
from llmtrail_alerts.joint_watch import JointWatch
from llmtrail_alerts.lane import order
from llmtrail_alerts.message import Action
from llmtrail_alerts.model import Alarm, Budget, GroupState, Severity
from llmtrail_alerts.outbox import Entry, decode_entry, is_entry_key, recover
from llmtrail_alerts.owners import ChannelSpec, Owner
from llmtrail_alerts.rule_case import Event
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.told_rows import decode_row, is_row_key
from llmtrail_alerts.watch import StatisticsWatch

NS = 1_000_000_000
BEGAN_NS = 1_795_000_000 // 3_600 * 3_600 * NS
METRICS = Metrics()  # slow to make, and nothing is asked of it here
HOMES = 2  # partitions of a journal, where a process has but one
MODELS = ("m-1", "m-2")
CHANNELS = {
    "pager": Channel(name="pager", kind=ChannelKind.PAGERDUTY),
    "slack": Channel(name="slack", kind=ChannelKind.SLACK_WEBHOOK),
}
# Of a severity, only some are told: what is told of an end must reach all who heard of the beginning.
OWNER = Owner(name="team", channels=("slack",), by_severity={Severity.CRITICAL: ("pager", "slack")})


def rules_of(budgets: Sequence[Budget], alarms: Sequence[Alarm] = ()) -> Rules:
    """Return rules whose news go to both channels."""
    specs = {name: ChannelSpec(name=name, kind=channel.kind) for name, channel in CHANNELS.items()}
    return Rules(budgets=tuple(budgets), alarms=tuple(alarms), owners={"team": OWNER}, channels=specs)


class Killed(BaseException):
    """The process died here."""


@dataclass
class World:
    """What outlives every process: time, calls, journal, limits, targets and the table."""

    rng: random.Random
    kafka: bool  # whether what is shown is kept with the journal, or in the process
    statistics: CaseStatistics = field(default_factory=CaseStatistics)
    now_ns: int = BEGAN_NS
    held: dict[str, bytes] = field(default_factory=dict)
    shown: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, AlertRow] = field(default_factory=dict)
    written: dict[str, Entry] = field(default_factory=dict)
    pager: set[str] = field(default_factory=set)  # incidents that are open
    opened: list[str] = field(default_factory=list)
    slack: dict[str, int] = field(default_factory=dict)  # messages, and how often each arrived
    joined: dict[str, str] = field(default_factory=dict)  # firings, and the incident that each was gathered with
    kill_share: float = 0.02
    kills: int = 0

    def step(self) -> None:
        if self.rng.random() < self.kill_share:
            self.kills += 1
            raise Killed

    def put(self, records: Sequence[Record], shown: Sequence[Record] = ()) -> None:
        self.step()
        keep(self.held, records)
        for key, value in records:
            if is_entry_key(key) and value is not None:
                self.written.setdefault(key, decode_entry(value))
            elif is_row_key(key) and value is not None:
                row = decode_row(value)
                assert self.stored.setdefault(row.alert_id, row) == row, "a decision was written twice, differently"
            elif key.startswith('["grouping","member/') and value is not None:
                member = msgspec.json.decode(key, type=tuple[str, str])[1].removeprefix("member/")
                self.joined[member] = msgspec.json.decode(value, type=str)
        if self.kafka:
            keep(self.shown, shown)
        self.step()
        keep(self.shown, shown)

    def load(self) -> list[tuple[str, bytes]]:
        return list(self.held.items())

    def now(self) -> int:
        return self.now_ns

    def take(self, kind: ChannelKind, batch: Sequence[Sending]) -> Answer:
        self.step()
        fate = self.rng.random()
        if fate < 0.1:
            return Answer(Outcome.NOT_DELIVERED, "")
        for one in batch:
            if kind is ChannelKind.SLACK_WEBHOOK:
                self.slack[one.message.id] = self.slack.get(one.message.id, 0) + 1
            elif one.message.action is Action.RESOLVE:
                self.pager.discard(one.message.incident)
            elif one.message.incident not in self.pager:
                self.pager.add(one.message.incident)
                self.opened.append(one.message.incident)
        self.step()
        return Answer(Outcome.UNKNOWN, "") if fate < 0.15 else Answer(Outcome.DELIVERED, "")


def keep(there: dict[str, bytes], records: Sequence[Record]) -> None:
    for key, value in records:
        if value is None:
            there.pop(key, None)
        else:
            there[key] = value


class _Sender:
    def __init__(self, world: World, kind: ChannelKind) -> None:
        self.manners = (PagerDutySender if kind is ChannelKind.PAGERDUTY else SlackSender).manners
        self._world, self._kind = world, kind

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        del now_ns
        return self._world.take(self._kind, batch)

    def close(self) -> None:
        """Nothing is open."""


class _Clock:
    def __init__(self, world: World) -> None:
        self.now_ns = self.monotonic_ns = world.now


class _Couriers:
    """Delivery without threads: each courier has its turn when the test says so."""

    def __init__(self, world: World) -> None:
        self.couriers = {
            name: Courier(
                channel,
                Surroundings(
                    world,
                    _Clock(world),
                    lambda: 0.5,
                    METRICS,
                    lambda channel: _Sender(world, channel.kind),
                    lambda: CHANNELS,
                    lambda entry: self.hand_on([entry]),
                    lambda _: None,
                ),
            )
            for name, channel in CHANNELS.items()
        }
        self._world = world

    def configure(self, channels: Mapping[str, Channel]) -> None:
        assert channels.keys() == self.couriers.keys()

    def recovered(self, records: Sequence[tuple[str, bytes]]) -> list[Entry]:
        found = [recover(decode_entry(value), self._world.now_ns) for key, value in records if is_entry_key(key)]
        return sorted(found, key=order)

    def hand_on(self, entries: Sequence[Entry], *_: object) -> None:
        for entry in entries:
            self.couriers[entry.channel].offer(entry)


class _Table:
    def offer_audit(self, rows: Sequence[AuditRow]) -> None:
        """There are none."""


class Process:
    """One life of a decider."""

    def __init__(self, world: World, rules: Rules, names: Mapping[str, str] | None = None, home: str = "") -> None:
        if not world.kafka:
            world.shown.clear()
        self.couriers = _Couriers(world)
        parts = EngineParts(
            journal=world,
            watch=JointWatch(StatisticsWatch(world.statistics), GpuWatch(world.statistics.gpus)),
            delivery=cast("Delivery", self.couriers),
            table=_Table(),
            prover=self.couriers,
            clock=_Clock(world),
            metrics=METRICS,
            channels=lambda _: CHANNELS,
            is_mine=lambda rules, name: not home or str(home_of(rules, name, HOMES)) == home,
            home=home,
        )
        self.engine = Engine(parts, rules)
        self.engine.load(world.load(), names)

    def deliver(self, name: str) -> float:
        return self.couriers.couriers[name].turn()


class Life:
    """One decider after the other, under the first of some rules, and then under any of them."""

    def __init__(self, seed: int, rules: Sequence[Rules]) -> None:
        self.rng = random.Random(seed)
        self.world = World(self.rng, kafka=self.rng.random() < 0.5)
        self.all_rules, self.rules = rules, rules[0]
        self.process: Process | None = None
        self.users = [f"u-{number}" for number in range(self.rng.randint(1, 3))]

    def do(self, what: str) -> None:
        """Do one thing; a process that dies of it is followed by another."""
        try:
            if self.process is None:
                self.process = Process(self.world, self.rules)
            match what:
                case "decide":
                    self.process.engine.turn()
                case "rules":
                    self.rules = self.rng.choice(self.all_rules)
                    self.process.engine.take_rules(self.rules, ())
                case _:
                    self.process.deliver(what)
        except Killed:
            self.process = None

    def walk(self) -> None:
        for _ in range(self.rng.randint(5, 30)):
            self.world.now_ns += self.rng.choice((0, NS // 3, NS, 5 * NS, 31 * NS, 400 * NS))
            event = Event(
                at_ns=self.world.now_ns,
                user=self.rng.choice(self.users),
                model=self.rng.choice(MODELS),
                failure=self.rng.choice(("", "", "timeout")),
            )
            self.world.statistics.add(event, self.world.now_ns, self.rng.choice((1, 10, 45)))
            for _ in range(self.rng.randint(0, 4)):
                self.do(self.rng.choice(("decide", "decide", "pager", "slack", "rules")[: self.rng.choice((4, 4, 5))]))

    def rest(self) -> None:
        """Let all that is due come to pass, with no more deaths and no more calls."""
        self.world.kill_share = 0.0
        for _ in range(8):
            self.world.now_ns += 12 * NS
            for _ in range(3):
                self.do("decide")
            while any(self.process.deliver(name) == 0.0 for name in CHANNELS) if self.process else False:
                pass
        for _ in range(16):
            self.world.now_ns += 620 * NS
            self.do("decide")
            while any(self.process.deliver(name) == 0.0 for name in CHANNELS) if self.process else False:
                pass


def states_of(world: World) -> dict[str, GroupState]:
    """Return what is remembered of each group, by the key of its limit."""
    return {
        limit_key(state.rule, state.scope): state
        for key, value in world.held.items()
        if key.startswith('["group",')
        for state in (msgspec.json.decode(value, type=GroupState),)
    }


def check_told(world: World, said: str) -> None:
    """Every message that was written to be sent has arrived, and no incident was opened twice."""
    assert len(world.opened) == len(set(world.opened)), f"{said}: an incident was opened twice"
    assert not any(is_entry_key(key) for key in world.held), said
    for entry in world.written.values():
        if entry.channel == "slack":
            assert world.slack.get(entry.message.id, 0) >= 1, f"{said}: {entry.message}"


def check_incidents(world: World, said: str) -> None:
    """An incident is open where something that belongs to it still fires, and nowhere else."""
    there = [msgspec.json.decode(key, type=tuple[str, str])[1] for key in world.held if key.startswith('["grouping"')]
    batches = {key.removeprefix("batch/") for key in there if key.startswith("batch/")}
    assert world.pager <= batches, f"{said}: {world.pager - batches} stay open"
    if not any(state.level >= 0 for state in states_of(world).values()):
        assert not there, f"{said}: {there}"
