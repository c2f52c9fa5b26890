"""Poison on a real Kafka: what nobody can read holds up no record that stands beside it, and is counted."""

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from confluent_kafka import Producer

from alert_rules import write_rules
from eventually import eventually
from kafka_here import Kafka
from kafka_roles import Published, Role, Truth, started
from kafka_topic import TopicTail
from kafka_writers import Trail, fresh_trail
from llmtrail.core.gpu import GpuSample, GpuScrape, encode_scrape
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import CALLS, DEAD_LETTERS, GPU, PARTIALS, SPANS
from llmtrail.testing.recorders import pagerduty, slack_webhook
from llmtrail_ingest.otlp.admit import admit_spans
from otlp_spans import chat, span
from poison import LARGE, POISONS, Poison
from topic_readers import TOPICS
from web_house import WebHouse, serving_store

SETTLED_S_MAX = 60.0
HOUSE_S_MAX = 120.0
# Topics whose records may be as large as one is.
WIDE = (CALLS, SPANS, GPU)
FLOOD = 20


def poisoned(trail: Trail, topic: str, poisons: Sequence[Poison]) -> int:
    """Put poisons onto every partition of a topic; return how many it takes."""
    taken: list[None] = []
    producer = Producer({**trail.client, "message.max.bytes": 9_000_000, "compression.type": "zstd"})
    partitions = producer.list_topics(trail.prefix + topic, 10).topics[trail.prefix + topic].partitions
    for partition in partitions:
        for one in poisons:
            headers: Any = list(one.headers)  # the driver takes names of bytes, whatever its types say
            producer.produce(
                trail.prefix + topic,
                one.value,
                one.key,
                partition,
                headers=headers,
                on_delivery=lambda error, _: None if error else taken.append(None),
            )
            producer.poll(0)
    assert producer.flush(60) == 0
    return len(taken)


def reasons(letters: TopicTail) -> Counter[str]:
    """Count the dead letters so far by reason."""
    return Counter(one.event["reason"] for one in letters.read())


def test_partials_beside_poison_are_folded(kafka: Kafka, tmp_path: Path) -> None:
    trail = fresh_trail(kafka.bootstrap_servers)
    truth = Truth(random.Random(5), time.time_ns())
    cursor = Role(["ingest", "--roles", "statistics"], trail, tmp_path / "cursor")
    aggregator = Role(["aggregate"], trail, tmp_path / "aggregator")
    published = Published(trail)
    with started(aggregator, cursor):
        poisoned(trail, GPU, POISONS * FLOOD)
        expected = poisoned(trail, PARTIALS, POISONS)
        trail.produce(truth.events(200))
        eventually(lambda: published.read().equals(truth), SETTLED_S_MAX)
        expected += poisoned(trail, PARTIALS, [*POISONS * FLOOD, *LARGE])
        trail.produce(truth.events(200))
        eventually(lambda: published.read().equals(truth), SETTLED_S_MAX)
        # One dead letter for each record.
        letters = TopicTail(trail.servers, trail.prefix + DEAD_LETTERS, trail.partitions)
        eventually(lambda: reasons(letters)["bad_partial"] == expected, SETTLED_S_MAX)
        letters.close()


@dataclass
class House:
    """Every role as a process of its own, over topics that others write to."""

    trail: Trail
    roles: dict[str, Role]
    store: WebHouse

    def ask(self, url: str, path: str, body: bytes | None = None) -> Any:
        token = urlsplit(url).password
        headers = {"content-type": "application/x-ndjson"} | ({"authorization": f"Bearer {token}"} if token else {})
        connection = http.client.HTTPConnection(urlsplit(url).hostname or "", urlsplit(url).port, timeout=30)
        with closing(connection):
            connection.request("GET" if body is None else "POST", path, body, headers)
            return connection.getresponse().read().decode()

    def count(self, rows: str) -> int:
        """Count rows of a table."""
        text = self.ask(self.store.sql_url, "/", f"SELECT count() FROM llmtrail.{rows}".encode())
        return int(text) if text.strip().isdigit() else -1

    def send(self, turn: int) -> None:
        """Send one record of each kind by the gateway."""
        at_ns, url = time.time_ns(), self.roles["ingest"].url()
        call = {"started_at": at_ns, "request_model": "gpt-4o-mini", "provider": "openai", "feature": "search"}
        usage = {"input_tokens": 20_000_000 * turn, "output_tokens": 0}
        bad = {"started_at": "yesterday", "request_model": "m"}
        body = "\n".join(json.dumps(one) for one in (call | {"usage": usage}, bad))
        assert '"reason":"bad_time"' in self.ask(url, "/v1/calls", body.encode())
        gpu = GpuSample(sampled_at_ns=at_ns, host=f"node-{turn}", gpu_uuid="GPU-a", utilization=0.5)
        scrape = GpuScrape(sampled_at_ns=at_ns, host=f"node-{turn}", target="t", gpus=(gpu,))
        self.ask(url, "/v1/gpu", encode_scrape(scrape))
        spans = admit_spans([span(turn, None, chat(), trace_id=f"{turn:032x}")], ContentPolicy.FULL, "").appends[0]
        producer = Producer(self.trail.client)
        producer.produce(self.trail.prefix + SPANS, spans.values[0], spans.keys[0])
        assert producer.flush(30) == 0

    def missing(self, turn: int) -> list[str]:
        """Return what was sent and has not come to where it is asked for."""
        web = self.roles["web"].url()
        came = {
            "calls": self.count("calls WHERE feature = 'search'") == turn,
            "spans": self.count(f"calls WHERE trace_id = '{turn:032x}'") == 1,
            "letters": self.count("dead_letters WHERE reason = 'bad_time'") >= turn,
            "samples": self.count(f"gpu_samples WHERE host = 'node-{turn}'") == 1,
            "gpu statistics": f"node-{turn}" in self.ask(web, "/v1/gpu?window=5m"),
            "statistics": f'"calls":{turn},' in self.ask(web, "/v1/stats?window=1h&kind=feature"),
            "limits": '"hard"' in self.ask(self.roles["ingest"].url(), "/v1/limits"),
        }
        return [what for what, is_there in came.items() if not is_there]

    def not_ready(self) -> list[str]:
        """Return what roles say that are not ready."""
        answers = [self.ask(role.url(), "/readyz") for role in self.roles.values()]
        return [answer for answer in answers if not json.loads(answer)["ready"]]

    def unread(self) -> set[str]:
        """Return the topics of which roles have counted records that they cannot read."""
        lines = [line for role in self.roles.values() for line in self.ask(role.url(), "/metrics").splitlines()]
        counted = (line for line in lines if line.startswith("llmtrail_log_unreadable_records_total{"))
        return {line.split('"')[1] for line in counted if float(line.rpartition(" ")[2])}


@pytest.fixture
def house(kafka: Kafka, tmp_path: Path) -> Iterator[House]:
    trail = fresh_trail(kafka.bootstrap_servers)
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged)
        store = stack.enter_context(serving_store(tmp_path / "store"))
        settings = {"LLMTRAIL_STORE__URL": store.sql_url, "LLMTRAIL_ALERTS__FOLDER": str(tmp_path / "rules")}
        words: dict[str, list[str]] = {"ingest": [], "aggregate": [], "alert": [], "web": ["--sql-port", "0"]}
        roles = {name: Role([name, *more], trail, tmp_path / name, settings) for name, more in words.items()}
        for topic in TOPICS.values():
            assert poisoned(trail, topic, POISONS)
        stack.enter_context(started(*roles.values()))
        yield House(trail, roles, store)


def test_every_role_starts_and_works_on_beside_every_poison_on_every_topic(house: House) -> None:
    house.send(1)
    eventually(lambda: house.missing(1) == [], HOUSE_S_MAX)
    for topic in TOPICS.values():
        assert poisoned(house.trail, topic, [*POISONS * 5, *(LARGE if topic in WIDE else ())])
    house.send(2)
    eventually(lambda: house.missing(2) == [], HOUSE_S_MAX)
    # Those of calls are told by what became of events.
    eventually(lambda: house.unread() == set(TOPICS.values()) - {CALLS}, HOUSE_S_MAX)
    assert 'fate="rejected"' in house.ask(house.roles["ingest"].url(), "/metrics")
    eventually(lambda: house.not_ready() == [], HOUSE_S_MAX)
