"""The whole house over Kafka: every role a process of its own, and a request id finds its call."""

import base64
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Role, started
from kafka_writers import Trail, fresh_trail
from otlp_export import export_over_grpc
from web_house import WebHouse, serving_store

STORED_S_MAX = 40.0
# What nobody wrote fails at once by its own assertion; this is for a machine that does much else.
SLOW_S_MAX = 150.0
LETTERS = 5


class KafkaHouse:
    """Gateway, writers and store, and how to talk to them."""

    def __init__(self, trail: Trail, ingest: Role, web: WebHouse) -> None:
        self.trail = trail
        self.ingest = ingest
        self.web = web
        self.gateway_url = ingest.url()

    def ask(
        self, url: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        headers = {"content-type": "application/json"}
        if where.password:
            headers["authorization"] = f"Bearer {where.password}"
        try:
            connection.request("POST" if body is not None else "GET", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text[:1] in {b"{", b"["} else text.decode()

    def sql(self, statement: str) -> list[list[str]]:
        _, text = self.ask(self.web.sql_url, "/", statement.encode())
        return [line.split("\t") for line in str(text).splitlines()]

    def request(self, request_id: str) -> Any:
        token = urlsplit(self.web.sql_url).password
        url = self.web.http_url.replace("://", f"://writer:{token}@")
        eventually(lambda: self.ask(url, f"/v1/requests/{request_id}")[0] == 200, STORED_S_MAX)
        return self.ask(url, f"/v1/requests/{request_id}")[1]


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[KafkaHouse]:
    trail = fresh_trail(kafka.bootstrap_servers)
    with serving_store(tmp_path / "store") as web:
        settings = {
            "LLMTRAIL_STORE__URL": web.sql_url,
            "LLMTRAIL_SERVER__GRPC": "true",
            "LLMTRAIL_SERVER__GRPC_PORT": "0",
        }
        ingest = Role(["ingest"], trail, tmp_path / "ingest", settings)
        with started(ingest):
            yield KafkaHouse(trail, ingest, web)


def test_a_request_id_finds_what_was_posted_to_the_gateway(house: KafkaHouse) -> None:
    event = {
        "started_at": time.time_ns(),
        "request_id": "r-kafka-1",
        "user_id": "u-7",
        "feature": "search",
        "provider": "openai",
        "request_model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "Where is my order?"}],
        "usage": {"input_tokens": 1000, "output_tokens": 0},
    }
    status, told = house.ask(house.gateway_url, "/v1/calls", json.dumps(event).encode())
    assert (status, told) == (200, {"accepted": 1, "rejected": []})

    found = house.request("r-kafka-1")

    assert found["calls"][0]["messages"] == event["messages"]
    assert found["cost_nanousd"] == 150_000


def test_a_trace_is_settled_and_its_call_found(house: KafkaHouse) -> None:
    trace_id, now_ns = "5b8efff798038103d269b633813fc60c", time.time_ns()
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.provider.name": "openai"}
    span = {
        "traceId": trace_id,
        "spanId": "eee19b7ec3c1b174",
        "name": "chat gpt-4o",
        "kind": 3,
        "startTimeUnixNano": str(now_ns - 10**9),
        "endTimeUnixNano": str(now_ns),
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": [span]}]}]}
    status, _ = house.ask(house.gateway_url, "/v1/traces", json.dumps(body).encode())
    assert status == 200

    found = house.request(trace_id)

    assert found["calls"][0]["request_model"] == "gpt-4o"


def test_spans_over_grpc_are_found_too(house: KafkaHouse) -> None:
    export_over_grpc(house.ingest.folder)
    ask = "SELECT request_model, input_tokens FROM llmtrail.calls"
    eventually(lambda: house.sql(ask) == [["gpt-4o-mini", "57"]], STORED_S_MAX)


def test_one_process_writes_and_answers_for_its_own_folder(kafka: Kafka, tmp_path: Path) -> None:
    trail = fresh_trail(kafka.bootstrap_servers)
    ingest = Role(["ingest", "--roles", "gateway,rows,web", "--sql-port", "0"], trail, tmp_path / "all")
    with started(ingest):
        url = ingest.url()
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        event = {"started_at": time.time_ns(), "request_id": "r-alone", "request_model": "gpt-4o-mini"}
        connection.request("POST", "/v1/calls", json.dumps(event), {"content-type": "application/json"})
        assert json.loads(connection.getresponse().read()) == {"accepted": 1, "rejected": []}

        def found() -> bool:
            connection.request("GET", "/v1/requests/r-alone")
            answer = connection.getresponse()
            body = answer.read()
            return answer.status == 200 and json.loads(body)["calls"][0]["request_model"] == "gpt-4o-mini"

        eventually(found, STORED_S_MAX)
        connection.close()
        assert ingest.stop() == 0


def test_what_nobody_can_read_is_a_dead_letter_in_the_table_with_its_place(house: KafkaHouse) -> None:
    house.trail.produce([(b"r", b"not an event")])
    ask = "SELECT topic, reason, base64Decode(value_base64) FROM llmtrail.dead_letters"
    eventually(lambda: house.sql(ask) != [], STORED_S_MAX)
    assert house.sql(ask) == [["llm.calls", "not_json", "not an event"]]


def test_letters_that_are_sent_again_over_kafka_stay_themselves_and_become_calls_once(
    house: KafkaHouse, tmp_path: Path
) -> None:
    # Given letters of the topic
    house.trail.produce([(f"r-{number}".encode(), b"not an event") for number in range(LETTERS)])
    columns = "topic, topic_id, `partition`, `offset`, toUnixTimestamp64Nano(received_at), reason"
    ask = f"SELECT {columns} FROM llmtrail.dead_letters ORDER BY topic_id, `partition`, `offset`"
    eventually(lambda: len(house.sql(ask)) == LETTERS, SLOW_S_MAX)
    letters = house.sql(ask)
    outcomes = "SELECT outcome, count() FROM llmtrail.dead_letters GROUP BY outcome"
    # When the command sends them again, they fail again and stay the same letters
    report = replay_everything(house, tmp_path)
    assert (report["letters"], report["accepted"], report["rejected"]) == (LETTERS, 0, LETTERS)
    eventually(lambda: house.sql(outcomes) == [["rejected", str(LETTERS)]], SLOW_S_MAX)
    assert house.sql(ask) == letters
    # When what can be read now is sent for their places, twice
    sent = [mended(letter, number) for number, letter in enumerate(letters)]
    for _ in range(2):
        status, told = house.ask(house.gateway_url, "/v1/dead-letters/replay", json.dumps({"letters": sent}).encode())
        assert (status, told) == (200, {"letters": [{"outcome": "accepted", "accepted": 1}] * LETTERS})
    # Then each is one call of its tenant, each letter is marked, and none is left to be sent
    eventually(lambda: house.sql(outcomes) == [["accepted", str(LETTERS)]], SLOW_S_MAX)
    calls = "SELECT tenant, count(), uniqExact(request_id) FROM llmtrail.calls GROUP BY tenant"
    eventually(lambda: house.sql(calls) == [["acme", str(LETTERS), str(LETTERS)]], SLOW_S_MAX)
    repeats = f'llmtrail_ingest_events_total{{fate="skipped",reason="duplicate"}} {LETTERS}.0'
    eventually(lambda: repeats in str(house.ask(house.gateway_url, "/metrics")[1]), SLOW_S_MAX)
    assert house.sql(calls) == [["acme", str(LETTERS), str(LETTERS)]]
    assert replay_everything(house, tmp_path)["letters"] == 0


def replay_everything(house: KafkaHouse, folder: Path) -> Any:
    """Run the command against the roles' addresses; return its report."""
    where = urlsplit(house.web.sql_url)
    addresses = ["--address", house.gateway_url, "--sql-address", f"http://127.0.0.1:{where.port}"]
    words = ["dead-letters", "replay", "--json", "--token", where.password or "", *addresses]
    command = [sys.executable, "-m", "llmtrail", *words, "--data", str(folder / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SLOW_S_MAX)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def mended(letter: list[str], number: int) -> dict[str, Any]:
    """Return a letter with an event in place of what nobody could read."""
    topic, topic_id, partition, offset, received_at_ns, reason = letter
    event = {"started_at": int(received_at_ns), "request_id": f"r-again-{number}", "request_model": "gpt-4o"}
    return {
        "topic": topic,
        "topic_id": topic_id,
        "partition": int(partition),
        "offset": int(offset),
        "received_at_ns": int(received_at_ns),
        "reason": reason,
        "tenant": "acme",
        "value_base64": base64.b64encode(json.dumps(event).encode()).decode(),
    }


def test_every_part_is_ready_and_the_process_ends_in_time(house: KafkaHouse) -> None:
    eventually(lambda: house.ask(house.gateway_url, "/readyz")[0] == 200, STORED_S_MAX)
    parts = house.ask(house.gateway_url, "/readyz")[1]["parts"]
    assert set(parts) == {"store", "rows", "dead letters", "statistics", "settler", "limits", "minutes", "gpu", "audit"}
    lag = 'kafka_consumergroup_lag{consumergroup="llmtrail.rows",partition="0",topic="llm.calls"} 0.0'
    # A member is ready before it has its partitions: there may be none for it.
    eventually(lambda: lag in str(house.ask(house.gateway_url, "/metrics")[1]), STORED_S_MAX)
    began_s = time.monotonic()
    assert house.ingest.stop() == 0
    assert time.monotonic() - began_s < 10
