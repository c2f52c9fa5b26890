"""Budgets over Kafka: gateway, writers, aggregator and decider are processes of their own, and any may be killed."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from alert_rules import ALARMS, write_rules
from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Role, started
from kafka_writers import fresh_trail
from llmtrail.core.gpu import GpuSample, GpuScrape, encode_scrape
from llmtrail.testing.recorders import Recorder, open_incidents, pagerduty, slack_webhook
from web_house import WebHouse, serving_store

TOLD_S_MAX = 60.0
SEARCH = '["","feature","search"]'
BROKEN_GPU = """
[[alarm]]
name = "gpu-broken"
measure = "gpu"
gpu_condition = "xid"
critical = 1
"""


@dataclass
class Watched:
    """The house under rules, and those who hear of it."""

    gateway: Role
    decider: Role
    web: WebHouse
    slack: Recorder
    pager: Recorder

    def ask(self, url: str, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        headers = {"content-type": "application/x-ndjson"}
        if where.password:
            headers["authorization"] = f"Bearer {where.password}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def spend(self, calls: int, **named: Any) -> None:
        """Make calls that cost 0.15 dollars each."""
        usage = {"input_tokens": 1_000_000, "output_tokens": 0}
        event = {"request_model": "gpt-4o-mini", "provider": "openai", "feature": "search", "usage": usage} | named
        lines = [json.dumps({"started_at": time.time_ns(), **event}) for _ in range(calls)]
        assert self.ask(self.gateway.url(), "POST", "/v1/calls", "\n".join(lines).encode())[0] == 200

    def limits(self) -> dict[str, str]:
        """Return the state of each scope that callers are told of."""
        told = json.loads(self.ask(self.gateway.url(), "GET", "/v1/limits")[1])
        return {limit["scope"]: limit["state"] for limit in told["limits"]}

    def sql(self, statement: str) -> list[list[str]]:
        text = self.ask(self.web.sql_url, "POST", "/", statement.encode())[1].decode()
        return [line.split("\t") for line in text.splitlines()]


@pytest.fixture
def watched(kafka: Kafka, tmp_path: Path) -> Iterator[Watched]:
    trail = fresh_trail(kafka.bootstrap_servers)
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged, alarms=ALARMS + BROKEN_GPU)
        web = stack.enter_context(serving_store(tmp_path / "store"))
        settings = {"LLMTRAIL_STORE__URL": web.sql_url, "LLMTRAIL_ALERTS__FOLDER": str(tmp_path / "rules")}
        gateway = Role(["ingest"], trail, tmp_path / "ingest", settings)
        aggregator = Role(["aggregate"], trail, tmp_path / "aggregate")
        decider = Role(["alert"], trail, tmp_path / "alert", settings)
        stack.enter_context(started(gateway, aggregator, decider))
        yield Watched(gateway, decider, web, told, paged)
        assert told.breaches == []
        assert paged.breaches == []


def test_a_hard_limit_pages_once_stops_callers_and_outlives_its_decider(watched: Watched) -> None:
    watched.spend(4)
    eventually(lambda: len(watched.slack.bodies()) == 1, TOLD_S_MAX)
    eventually(lambda: watched.limits() == {SEARCH: "soft"}, TOLD_S_MAX)
    assert watched.pager.bodies() == []

    watched.decider.kill()
    watched.spend(4)
    watched.decider.start()
    eventually(lambda: len(watched.pager.bodies()) == 1, TOLD_S_MAX)
    eventually(lambda: watched.limits() == {SEARCH: "hard"}, TOLD_S_MAX)

    told = "SELECT reason, amount, hard FROM llmtrail.budget_events ORDER BY decided_at"
    wanted = [["first", "600000000", "false"], ["level_changed", "1200000000", "true"]]
    eventually(lambda: len(watched.sql(told)) >= len(wanted), TOLD_S_MAX)
    assert watched.sql(told) == wanted
    # What was told is what the calls cost, to the nano-dollar.
    spent = "SELECT sum(cost_nanousd) FROM llmtrail.calls WHERE feature = 'search'"
    eventually(lambda: watched.sql(spent) == [[wanted[-1][1]]], TOLD_S_MAX)
    assert "$1.20" in json.dumps(watched.pager.bodies())
    assert list(open_incidents(watched.pager).values()) == [1]

    # The same decider watches GPUs: their samples go to the aggregator, and what they come to goes on from there.
    at_ns = time.time_ns()
    gpu = GpuSample(sampled_at_ns=at_ns, host="node-1", gpu_uuid="GPU-a", xid=79)
    scrape = encode_scrape(GpuScrape(sampled_at_ns=at_ns, host="node-1", target="t", gpus=(gpu,)))
    assert watched.ask(watched.gateway.url(), "POST", "/v1/gpu", scrape)[0] == 200
    eventually(lambda: len(watched.pager.bodies()) == 2, TOLD_S_MAX)
    assert "XID 79, The GPU has fallen off the bus" in watched.pager.bodies()[-1]["payload"]["summary"]
    assert watched.limits() == {SEARCH: "hard"}
    assert watched.decider.stop() == 0


MONTH_OF_USERS = """
[[budget]]
name = "user-month"
feature = "search"
user = "*"
limit_usd = "1.00"
soft = ["85 %"]
per = "month"
zone = "Asia/Tokyo"
hard = "refuse"
"""


def test_what_an_edited_rule_needs_is_kept_by_all_and_what_was_before_is_filled_once(
    watched: Watched, tmp_path: Path
) -> None:
    user = '["","feature_user","search","u-7"]'
    watched.spend(4, user_id="u-7")
    eventually(lambda: len(watched.slack.bodies()) == 1, TOLD_S_MAX)
    # Given a rule about users and a month that no settings name
    file = tmp_path / "rules" / "budgets.toml"
    file.write_text(file.read_text() + MONTH_OF_USERS)
    added = "SELECT count() FROM llmtrail.audit WHERE name = 'user-month' AND action = 'added'"
    eventually(lambda: watched.sql(added) == [["1"]], TOLD_S_MAX)
    # When more is spent, then it counts what was before and since, each once
    watched.spend(2, user_id="u-7")
    eventually(lambda: watched.limits().get(user) == "soft", TOLD_S_MAX)
    watched.spend(1, user_id="u-7")
    eventually(lambda: watched.limits().get(user) == "hard", TOLD_S_MAX)
    events = "SELECT amount, hard FROM llmtrail.alerts WHERE rule = 'user-month' ORDER BY decided_at"
    eventually(lambda: watched.sql(events) == [["900000000", "false"], ["1050000000", "true"]], TOLD_S_MAX)
