"""Any language may produce to `llm.calls`: the guide's Node example does, and its events are as the SDK's."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from eventually import eventually
from kafka_here import Kafka, StartBroker
from kafka_topic import Found, TopicTail, partition_of
from kafka_writers import Trail, fresh_trail
from llmtrail.clock import SystemClock
from llmtrail.core.codec import decode_call
from llmtrail.core.ids import log_key
from llmtrail.emit.answer import Taken
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.kafka import KafkaPoster
from llmtrail.schemas import schema_folder
from node_example import placed, run_node

_PARTITIONS = 7
_WAIT_S = 30.0


@pytest.fixture
def trail(kafka: Kafka) -> Trail:
    return fresh_trail(kafka.bootstrap_servers, _PARTITIONS)


@pytest.fixture
def tail(trail: Trail) -> Iterator[TopicTail]:
    reading = TopicTail(trail.servers, trail.topic, _PARTITIONS)
    yield reading
    reading.close()


def environment(trail: Trail) -> dict[str, str]:
    return {**os.environ, "LLMTRAIL_KAFKA": trail.servers, "LLMTRAIL_KAFKA__TOPIC_PREFIX": trail.prefix}


def check(found: Found, rules: jsonschema.Draft202012Validator) -> None:
    """Hold a record against the schema, the codec, the key's rule and Java's partitioner."""
    rules.validate(found.event)
    call = decode_call(found.value)
    assert call.call_id is not None
    assert call.call_id[14] == "7"
    key = log_key(call.call_id).encode()
    assert (found.key, found.partition) == (key, partition_of(key, _PARTITIONS))
    assert found.headers == {"source": "sdk", "schema": "call.v1"}


def once_each(found: list[Found]) -> list[Found]:
    """Return each call once: kafkajs may send a batch again, but then byte for byte, so that the id tells."""
    first: dict[str, Found] = {}
    for one in found:
        assert first.setdefault(one.event["call_id"], one).value == one.value
    return list(first.values())


def places(found: list[Found]) -> dict[str, tuple[bytes | None, int, object]]:
    return {one.event["call_id"]: (one.key, one.partition, one.headers) for one in found}


def schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((schema_folder() / "events" / "call.v1.json").read_text()))


def test_the_example_sends_two_valid_calls(trail: Trail, tail: TopicTail, tmp_path: Path) -> None:
    assert run_node(placed(tmp_path), "example.js", environment(trail)) == "2 sent, 0 dropped\n"
    eventually(lambda: len(tail.read()) >= 2, _WAIT_S)
    rules = schema()
    for found in tail.found:
        check(found, rules)
    calls = {found.event["request_id"]: decode_call(found.value) for found in tail.found}
    assert calls["r-42"].response_model == "gpt-4o-mini-2024-07-18"
    assert calls["r-43"].error is not None


_MANY = """
import { Trail } from "./trail.js";
const trail = new Trail({
  brokers: [process.env.LLMTRAIL_KAFKA],
  topicPrefix: process.env.LLMTRAIL_KAFKA__TOPIC_PREFIX,
});
for (let n = 0; n < 1500; n += 1) {
  const request = n % 3 === 0 ? {} : { request_id: "\u00e9\u4e2d\U0001f600".repeat(n % 5) + `request-${n}` };
  const trace = n % 4 === 0 ? { trace_id: n.toString(16).padStart(32, "0") } : {};
  trail.record({ request_model: "m", attributes: { n }, ...request, ...trace });
}
trail.record({ messages: [] });
trail.record({ request_model: "m", messages: "x".repeat(7_900_000) });
console.log(JSON.stringify(await trail.close(60_000)));
"""


def test_its_keys_land_on_the_partitions_of_the_sdks(trail: Trail, tail: TopicTail, tmp_path: Path) -> None:
    folder = placed(tmp_path)
    (folder / "many.js").write_text(_MANY, encoding="utf-8")
    printed = json.loads(run_node(folder, "many.js", environment(trail)))
    # A call without a model and one that is too large are counted and hold nothing up.
    assert printed == {"recorded": 1502, "sent": 1500, "dropped": 2}
    eventually(lambda: set(tail.numbers()) >= set(range(1500)), _WAIT_S)
    calls = once_each(tail.found)
    assert sorted(found.number for found in calls) == list(range(1500))
    rules = schema()
    for found in calls:
        check(found, rules)

    # The SDK's own client, given the very same events, puts each where Node did.
    twin = fresh_trail(trail.servers, _PARTITIONS)
    poster = KafkaPoster(EmitConfig(kafka=twin.servers, kafka_prefix=twin.prefix), SystemClock())
    for first in range(0, 1500, 500):
        assert poster.post([found.value for found in calls[first : first + 500]]) == Taken(500)
    poster.close()
    reading = TopicTail(twin.servers, twin.topic, _PARTITIONS)
    eventually(lambda: len(reading.read()) >= 1500, _WAIT_S)
    assert places(reading.found) == places(calls)
    reading.close()


_RESTART = """
import { Trail } from "./trail.js";
import { existsSync, writeFileSync } from "node:fs";
const trail = new Trail({
  brokers: [process.env.LLMTRAIL_KAFKA],
  topicPrefix: process.env.LLMTRAIL_KAFKA__TOPIC_PREFIX,
});
let n = 0;
while (!existsSync("stop")) {
  trail.record({ request_model: "m", attributes: { n } });
  n += 1;
  if (trail.counts.sent > 300) writeFileSync("running", "");
  await new Promise((resolve) => setTimeout(resolve, 2));
}
console.log(JSON.stringify(await trail.close(60_000)));
"""


def test_a_broker_killed_and_started_again_loses_nothing_of_its(own_kafka: StartBroker, tmp_path: Path) -> None:
    broker = own_kafka()
    trail = fresh_trail(broker.bootstrap_servers)
    folder = placed(tmp_path)
    (folder / "steady.js").write_text(_RESTART, encoding="utf-8")
    with subprocess.Popen(
        ["node", "steady.js"], cwd=folder, env=environment(trail), stdout=subprocess.PIPE, text=True
    ) as process:
        eventually((folder / "running").exists, _WAIT_S)
        broker.kill()
        broker.restart()
        (folder / "stop").touch()
        printed, _ = process.communicate(timeout=90)
    counts = json.loads(printed)
    assert counts["recorded"] == counts["sent"] > 300
    tail = TopicTail(trail.servers, trail.topic, trail.partitions)
    eventually(lambda: len(set(tail.numbers())) >= counts["sent"], _WAIT_S)
    assert sorted(found.number for found in once_each(tail.read())) == list(range(counts["recorded"]))
    tail.close()
