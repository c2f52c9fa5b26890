"""GPU samples over a real Kafka: posted to a gateway, written by a group that loses a member, each once."""

import time
import urllib.request
from pathlib import Path

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import NS, Role, started
from kafka_writers import fresh_trail
from llmtrail.core.gpu import GpuSample, GpuScrape, encode_scrape
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import open_http
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
