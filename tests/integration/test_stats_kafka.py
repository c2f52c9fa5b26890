"""`/v1/stats` over Kafka: a process that only reads `llm.stats` tells what the calls come to, exactly."""

import http.client
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Role, Truth, started
from kafka_writers import Trail, fresh_trail
from llmtrail.core.scope import Scope, ScopeKind

SETTLED_S_MAX = 60.0
EXACT = ("calls", "errors", "input_tokens", "output_tokens", "cost_nanousd", "retries", "failures")


@pytest.fixture
def trail(kafka: Kafka) -> Trail:
    return fresh_trail(kafka.bootstrap_servers, partitions=4)


def asked(url: str, path: str = "/v1/stats", **parameters: str) -> tuple[int, Any]:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
    try:
        connection.request("GET", f"{path}?{urlencode(parameters)}")
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def tells(url: str, truth: Truth) -> bool:
    """Say whether every feature and user of the truth is told, and nothing else."""
    told: dict[str, dict[str, Any]] = {}
    for kind, name in ((ScopeKind.TENANT, None), (ScopeKind.FEATURE, "feature"), (ScopeKind.USER, "user_id")):
        status, document = asked(url, kind=kind, window="1h", limit="1000")
        if status != 200:
            return False
        for scope in document["scopes"]:
            text = Scope("", kind, (scope[name],) if name else ()).text()
            told[text] = {field: scope[field] for field in EXACT}
    return told == {text: {field: getattr(cell, field) for field in EXACT} for text, cell in truth.cells.items()}


def test_what_is_told_equals_the_calls_also_by_a_reader_that_comes_later(trail: Trail, tmp_path: Path) -> None:
    truth = Truth(random.Random(4), time.time_ns())
    cursor = Role(["ingest", "--roles", "statistics"], trail, tmp_path / "cursor")
    aggregator = Role(["aggregate"], trail, tmp_path / "aggregator")
    web = Role(["web", "--sql-port", "0"], trail, tmp_path / "web")
    later = Role(["web", "--sql-port", "0"], trail, tmp_path / "later")
    with started(cursor, aggregator, web):
        trail.produce(truth.events(1_000))
        eventually(lambda: tells(web.url(), truth), SETTLED_S_MAX)
        assert asked(web.url(), "/readyz")[0] == 200

        with started(later):
            eventually(lambda: asked(later.url(), "/readyz")[0] == 200, SETTLED_S_MAX)
            assert tells(later.url(), truth)

        user, cell = next((text, cell) for text, cell in truth.cells.items() if '"user"' in text)
        name = json.loads(user)[2]
        _, one = asked(web.url(), tenant="", user_id=name)
        assert [(scope["user_id"], scope["calls"]) for scope in one["scopes"]] == [(name, cell.calls)]

        said = printed(web.folder, "stats", "--by", "feature", "--order", "calls", "--json")
        assert sum(scope["calls"] for scope in json.loads(said)["scopes"]) == truth.made
        assert web.stop() == 0
        # A container's own folders may be read-only.
        assert [role.folder.name for role in (cursor, aggregator, web, later) if any(role.started_in.iterdir())] == []


def test_web_is_not_ready_and_says_why_while_there_is_nothing_to_read(kafka: Kafka, tmp_path: Path) -> None:
    nowhere = Trail(kafka.bootstrap_servers, "no-such-house.", 1)
    web = Role(["web", "--sql-port", "0"], nowhere, tmp_path / "web")
    with started(web):
        url = web.url()
        reason = "there is no topic no-such-house.llm.stats; run `llmtrail topics create`"
        eventually(lambda: reason in json.dumps(asked(url)), SETTLED_S_MAX)
        assert asked(url)[0] == 503
        status, document = asked(url, "/readyz")
        assert (status, reason in json.dumps(document)) == (503, True)


def printed(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "llmtrail", *words, "--data", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=os.environ).stdout
