"""kill -9 of the whole house while budgets are crossed: what was decided, told, stored and spent stays one story."""

import json
import random
import re
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from alert_rules import write_rules
from eventually import eventually
from house import House, running_house
from llmtrail.core.ids import uuid7
from llmtrail.testing.recorders import Fault, Recorder, open_incidents, pagerduty, slack_webhook
from llmtrail_alerts.decide import incident_of
from llmtrail_alerts.model import GroupState
from llmtrail_alerts.outbox import State, decode_entry, is_entry_key

pytestmark = pytest.mark.faults

ROUNDS = 20
# Features of which many users cross: their summaries come 20 s after the first, so only early ones are waited for.
CROWDS = 8
SEED = 20_261_121
# A month, because its end is rarer than midnight.
BUDGETS = """
unpriced_call_usd = "0.05"

[[budget]]
name = "feature-month"
feature = "*"
limit_usd = "1.00"
per = "month"
soft = ["50 %"]
hard = "refuse"

[[budget]]
name = "user-month"
feature = "*"
user = "*"
limit_usd = "0.40"
per = "month"
hard = "refuse"
"""
FEATURE_LIMIT, USER_LIMIT = 1_000_000_000, 400_000_000
TOKEN_NANOUSD = 150  # gpt-4o-mini, input
# A summary of those that cross together comes 75 seconds after the first of them.
TOLD_S_MAX = 120.0


@dataclass
class World:
    """What was done, and who heard of it."""

    folder: Path
    slack: Recorder
    pager: Recorder
    rng: random.Random
    users: dict[str, list[str]] = field(default_factory=dict)  # by feature
    unsent: list[str] = field(default_factory=list)  # bodies that nobody acknowledged
    in_doubt: set[str] = field(default_factory=set)  # titles that Slack may have had when the process died

    def house(self) -> Any:
        counted = f"[stats]\nfeature_users = {json.dumps([feature_of(number) for number in range(ROUNDS)])}\n"
        return running_house(self.folder / "data", f'{counted}[alerts]\nfolder = "{self.folder / "rules"}"\n')

    def records(self) -> list[tuple[str, bytes]]:
        with sqlite3.connect(self.folder / "data" / "alerts.db") as db:
            found = db.execute("SELECT key, value FROM journal").fetchall()
        db.close()
        return found

    def crossing(self, feature: str, users: int) -> list[str]:
        """Return bodies after which a feature and each of some users of it are over their limits."""
        self.users[feature] = [f"{feature}u{number}" for number in range(users)]
        calls = []
        for user in self.users[feature]:
            # Odd amounts: no other calls come to the same sum. The two are beyond 0.40 dollars only together.
            calls += [self._call(feature, user, self.rng.randrange(1_400_001, 1_900_001, 2)) for _ in range(2)]
        if users < 3:
            calls.append(self._call(feature, "", self.rng.randrange(5_000_001, 6_000_001, 2)))
        self.rng.shuffle(calls)
        cut = self.rng.randrange(1, len(calls))
        return ["\n".join(calls[:cut]), "\n".join(calls[cut:])]

    def _call(self, feature: str, user: str, tokens: int) -> str:
        event = {
            "call_id": uuid7(time.time_ns(), self.rng.randbytes(10)),
            "started_at": time.time_ns(),
            "request_id": f"r-{feature}",  # all of a feature are on one partition, so their order is known
            "request_model": "gpt-4o-mini",
            "provider": "openai",
            "feature": feature,
            "usage": {"input_tokens": tokens, "output_tokens": 0},
            "status": "ok",
        }
        return json.dumps(event | ({"user_id": user} if user else {}))

    def send(self, house: House) -> None:
        """Post what waits, again and again until it is acknowledged or the house is gone."""
        while self.unsent:
            try:
                answer = house.post(self.unsent[0], {"content-type": "application/x-ndjson"})
            except (OSError, ValueError):
                return
            assert answer.status == 200, answer.body
            self.unsent.pop(0)

    def round(self, number: int) -> None:
        """Cross, and die at some moment: while it is posted, decided, sent or stored."""
        self.unsent += self.crossing(feature_of(number), 3 + number if number < CROWDS else 1)
        target = self.slack if number % 4 == 1 else self.pager
        heard = target.requests
        with self.house() as house:
            sender = threading.Thread(target=self.send, args=(house,))
            sender.start()
            if number % 2:
                target.faults.append(Fault.HANG)  # it has the message, and nobody is told so
                eventually(lambda: target.requests > heard, TOLD_S_MAX)
                threading.Event().wait(self.rng.uniform(0, 0.05))
            else:
                threading.Event().wait(self.rng.uniform(0, 0.5))
            house.kill()
            sender.join(30)
        entries = [decode_entry(value) for key, value in self.records() if is_entry_key(key)]
        self.in_doubt |= {
            entry.message.title for entry in entries if entry.channel == "slack" and entry.state is State.SENDING
        }


def feature_of(number: int) -> str:
    return f"x{number:02d}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with slack_webhook() as told, pagerduty() as paged:
        write_rules(tmp_path / "rules", told, paged, BUDGETS, "")
        yield World(tmp_path, told, paged, random.Random(SEED))
        assert told.breaches == []
        assert paged.breaches == []


def test_twenty_kills_while_budgets_are_crossed_tell_each_crossing_and_page_it_once(world: World) -> None:
    for number in range(ROUNDS):
        world.round(number)
    with world.house() as house:
        world.send(house)
        house.settle()
        eventually(lambda: len(open_incidents(world.pager)) >= wanted_incidents(world), TOLD_S_MAX)
        eventually(lambda: nothing_waits(world), TOLD_S_MAX)
        check_table(world, house)
        check_spend(world, house)
        check_pages(world, house)
    check_talk(world)


def wanted_incidents(world: World) -> int:
    """Return how many pages there are to be: of each feature itself, of its first user, and of the rest together."""
    return sum(2 if len(users) == 1 else 3 for users in world.users.values())


def nothing_waits(world: World) -> bool:
    """Say whether all messages are sent and all decisions stored."""
    return not any(is_entry_key(key) or key.startswith('["alert",') for key, _ in world.records())


def check_table(world: World, house: House) -> None:
    """Hold the table to what the journal remembers of each group: as many rows as it had verdicts."""
    states = [
        msgspec.json.decode(value, type=GroupState) for key, value in world.records() if key.startswith('["group",')
    ]
    assert all(state.level >= 0 for state in states)
    assert len(states) == sum(1 + len(users) for users in world.users.values())
    stored = dict(house.sql("SELECT incident, count() FROM alerts GROUP BY 1"))
    assert stored == {incident_of(state): state.step for state in states}
    assert house.sql("SELECT count() - uniqExact(alert_id) FROM alerts") == [[0]]


def check_spend(world: World, house: House) -> None:
    """Hold each amount to the calls: what was spent at some moment, and at or beyond the level that it tells of."""
    query = "SELECT feature, user_id, cost_nanousd FROM calls ORDER BY src_partition, src_offset"
    spent: dict[tuple[str, ...], list[int]] = {}
    for feature, user, cost in house.sql(query):
        spent.setdefault((feature,), []).append(int(cost))
        spent.setdefault((feature, user), []).append(int(cost))
    rows = house.sql("SELECT scope, rule, hard, amount, amount_limit FROM alerts")
    for scope, rule, hard, amount, limit in rows:
        limit_now = FEATURE_LIMIT if rule == "feature-month" else USER_LIMIT
        assert int(limit) == limit_now
        assert int(amount) in set(accumulate(spent[tuple(scope)])), f"{scope} never had spent {amount}"
        assert int(amount) >= (limit_now if hard else limit_now // 2)
    hard_of = {tuple(scope) for scope, _, hard, _, _ in rows if hard}
    assert hard_of == {(name,) for name in world.users} | {(f, u) for f, users in world.users.items() for u in users}
    told = house.ask("GET", "/v1/stats?kind=feature&window=1h&limit=1000").json["scopes"]
    assert {one["feature"]: one["cost_nanousd"] for one in told} == {name: sum(spent[name,]) for name in world.users}


def check_pages(world: World, house: House) -> None:
    """Hold what was paged to the crossings: each feature once, its first user once, and all its others together."""
    opened = open_incidents(world.pager)
    assert set(opened.values()) == {1}
    assert len(opened) == wanted_incidents(world)
    rows = house.sql("SELECT DISTINCT incident, rule, scope[1] FROM alerts")
    place = {incident: (rule, feature) for incident, rule, feature in rows}
    assert Counter(place[incident] for incident in opened) == {
        **{("feature-month", name): 1 for name in world.users},
        **{("user-month", name): min(len(users), 2) for name, users in world.users.items()},
    }


def check_talk(world: World) -> None:
    """Hold what Slack was told to the crossings: each told, alone or in a summary, and again only where in doubt."""
    assert world.in_doubt, "no death was at the right moment"
    told: Counter[tuple[str, bool]] = Counter()
    for body in world.slack.bodies():
        for line in headlines(body):
            told[line.replace("(possible repeat) ", ""), "(possible repeat)" in line] += 1
    doubtful = {line for line, _ in told if any(title in line for title in world.in_doubt)}
    assert all(times == 1 for (_, repeat), times in told.items() if not repeat)
    assert {line for line, repeat in told if repeat} <= doubtful
    lines = {line for line, _ in told}
    for feature, users in world.users.items():
        over = f"feature {feature} is over its limit"
        assert any(over in line for line in lines), f"{feature} was not told"
        assert any(f"{feature}u" in line for line in lines), f"no user of {feature} was told"
        if len(users) > 1:
            summary = rf"\b{len(users) - 1} users reached .*user-month"
            assert any(re.search(summary, line) for line in lines), f"the other users of {feature} were not told"


def headlines(body: Any) -> list[str]:
    """Return the first line of each alert in a message: of the one it is about, or of those of a digest."""
    header = body["blocks"][0]["text"]["text"]
    if "since the last message" not in header:
        return [header]
    sections = [block["text"]["text"] for block in body["blocks"] if block["type"] == "section"]
    return [section.splitlines()[0].strip("`") for section in sections]
