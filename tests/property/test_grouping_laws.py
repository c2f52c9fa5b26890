"""Laws of grouping: a place that keeps incidents, as PagerDuty does, ends up as the firings are; and few messages."""

import random
from dataclasses import replace

import pytest

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.channels.port import Channel, ChannelKind
from llmtrail_alerts.decide import decide_all
from llmtrail_alerts.grouping import FIRST_SUMMARY_S, Audience, Grouped, Told, due_ns, flush, group
from llmtrail_alerts.message import Action
from llmtrail_alerts.model import (
    Budget,
    GroupKey,
    GroupState,
    Level,
    Period,
    Reason,
    Severity,
    Sighting,
    Target,
    Unit,
    Verdict,
)
from llmtrail_alerts.owners import ChannelSpec, Owner
from llmtrail_alerts.quiet import Quiet
from llmtrail_alerts.rules import Rules

SEEDS = 1_500
NS = 1_000_000_000
BEGAN_NS = 1_795_000_000 * NS
BUDGET = Budget(
    name="spend",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.CALLS,
    limit=100,
    period=Period.HOUR,
    levels=(Level("80 %", 80, 80, Severity.WARNING), Level("hard limit", 100, 100, Severity.CRITICAL, hard=True)),
)
RULES = Rules(budgets=(BUDGET,))


class House:
    """Decides and groups, and keeps incidents as PagerDuty would."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules, (self.budget,) = rules, rules.budgets
        self.states: dict[str, GroupState] = {}
        self.records: dict[str, bytes] = {}
        self.told: list[Told] = []
        self.open: set[str] = set()
        self.firing: set[str] = set()

    def see(self, user: str, value: int, now_ns: int) -> list[Verdict]:
        scope = Scope("", ScopeKind.USER, (user,)).text()
        sighting = Sighting(key=GroupKey("spend", scope), at_ns=now_ns, value=value, period="p1")
        self.states[user], verdicts = decide_all(self.budget, self.states.get(user), sighting, Quiet(), now_ns)
        for verdict in verdicts:
            if verdict.reason is Reason.FIRST:
                self.firing.add(verdict.incident)
            elif verdict.reason is Reason.RESOLVED:
                self.firing.discard(verdict.incident)
        return verdicts

    def take(self, verdicts: list[Verdict], now_ns: int) -> None:
        again = group(dict(self.records), verdicts, self.rules, now_ns)
        step = group(dict(self.records), verdicts, self.rules, now_ns)
        assert again == step
        self._keep(step)

    def flush(self, now_ns: int) -> None:
        self._keep(flush(self.records, self.rules, now_ns))

    def _keep(self, step: Grouped) -> None:
        for key, value in step.records.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        for told in step.messages:
            self.told.append(told)
            if told.audience is Audience.PEOPLE:
                continue
            if told.message.action is Action.RESOLVE:
                assert told.message.incident in self.open, "an incident is resolved that was never opened"
                self.open.discard(told.message.incident)
            else:
                self.open.add(told.message.incident)

    def settle(self, now_ns: int) -> int:
        """Let all that is due come to pass; return when the last of it did."""
        for _ in range(20):
            due = due_ns(self.records)
            if due is None:
                return now_ns
            now_ns = max(now_ns, due)
            self.flush(now_ns)
        raise AssertionError("buckets never close")

    def incident_of(self, firing: str) -> str:
        return self.records.get(f"member/{firing}", b'""').decode().strip('"') or firing


def walk(seed: int) -> tuple[House, int]:
    rng, house, now_ns = random.Random(seed), House(), BEGAN_NS
    values = {f"u-{number}": 0 for number in range(rng.randint(1, 6))}
    for _ in range(rng.randint(3, 40)):
        now_ns += rng.choice((0, 1, 5, 25, 200)) * NS
        verdicts = []
        for user in rng.sample(sorted(values), rng.randint(1, len(values))):
            values[user] = rng.choice((0, 50, 85, 110))
            verdicts += house.see(user, values[user], now_ns)
        house.take(verdicts, now_ns)
        due = due_ns(house.records)
        if due is not None and due <= now_ns:
            house.flush(now_ns)
    return house, now_ns


def test_incidents_end_up_open_exactly_where_a_firing_belongs_to_them() -> None:
    gathered = 0
    for seed in range(SEEDS):
        house, now_ns = walk(seed)
        now_ns = house.settle(now_ns)
        assert house.open == {house.incident_of(firing) for firing in house.firing}, f"seed {seed}"
        ids = [told.message.id for told in house.told]
        assert len(ids) == len(set(ids)), f"seed {seed}: a message id is used twice"
        gathered += sum(told.message.coalesced > 1 for told in house.told)
        # Everybody is well again: nothing stays open, and nothing stays remembered.
        ends = [verdict for user in house.states for verdict in house.see(user, 0, now_ns + NS)]
        house.take(ends, now_ns + NS)
        house.settle(now_ns + NS)
        assert house.open == set(), f"seed {seed}"
        assert house.records == {}, f"seed {seed}"
    assert gathered > SEEDS, "nothing was ever gathered: that would prove nothing"


def test_ten_thousand_users_over_budget_in_a_minute_are_few_messages_and_few_when_it_ends() -> None:
    house, users = House(), 10_000
    for second in range(60):
        now_ns = BEGAN_NS + second * NS
        batch = range(second * users // 60, (second + 1) * users // 60)
        house.take([verdict for user in batch for verdict in house.see(f"u-{user}", 120, now_ns)], now_ns)
        house.flush(now_ns)
    house.settle(now_ns)
    assert house.told[0].message.coalesced == 1
    assert len(house.told) == 2
    assert sum(told.message.coalesced for told in house.told) == users
    assert len(house.open) == 2
    assert {house.incident_of(firing) for firing in house.firing} == house.open
    end_ns = now_ns + 1_000 * NS
    house.take([verdict for user in range(users) for verdict in house.see(f"u-{user}", 0, end_ns)], end_ns)
    house.settle(end_ns)
    assert house.open == set()
    people = [told for told in house.told[2:] if told.audience is not Audience.INCIDENTS]
    assert len(people) <= 3


THREE = replace(
    BUDGET,
    levels=(
        Level("50 %", 50, 50, Severity.INFO),
        Level("80 %", 80, 80, Severity.WARNING),
        Level("hard limit", 100, 100, Severity.CRITICAL, hard=True),
    ),
)
BURST_USERS = 600
KINDS = {
    "slack": ChannelKind.SLACK_WEBHOOK,
    "pager": ChannelKind.PAGERDUTY,
    "prometheus": ChannelKind.ALERTMANAGER,
    "hook": ChannelKind.WEBHOOK,
}
# A pager hears of the gravest only, the others of all.
OWNER = Owner(
    name="team",
    channels=("slack", "prometheus", "hook"),
    by_severity={Severity.CRITICAL: ("slack", "pager", "prometheus", "hook")},
)


def burst_rules(budget: Budget) -> Rules:
    return Rules(
        budgets=(replace(budget, owner="team"),),
        owners={"team": OWNER},
        channels={name: ChannelSpec(name=name, kind=kind) for name, kind in KINDS.items()},
    )


def heard(told: Told, rules: Rules) -> set[str]:
    """Return which channels hear a message."""
    keepers = {name for name, kind in KINDS.items() if Channel(name=name, kind=kind).keeps_incidents}
    of_audience = {Audience.ALL: set(KINDS), Audience.INCIDENTS: keepers, Audience.PEOPLE: set(KINDS) - keepers}
    named = rules.channels_for(rules.budgets[0], told.message.scope, told.message.severity)
    return of_audience[told.audience] & set(told.channels or named)


@pytest.mark.parametrize("budget", [BUDGET, THREE], ids=["soft and hard", "three levels"])
@pytest.mark.parametrize("apart_s", [0, 10, 25, 59], ids=lambda apart_s: f"hard {apart_s} s after soft")
def test_users_who_pass_every_level_within_a_minute_are_three_messages_to_each_channel(
    budget: Budget, apart_s: int
) -> None:
    rng, house = random.Random(apart_s), House(burst_rules(budget))
    users = [f"u-{number}" for number in range(BURST_USERS)]
    risen_s = {user: sorted(rng.randint(0, 59) for _ in budget.levels) for user in users}
    for at_s in risen_s.values():
        at_s[-1] = max(at_s[-1], min(at_s[0] + apart_s, 59))
        at_s.sort()
    now_ns = BEGAN_NS
    for second in range(60):
        now_ns = BEGAN_NS + second * NS
        values = {user: sum(second >= one for one in at_s) for user, at_s in risen_s.items() if second in at_s}
        risen = [(user, int(budget.levels[number - 1].at)) for user, number in values.items()]
        house.take([verdict for user, value in risen for verdict in house.see(user, value, now_ns)], now_ns)
        house.flush(now_ns)
    house.settle(now_ns)
    people = [told.message for told in house.told if told.audience is not Audience.INCIDENTS]
    messages = {name: [one.message for one in house.told if name in heard(one, house.rules)] for name in KINDS}
    assert {name: len(found) for name, found in messages.items() if len(found) > 3} == {}
    # Whoever went beyond the hard limit belongs to an incident that the pager has been told of.
    assert {house.incident_of(firing) for firing in house.firing} == {one.incident for one in messages["pager"]}
    # At once the first, and the first at the hard limit; then one that counts them all.
    assert people[0].at_ns == BEGAN_NS
    worst = next(one for one in people if one.hard)
    assert worst.at_ns == BEGAN_NS + min(at_s[-1] for at_s in risen_s.values()) * NS
    assert people[-1].at_ns == BEGAN_NS + FIRST_SUMMARY_S * NS
    assert BURST_USERS - 2 <= people[-1].coalesced <= BURST_USERS + 1
    assert (people[-1].severity, people[-1].hard) == (Severity.CRITICAL, True)
    assert {house.incident_of(firing) for firing in house.firing} == house.open


def test_known_and_new_firings_of_one_summary_are_one_message_to_people_and_an_incident_of_the_new() -> None:
    house = House()
    house.take([verdict for user in "abc" for verdict in house.see(user, 85, BEGAN_NS)], BEGAN_NS)
    now_ns = BEGAN_NS + FIRST_SUMMARY_S * NS
    house.flush(now_ns)
    assert [told.message.coalesced for told in house.told] == [1, 2]
    # One is told at once: it is the worst so far. The others wait: two that were known, and three new ones.
    risen = [*[(user, 110) for user in "abc"], *[(user, 85) for user in "def"]]
    house.take([verdict for user, value in risen for verdict in house.see(user, value, now_ns + NS)], now_ns + NS)
    house.settle(now_ns + NS)
    later = [(told.audience, told.message.coalesced, told.message.severity) for told in house.told[2:]]
    assert later == [
        (Audience.ALL, 1, Severity.CRITICAL),
        (Audience.PEOPLE, 5, Severity.CRITICAL),
        (Audience.INCIDENTS, 3, Severity.WARNING),
    ]
    assert {house.incident_of(firing) for firing in house.firing} == house.open
