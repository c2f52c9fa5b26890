"""GPU samples over a real Kafka: posted to a gateway, written by a group that loses a member, each once."""

import random
import time
import urllib.request
from base64 import b64encode
from pathlib import Path

from confluent_kafka import Consumer, Message, TopicPartition

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import NS, Role, started
from kafka_writers import Trail, fresh_trail
from llmtrail.clock import SystemClock
from llmtrail.core.gpu import SCRAPE_BYTES_MAX, GpuSample, GpuScrape, Reason, RejectedLine, encode_scrape
from llmtrail.emit.answer import Taken
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import open_http
from llmtrail_gpu.delivery import KafkaScrapes
from web_house import serving_store

SETTLED_S_MAX = 60.0
BODIES = 4
SCRAPES = 60
NODES = 12


def _body(number: int, began_ns: int) -> bytes:
    lines = []
    for place in range(SCRAPES):
        host, at_ns = f"node-{place % NODES}", began_ns + (number * SCRAPES + place) * NS
        gpu = GpuSample(sampled_at_ns=at_ns, host=host, gpu_uuid=f"GPU-{host}", utilization=0.5)
        lines.append(encode_scrape(GpuScrape(sampled_at_ns=at_ns, host=host, target="t", gpus=(gpu,))))
    return b"\n".join(lines)


def _post(url: str, body: bytes) -> int:
    request = urllib.request.Request(f"{url}/v1/gpu", body, {"content-type": "application/x-ndjson"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def _stored(url: str, sql: str) -> list[tuple[object, ...]]:
    try:
        handle = open_http(url)
    except StoreError:
        return []
    try:
        return [tuple(row) for row in handle.query(sql)]
    finally:
        handle.close()


def test_every_sample_is_stored_once_though_a_writer_is_killed(kafka: Kafka, tmp_path: Path) -> None:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=4)
    # Old enough for their five minutes to be over.
    began_ns = time.time_ns() - 3_600 * NS
    with serving_store(tmp_path / "store") as web:
        url = web.sql_url
        writers = [
            Role(["ingest", "--roles", "rows"], trail, tmp_path / name, {"LLMTRAIL_STORE__URL": url})
            for name in ("one", "other")
        ]
        gateway = Role(["ingest", "--roles", "gateway"], trail, tmp_path / "gateway")
        with started(*writers, gateway):
            counted = "SELECT count(), uniqExact(host) FROM llmtrail.gpu_samples"
            for number in range(BODIES - 1):
                assert _post(gateway.url(), _body(number, began_ns)) == 200
            eventually(lambda: _stored(url, counted) == [((BODIES - 1) * SCRAPES, NODES)], SETTLED_S_MAX)
            writers[0].kill()
            # The same as before, and more, while a member is missing.
            for number in range(BODIES):
                assert _post(gateway.url(), _body(number, began_ns)) == 200
            eventually(lambda: _stored(url, counted) == [(BODIES * SCRAPES, NODES)], SETTLED_S_MAX)
            rolled = "SELECT sum(samples) FROM llmtrail.gpu_5m"
            eventually(lambda: _stored(url, rolled) == [(BODIES * SCRAPES,)], SETTLED_S_MAX)


def _read(trail: Trail, records: int) -> list[Message]:
    """Return the first records of `llm.gpu`, all its partitions together."""
    consumer = Consumer({**trail.client, "group.id": "test", "enable.auto.commit": False})
    found: list[Message] = []

    def is_read() -> bool:
        found.extend(consumer.consume(records - len(found), 0.5))
        return len(found) == records

    try:
        topic = f"{trail.prefix}llm.gpu"
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(trail.partitions)])
        eventually(is_read, SETTLED_S_MAX)
        return found
    finally:
        consumer.close()


def test_a_collector_delivers_straight_to_kafka_each_nodes_scrapes_in_order(kafka: Kafka) -> None:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=2)
    small = [
        (f"node-{node}", encode_scrape(GpuScrape(sampled_at_ns=second, host=f"node-{node}", target="t")))
        for second in range(20)
        for node in range(3)
    ]
    # Nearly as much as a scrape may hold, of text that compresses badly.
    noise = random.Random(6)
    lines = [RejectedLine(b64encode(noise.randbytes(330)).decode(), Reason.MALFORMED) for _ in range(8_500)]
    large = encode_scrape(GpuScrape(sampled_at_ns=0, host="node-3", target="t", rejected=tuple(lines)))
    assert 0.9 * SCRAPE_BYTES_MAX < len(large) <= SCRAPE_BYTES_MAX
    scrapes = KafkaScrapes(trail.client, trail.prefix, SystemClock())
    try:
        assert scrapes.post([value for _, value in small]) == Taken(60)
        assert scrapes.post([large]) == Taken(1)
    finally:
        scrapes.close()
    found = _read(trail, 61)
    by_node: dict[str, list[bytes]] = {}
    for message in found:
        by_node.setdefault((message.key() or b"").decode(), []).append(message.value() or b"")
        assert message.headers() == [("source", b"collector"), ("schema", b"gpu.v1")]
    assert by_node.pop("node-3") == [large]
    assert by_node == {f"node-{node}": [value for name, value in small if name == f"node-{node}"] for node in range(3)}
