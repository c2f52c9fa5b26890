"""C4 over a real Kafka: records of two tenants with the same ids, by the header that says whose they are."""

import json
from typing import Any

import pytest
from confluent_kafka import Producer

from eventually import eventually
from kafka_here import Kafka
from kafka_writers import RememberingSink, Trail, fresh_trail
from llmtrail.core.ids import log_key, uuid7
from llmtrail_ingest.tally import CountingTally, Fate

NOW_NS = 1_790_000_000_000_000_000
JOIN_S_MAX = 40.0


def event(number: int, **fields: Any) -> dict[str, Any]:
    call_id = uuid7(NOW_NS + number * 1_000_000, number.to_bytes(10, "big"))
    return {"call_id": call_id, "started_at": NOW_NS, "request_model": "gpt-4o-mini"} | fields


def produce(trail: Trail, records: list[tuple[dict[str, Any], str]]) -> None:
    """Produce events in order, each with the header of its tenant ("": none)."""
    producer = Producer({**trail.client, "partitioner": "murmur2_random", "acks": "all"})
    for value, tenant in records:
        headers: dict[str, str | bytes | None] = {"tenant": tenant} if tenant else {}
        producer.produce(trail.topic, json.dumps(value).encode(), log_key(value["call_id"]).encode(), headers=headers)
    assert producer.flush(30) == 0


@pytest.mark.attack("C4", "produces another tenant's ids to Kafka: first, in between and last, and revises its calls")
@pytest.mark.parametrize("batch_rows", [2, 10_000])
def test_records_of_two_tenants_with_one_id_are_two_calls(kafka: Kafka, batch_rows: int) -> None:
    trail = fresh_trail(kafka.bootstrap_servers)
    records: list[tuple[dict[str, Any], str]] = []
    for number in range(30):
        mine, forged = event(number, user_id="alice"), event(number, revision=7, user_id="mallory", tenant="acme")
        later = event(number, revision=2, feature="chat")
        order = [[(forged, "evil"), (mine, "acme")], [(mine, "acme"), (forged, "evil")], [(forged, "evil"), (mine, "")]]
        # The third is a sender without a tenant, which states one and later leaves it out.
        first = order[number % 3]
        if number % 3 == 2:
            first = [(forged, "evil"), (mine | {"tenant": "acme"}, "")]
        records += [*first, (later, first[0][1] if first[0][0] is mine else first[1][1]), (forged, "evil")]
    produce(trail, records)
    sink, tally = RememberingSink(), CountingTally()
    reader = trail.reader(sink, batch_rows=batch_rows, tally=tally)
    reader.start()
    try:
        eventually(lambda: tally.total(Fate.STORED) + tally.total(Fate.SKIPPED) == len(records), JOIN_S_MAX)
    finally:
        reader.stop()
    assert {tenant for tenant, _ in sink.rows} == {"acme", "evil"}
    assert len(sink.rows) == 60
    assert not sink.letters
    for (tenant, _), row in sink.rows.items():
        wanted = (2, "alice", "chat") if tenant == "acme" else (7, "mallory", None)
        assert (row.call.revision, row.call.user_id, row.call.feature) == wanted
    assert (tally.total(Fate.STORED), tally.total(Fate.SKIPPED)) == (90, 30)
