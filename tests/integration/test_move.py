"""An embedded installation moved to a real Kafka and another store: rows, statistics, what comes later, each once."""

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eventually import eventually
from house import House, running_house
from kafka_here import Kafka
from kafka_roles import Published, Role, started
from kafka_writers import Trail, fresh_trail
from llmtrail.core.ids import uuid7
from llmtrail.local import moved_file
from llmtrail.local.slot_file import FILE_NAME as SLOTS_FILE
from llmtrail.store.handle import open_http
from llmtrail.store.migrate import migrate
from web_house import WebHouse, serving_store

MOVE_S_MAX = 180
STORED_S_MAX = 60.0
NS = 1_000_000_000
CALLS = 300
TENANT = '["","tenant"]'
TRACE, ROOT, CHILD = "5b8efff798038103d269b633813fc60c", "aaaaaaaaaaaaaaaa", "eee19b7ec3c1b174"
VIEWS = ("calls", "bodies", "attempts", "ids", "dead_letters", "price_corrections")


@dataclass
class Sent:
    """What an application sent, and its dice."""

    rng: random.Random
    now_ns: int
    events: list[dict[str, Any]] = field(default_factory=list)

    def fresh(self, count: int) -> list[dict[str, Any]]:
        made = [self._event(len(self.events) + place) for place in range(count)]
        self.events += made
        return made

    def _event(self, number: int) -> dict[str, Any]:
        tokens = self.rng.randrange(1, 500)
        return {
            "call_id": uuid7(self.now_ns + number * 1_000, self.rng.randbytes(10)),
            "started_at": self.now_ns - self.rng.randrange(1_000) * NS,
            "request_id": f"r-{number}",
            "user_id": f"u{number % 7}",
            "feature": f"f{number % 3}",
            "provider": "openai",
            "request_model": "gpt-4o-mini",
            "usage": {"input_tokens": tokens, "output_tokens": tokens},
            "latency_ms": 12.5,
            "messages": [{"role": "user", "content": f"question {number} " + "x" * self.rng.randrange(2_000)}],
            "attempts": [{"number": 1, "outcome": "ok"}],
        }


def post(house: House, events: list[dict[str, Any]]) -> None:
    answer = house.post("\n".join(map(json.dumps, events)), {"content-type": "application/x-ndjson"})
    assert answer.status == 200, answer.body


def installation(folder: Path) -> Sent:
    """Run an embedded installation through an ordinary day, and kill it with acknowledged calls not yet stored."""
    sent = Sent(random.Random(11), time.time_ns())
    with running_house(folder, "[ingest]\nbatch_rows = 97\n") as house:
        post(house, sent.fresh(CALLS - 50))
        post(house, sent.events[:40])
        post(house, [{**sent.events[3], "revision": 1, "failure_mode": "timeout", "status": "error"}])
        assert house.post("not an event").status == 400
        model = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
        post_span(house, CHILD, model, ROOT)
        house.settle()
        eventually(lambda: house.sql("SELECT count() > 0 FROM audit") == [[True]], STORED_S_MAX)
        post(house, sent.fresh(50))
        house.kill()
    return sent


def post_span(house: House, span_id: str, attributes: dict[str, str], parent_id: str = "") -> None:
    now_ns = time.time_ns()
    span = {
        "traceId": TRACE,
        "spanId": span_id,
        "parentSpanId": parent_id,
        "name": "a span",
        "kind": 3,
        "startTimeUnixNano": str(now_ns - NS),
        "endTimeUnixNano": str(now_ns),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}
    answer = house.ask("POST", "/v1/traces", json.dumps(body).encode(), {"content-type": "application/json"})
    assert answer.status == 200


@dataclass
class Places:
    """Where a folder is moved from and to."""

    folder: Path
    trail: Trail
    web: WebHouse

    def command(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "llmtrail", "move", "--from", str(self.folder), "--json", *more]

    @property
    def environ(self) -> dict[str, str]:
        return os.environ | {
            "LLMTRAIL_KAFKA": self.trail.servers,
            "LLMTRAIL_KAFKA__TOPIC_PREFIX": self.trail.prefix,
            "LLMTRAIL_STORE__URL": self.web.sql_url,
        }

    def move(self, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*more), env=self.environ, capture_output=True, text=True, timeout=MOVE_S_MAX, check=False
        )

    def moved(self, *more: str) -> Any:
        done = self.move(*more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self) -> str:
        done = self.move()
        assert done.returncode == 1, done.stderr
        assert not (self.folder / moved_file.FILE_NAME).exists()
        return done.stderr

    def source_rows(self, view: str) -> list[str]:
        command = [sys.executable, "-m", "llmtrail", "sql", _all_of(view), "--data", str(self.folder)]
        return subprocess.run(
            [*command, "--format", "JSONEachRow"], capture_output=True, text=True, check=True
        ).stdout.splitlines()

    def sql(self, statement: str) -> list[list[Any]]:
        where = urlsplit(self.web.sql_url)
        house = House(self.web.http_url, f"http://{where.hostname}:{where.port}", self.web.process, where.password)
        return house.sql(statement)

    def target_rows(self, view: str) -> list[str]:
        return [json.dumps(row) for row in self.sql(_all_of(view))]

    def slots(self) -> dict[str, bytes]:
        with sqlite3.connect(self.folder / SLOTS_FILE) as file:
            found = dict(file.execute("SELECT key, value FROM slots"))
        file.close()
        return found


def _all_of(view: str) -> str:
    return f"SELECT * FROM llmtrail.{view} ORDER BY ALL"


def counted(trail: Trail) -> Any:
    """Return what the statistics of all calls come to."""
    published = Published(trail)
    try:
        eventually(lambda: bool(published.read().slots), STORED_S_MAX)
        published.read()
        return published.cells()[TENANT]
    finally:
        published.close()


def assert_moved(places: Places) -> None:
    """Hold what arrived to what is in the folder: every view's rows, every slot."""
    for view in VIEWS:
        here, there = places.source_rows(view), places.target_rows(view)
        assert len(here) == len(there), view
        for one, other in zip(here, there, strict=True):
            assert [str(value) for value in json.loads(one).values()] == [str(value) for value in json.loads(other)]
    # Among what the other store has on record of itself.
    mine = {tuple(map(str, json.loads(row).values())) for row in places.source_rows("audit")}
    assert mine
    assert mine <= {tuple(map(str, json.loads(row))) for row in places.target_rows("audit")}
    published = Published(places.trail)
    eventually(lambda: published.read().slots.keys() == places.slots().keys(), STORED_S_MAX)
    assert published.slots == places.slots()
    published.close()


def test_everything_arrives_once_and_what_comes_later_is_known(kafka: Kafka, tmp_path: Path) -> None:
    folder, trail = tmp_path / "embedded", fresh_trail(kafka.bootstrap_servers)
    sent = installation(folder)
    with serving_store(tmp_path / "store") as web:
        places = Places(folder, trail, web)
        looked = places.moved("--dry-run")
        assert looked["waiting"]["calls"] > 0
        assert places.moved("--dry-run") == looked, "looking changes nothing"

        report = places.moved()

        assert report["rows"]["calls_data"] == CALLS + 1
        assert report["rows"]["dead_letters_data"] == 1
        assert report["records"]["llm.calls"] > CALLS
        assert_moved(places)
        before = counted(trail)
        assert (before.calls, before.errors) == (CALLS + 1, 1)

        again = places.move()
        assert again.returncode == 1
        assert "was moved to" in again.stderr

        ingest = Role(["ingest"], trail, tmp_path / "ingest", {"LLMTRAIL_STORE__URL": web.sql_url})
        with started(ingest, Role(["aggregate"], trail, tmp_path / "aggregate")):
            house = House(ingest.url(), "", web.process)
            post(house, sent.events[:30])
            post(house, [{**sent.events[5], "revision": 2, "failure_mode": "timeout", "status": "error"}])
            post_span(house, ROOT, {"user.id": "the-late-user"})
            post(house, sent.fresh(10))

            ask = f"SELECT user_id, revision FROM llmtrail.calls WHERE trace_id = '{TRACE}'"
            eventually(lambda: places.sql(ask) == [["the-late-user", 1]], STORED_S_MAX)
            eventually(lambda: counted(trail).calls >= CALLS + 11, STORED_S_MAX)
            eventually(lambda: len(places.target_rows("calls")) >= CALLS + 11, STORED_S_MAX)
            # The repeats and the revisions are behind us, too, when nothing lags.
            eventually(lambda: house.metric("kafka_consumergroup_lag") == 0, STORED_S_MAX)
            after = counted(trail)
        assert len(places.target_rows("calls")) == CALLS + 11
        assert (after.calls, after.errors) == (CALLS + 11, 2)
        assert after.input_tokens == before.input_tokens + sum(
            event["usage"]["input_tokens"] for event in sent.events[CALLS:]
        )


def test_what_is_in_use_or_not_empty_is_refused_before_anything_changes(kafka: Kafka, tmp_path: Path) -> None:
    folder = tmp_path / "embedded"
    with serving_store(tmp_path / "store") as web:
        places = Places(folder, fresh_trail(kafka.bootstrap_servers), web)
        with running_house(folder) as house:
            post(house, Sent(random.Random(2), time.time_ns()).fresh(3))
            house.settle()
            assert "stop the llmtrail that runs on it" in places.refused()
        places.trail.produce([(b"key", b"{}")])
        assert "not of this move" in places.refused()

        elsewhere = Places(folder, fresh_trail(kafka.bootstrap_servers), web)
        target = open_http(web.sql_url)
        migrate(target)
        target.command("INSERT INTO llmtrail.dead_letters_data (received_day) SELECT toDate('2026-11-01')")
        target.close()
        assert "not empty: rows in dead_letters_data: 1" in elsewhere.refused()
    with running_house(folder) as house:
        assert len(house.sql("SELECT call_id FROM llmtrail.calls")) == 3


_KILLED = """
import os, sys
from pathlib import Path
from llmtrail.clock import SystemClock
from llmtrail.config_load import load_config
from llmtrail.roles import move, move_kafka, move_plan, move_source
from llmtrail.store import copy

move_plan.CHUNK_ROWS_MAX, copy.SEGMENT_ROWS = 40, 16
move_source._READ_RECORDS, move_kafka._SLOTS_TOGETHER = 50, 20
left = int(sys.argv[2])

def step(*_):
    global left
    left -= 1
    if left == 0:
        os._exit(9)

def written(*arguments, write=move.write_range):
    write(*arguments)
    step()

def sent(*arguments, append=move_kafka.KafkaProducer.append):
    future = append(*arguments)
    step()
    return future

move.write_range, move_kafka.KafkaProducer.append = written, sent
loaded = load_config(None, os.environ, {"server.data": sys.argv[1]}, here=Path(sys.argv[1]) / "none")
move.Move(loaded.config, SystemClock(), step).run()
"""


def test_a_move_that_is_killed_again_and_again_goes_on_and_brings_everything_once(kafka: Kafka, tmp_path: Path) -> None:
    folder, trail = tmp_path / "embedded", fresh_trail(kafka.bootstrap_servers)
    installation(folder)
    with serving_store(tmp_path / "store") as web:
        places = Places(folder, trail, web)
        ends = []
        for steps in (3, 12, 31, 40, 44, 48, 52, 56, 1_000_000):
            command = [sys.executable, "-c", _KILLED, str(folder), str(steps)]
            ends.append(subprocess.run(command, env=places.environ, timeout=MOVE_S_MAX, check=False).returncode)
        assert ends[-1] == 0
        assert ends[:6] == [9] * 6, "it was killed in the middle"
        assert_moved(places)
        assert counted(trail).calls == CALLS + 1
