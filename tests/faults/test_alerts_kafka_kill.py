"""Over Kafka, deciders and aggregators killed while budgets are crossed: each crossing is paged and stored once."""

import http.client
import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from alert_rules import write_rules
from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Role, started
from kafka_writers import fresh_trail
from llmtrail.core.ids import uuid7
from llmtrail.testing.recorders import Recorder, open_incidents, pagerduty, slack_webhook
from web_house import WebHouse, serving_store

pytestmark = pytest.mark.faults

ROUNDS = 5
SEED = 5
TOLD_S_MAX = 60.0
# What the house promises after any one kill.
TAKEN_OVER_S_MAX = 15.0
LIMIT = 1_000_000_000
# Rules of several names have places in several partitions, so that both deciders have some.
RULES = ("alpha", "bravo", "charlie", "delta")
BUDGETS = 'unpriced_call_usd = "0.05"\n' + "".join(
    f'\n[[budget]]\nname = "{name}"\nfeature = "*"\nlimit_usd = "1.00"\nper = "month"\nhard = "refuse"\n'
    for name in RULES
)


@dataclass
class World:
    """The house in its processes, and who hears of it."""

    gateway: Role
    deciders: list[Role]
    aggregator: Role
    web: WebHouse
    slack: Recorder
    pager: Recorder
    rng: random.Random = field(default_factory=lambda: random.Random(SEED))
    features: list[str] = field(default_factory=list)

    def ask(self, url: str, method: str, path: str, body: bytes = b"") -> bytes:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        headers = {"content-type": "application/x-ndjson"}
        if where.password:
            headers["authorization"] = f"Bearer {where.password}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            return text
        finally:
            connection.close()

    def cross(self) -> None:
        """Bring a new feature over its limit, with amounts that no other calls come to."""
        name = f"x{len(self.features):02d}"
        self.features.append(name)
        calls = []
        for _ in range(4):
            event = {
                "call_id": uuid7(time.time_ns(), self.rng.randbytes(10)),
                "started_at": time.time_ns(),
                "request_id": f"r-{name}",  # all are on one partition, so their order is known
                "request_model": "gpt-4o-mini",
                "provider": "openai",
                "feature": name,
                "usage": {"input_tokens": self.rng.randrange(1_800_001, 2_200_001, 2), "output_tokens": 0},
            }
            calls.append(json.dumps(event))
        self.ask(self.gateway.url(), "POST", "/v1/calls", "\n".join(calls).encode())

    def all_paged(self) -> bool:
        """Say whether each crossing has its incident."""
        return len(open_incidents(self.pager)) >= len(self.features) * len(RULES)

    def sql(self, statement: str) -> list[list[Any]]:
        text = self.ask(self.web.sql_url, "POST", "/", f"{statement} FORMAT JSONCompactEachRow".encode())
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def world(kafka: Kafka, tmp_path: Path) -> Iterator[World]:
    trail = fresh_trail(kafka.bootstrap_servers)
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged, BUDGETS, "")
        web = stack.enter_context(serving_store(tmp_path / "store"))
        settings = {"LLMTRAIL_STORE__URL": web.sql_url, "LLMTRAIL_ALERTS__FOLDER": str(tmp_path / "rules")}
        gateway = Role(["ingest"], trail, tmp_path / "ingest", settings)
        aggregator = Role(["aggregate"], trail, tmp_path / "aggregate")
        deciders = [Role(["alert"], trail, tmp_path / f"alert{number}", settings) for number in range(2)]
        stack.enter_context(started(gateway, aggregator, *deciders))
        yield World(gateway, deciders, aggregator, web, told, paged)
        assert told.breaches == []
        assert paged.breaches == []


def test_killed_deciders_and_aggregators_page_each_crossing_once(world: World) -> None:
    for decider in world.deciders:
        decider.url()
    world.cross()
    eventually(world.all_paged, TOLD_S_MAX)
    for number in range(ROUNDS):
        victim = world.aggregator if number % 3 == 2 else world.deciders[number % 2]
        world.cross()
        # Somewhere between the acknowledgement and the last page, a different place each round.
        wanted = world.pager.requests + world.rng.randrange(len(RULES))
        eventually(partial(has_heard, world.pager, wanted), TOLD_S_MAX)
        victim.kill()
        if victim is world.aggregator:
            victim.start()
        eventually(world.all_paged, TAKEN_OVER_S_MAX)
        if victim is not world.aggregator:
            victim.start()
            victim.url()
    check_pages(world)
    check_table(world)


def has_heard(recorder: Recorder, requests: int) -> bool:
    return recorder.requests >= requests


def check_pages(world: World) -> None:
    """Hold what was paged to the crossings."""
    opened = open_incidents(world.pager)
    assert set(opened.values()) == {1}
    assert len(opened) == len(world.features) * len(RULES)


def check_table(world: World) -> None:
    """Hold the table to the crossings and to the calls: each decided once, at what was spent at some moment."""
    wanted = sorted([rule, feature] for rule in RULES for feature in world.features)
    decided = "SELECT rule, scope[1] FROM llmtrail.alerts ORDER BY 1, 2"
    eventually(lambda: len(world.sql(decided)) >= len(wanted), TOLD_S_MAX)
    assert world.sql(decided) == wanted
    assert {row[0] for row in world.sql("SELECT incident FROM llmtrail.alerts")} == set(open_incidents(world.pager))
    spent: dict[str, list[int]] = {}
    stored = "SELECT feature, cost_nanousd FROM llmtrail.calls ORDER BY src_partition, src_offset"
    eventually(lambda: len(world.sql(stored)) >= 4 * len(world.features), TOLD_S_MAX)
    for feature, cost in world.sql(stored):
        spent.setdefault(feature, []).append(int(cost))
    for feature, amount in world.sql("SELECT scope[1], amount FROM llmtrail.alerts"):
        assert int(amount) >= LIMIT
        assert int(amount) in set(accumulate(spent[feature])), f"{feature} never had spent {amount}"
