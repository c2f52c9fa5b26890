"""However often the process dies, PagerDuty sees one incident a crossing, and Slack every message at least once.

The couriers' own turns run here, over a journal and targets in memory: the process is killed before and after every
write and every request, at each step once, and at many steps in a row by chance.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alert_house import NOW_NS, MemoryJournal, resolved, soft_limit
from llmtrail.metrics import Metrics
from llmtrail_alerts.channels.alertmanager import AlertmanagerSender
from llmtrail_alerts.channels.pagerduty import PagerDutySender
from llmtrail_alerts.channels.port import Answer, Channel, ChannelKind, Manners, Mark, Outcome, Sending
from llmtrail_alerts.channels.slack import SlackSender
from llmtrail_alerts.courier import Courier, Surroundings
from llmtrail_alerts.message import Action, Message
from llmtrail_alerts.outbox import Entry, Record, decode_entry, enqueue, record, recover

_NS = 1_000_000_000
_METRICS = Metrics()  # slow to make, and nothing is asked of it here
MANNERS = {
    ChannelKind.PAGERDUTY: PagerDutySender.manners,
    ChannelKind.SLACK_WEBHOOK: SlackSender.manners,
    ChannelKind.ALERTMANAGER: AlertmanagerSender.manners,
}
# What can happen to a request: (whether the target takes it, what we hear).
FATES = {
    "answered": (True, Answer(Outcome.DELIVERED, "")),
    "answer lost": (True, Answer(Outcome.UNKNOWN, "")),
    "lost": (False, Answer(Outcome.UNKNOWN, "")),
    "no connection": (False, Answer(Outcome.NOT_DELIVERED, "")),
    "told to wait": (False, Answer(Outcome.NOT_DELIVERED, "", 30.0)),
}


class Killed(BaseException):
    """The process died here. No `except Exception` of the code under test can stop that."""


@dataclass
class World:
    """Time, the journal, one target and what happens to them. It outlives every process."""

    kind: ChannelKind
    fates: list[str] = field(default_factory=list)
    kills: set[int] = field(default_factory=set)  # steps at which the process dies
    now_ns: int = NOW_NS
    step: int = 0
    journal: MemoryJournal = field(default_factory=MemoryJournal)
    taken: list[Sending] = field(default_factory=list)
    in_doubt: set[str] = field(default_factory=set)  # messages of which an attempt's outcome could not be known
    under_way: tuple[str, ...] = ()

    def pass_step(self) -> None:
        """Die here, if it is so ordained."""
        self.step += 1
        if self.step in self.kills:
            self.in_doubt.update(self.under_way)
            raise Killed

    def put(self, records: Sequence[Record]) -> None:
        self.pass_step()
        self.journal.put(records)
        # From here on a successor finds these in the journal as being sent.
        attempts = [decode_entry(value) for _, value in records if value is not None]
        begun = tuple(one.message.id for one in attempts if one.state == "sending")
        self.under_way = begun
        self.pass_step()

    def send(self, batch: Sequence[Sending]) -> Answer:
        self.pass_step()
        taken, answer = FATES[self.fates.pop(0) if self.fates else "answered"]
        if taken:
            self.taken += batch
        if answer.outcome is Outcome.UNKNOWN:
            self.in_doubt.update(sending.message.id for sending in batch)
        self.pass_step()
        return answer


class _Sender:
    def __init__(self, world: World) -> None:
        self.manners: Manners = MANNERS[world.kind]
        self._world = world

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        return self._world.send(batch)

    def close(self) -> None:
        """Nothing is open."""


class _Clock:
    def __init__(self, world: World) -> None:
        self._world = world

    def now_ns(self) -> int:
        return self._world.now_ns

    def monotonic_ns(self) -> int:
        return self._world.now_ns


def _courier(world: World, channel: Channel) -> Courier:
    """Start a process, and have it take up what the journal holds."""
    channels: Mapping[str, Channel] = {channel.name: channel}
    nothing: Callable[[Entry], None] = lambda _: None  # noqa: E731 - a name for its type
    courier = Courier(
        channel,
        Surroundings(
            world, _Clock(world), lambda: 0.5, Metrics(), lambda _: _Sender(world), lambda: channels, nothing, nothing
        ),
    )
    held = [recover(decode_entry(value), world.now_ns) for value in world.journal.held.values()]
    for entry in sorted(held, key=lambda one: one.message.at_ns):
        courier.offer(entry)
    return courier


def live(world: World, messages: Sequence[Message]) -> None:
    """Decide the messages, one after the other, and deliver them, with a new process after each death."""
    channel = Channel(name="c", kind=world.kind)
    left = list(messages)
    courier = _courier(world, channel)
    for _ in range(2_000):
        try:
            if left:
                entry = enqueue(left[0], channel, world.now_ns)
                # The engine writes the decision and its entries at once; a death before it means deciding it again.
                world.put([record(entry)])
                left.pop(0)
                courier.offer(entry)
            rest_s = courier.turn()
        except Killed:
            # A decision that was written is not made again.
            left = [one for one in left if enqueue(one, channel, 0).key not in world.journal.held]
            world.under_way = ()
            courier = _courier(world, channel)
            rest_s = 0.0
        world.now_ns += int(rest_s * _NS)
        if not left and not courier.waiting():
            courier.turn()
            return
    raise AssertionError("it never came to rest")


def _story() -> list[Message]:
    """Two incidents: one that gets worse and ends, one that goes on."""
    first = soft_limit(id="a-1", incident="a")
    worse = replace(first, id="a-2", at_ns=NOW_NS + 1)
    end = resolved(worse, id="a-3", at_ns=NOW_NS + 2)
    return [first, soft_limit(id="b-1", incident="b"), worse, end, soft_limit(id="c-1", incident="c", at_ns=NOW_NS + 3)]


def check_promises(world: World) -> None:
    """Hold what arrived to what is promised."""
    ids = [sending.message.id for sending in world.taken]
    assert set(ids) == {message.id for message in _story()}
    if world.kind is ChannelKind.SLACK_WEBHOOK:
        check_marks(world)
    else:
        check_incidents(world)
    kept = [decode_entry(value) for value in world.journal.held.values()]
    # Alertmanager is told again and again of what still fires, and of nothing else.
    expected = ["b-1", "c-1"] if world.kind is ChannelKind.ALERTMANAGER else []
    assert sorted(entry.message.id for entry in kept) == expected


def check_marks(world: World) -> None:
    first = [sending.message.id for sending in world.taken if sending.mark is Mark.FIRST]
    repeats = {sending.message.id for sending in world.taken if sending.mark is Mark.POSSIBLE_REPEAT}
    assert len(first) == len(set(first)), "a repeat without a mark"
    assert repeats <= world.in_doubt, "a mark where the outcome was known"


def check_incidents(world: World) -> None:
    opened: dict[str, int] = {}
    is_open: set[str] = set()
    for sending in world.taken:
        incident = sending.message.incident
        assert sending.mark is Mark.FIRST
        if sending.message.action is Action.RESOLVE:
            is_open.discard(incident)
        elif incident not in is_open:
            is_open.add(incident)
            opened[incident] = opened.get(incident, 0) + 1
    assert opened == {"a": 1, "b": 1, "c": 1}
    assert is_open == {"b", "c"}


KINDS = list(MANNERS)


@pytest.mark.parametrize("fate", FATES)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_death_at_any_one_step_loses_nothing_and_opens_nothing_twice(kind: ChannelKind, fate: str) -> None:
    whole = World(kind, [fate] * 2)
    live(whole, _story())
    check_promises(whole)
    assert whole.step > 30
    for step in range(1, whole.step + 1):
        world = World(kind, [fate] * 2, {step})
        live(world, _story())
        check_promises(world)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", range(20))
def test_twenty_seeded_rounds_of_deaths_and_failures_keep_the_promises(kind: ChannelKind, seed: int) -> None:
    chance = random.Random(seed)
    fates = chance.choices(list(FATES), k=chance.randrange(12))
    world = World(kind, fates, set(chance.sample(range(1, 120), k=chance.randrange(1, 25))))
    live(world, _story())
    check_promises(world)


@given(
    kind=st.sampled_from(KINDS),
    fates=st.lists(st.sampled_from(list(FATES)), max_size=15),
    kills=st.sets(st.integers(1, 150), max_size=40),
)
def test_whatever_happens_the_promises_hold(kind: ChannelKind, fates: list[str], kills: set[int]) -> None:
    world = World(kind, fates, kills)
    live(world, _story())
    check_promises(world)
