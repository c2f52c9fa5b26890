"""Statistics of GPUs over a real Kafka: a worker is killed, and what is told equals the same scrapes in one process."""

import json
import os
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from eventually import eventually
from kafka_here import Kafka
from kafka_roles import NS, Role, started
from kafka_writers import Trail, fresh_trail
from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape, encode_scrape
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.gpu_document import GpuQuestion, gpu_document
from llmtrail.core.times import to_ns
from llmtrail.core.window import Window
from llmtrail.log.port import GPU

SETTLED_S_MAX = 60.0
NODES = 5


def _scrapes(began_ns: int, first: int, last: int) -> list[bytes]:
    values = []
    for turn in range(first, last):
        for node in range(NODES):
            host, at_ns = f"node-{node}", began_ns + (turn * 15 + node) * NS
            gpu = GpuSample(
                sampled_at_ns=at_ns,
                host=host,
                gpu_uuid=f"GPU-{host}",
                utilization=turn % 7 / 7,
                ecc_corrected=turn * 3 % 40,
                xid=79 if turn == 11 else None,
                throttle_reasons=("hw_thermal",) if turn % 3 else (),
            )
            engine = EngineSample(sampled_at_ns=at_ns, host=host, address="a:1", engine=Engine.VLLM, waiting=turn)
            scrape = GpuScrape(sampled_at_ns=at_ns, host=host, target="t", gpus=(gpu,), engines=(engine,))
            values.append(encode_scrape(scrape))
    return values


def _produce(trail: Trail, values: list[bytes]) -> None:
    producer = Producer(trail.client)
    for value in values:
        producer.produce(trail.prefix + GPU, value, json.loads(value)["host"])
    assert producer.flush(30) == 0


def _in_one_process(trail: Trail) -> GpuBoard:
    """Return a board that took every record of `llm.gpu`, as one process does."""
    board = GpuBoard()
    consumer = Consumer({**trail.client, "group.id": "nobody", "enable.auto.commit": False})
    places = [TopicPartition(trail.prefix + GPU, partition, 0) for partition in range(trail.partitions)]
    left = sum(consumer.get_watermark_offsets(place, 10)[1] for place in places)
    consumer.assign(places)
    while left:
        for message in consumer.consume(left, 1.0):
            value = message.value()
            assert value is not None
            board.take_value(value, message.timestamp()[1] * 1_000_000)
            left -= 1
    consumer.close()
    return board


def _metrics(url: str) -> str:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        return str(answer.read().decode())


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=30):
            return True
    except urllib.error.HTTPError:
        return False


def _told(url: str, window: Window) -> Any:
    with urllib.request.urlopen(f"{url}/v1/gpu?window={window}", timeout=30) as answer:
        return json.load(answer)


def _same(url: str, board: GpuBoard) -> bool:
    for window in (Window.FIVE_MINUTES, Window.HOUR):
        told = _told(url, window)
        if told != json.loads(json.dumps(gpu_document(board, GpuQuestion(window), to_ns(told["now"])))):
            return False
    return True


def test_what_is_told_equals_one_process_though_a_worker_is_killed(kafka: Kafka, tmp_path: Path) -> None:
    trail = fresh_trail(kafka.bootstrap_servers, partitions=3)
    began_ns = time.time_ns() - 900 * NS
    aggregator = Role(["aggregate"], trail, tmp_path / "aggregator")
    web = Role(["web", "--sql-port", "0"], trail, tmp_path / "web")
    with started(aggregator, web):
        first = _scrapes(began_ns, 0, 30)
        _produce(trail, [*first, *first[40:60], b'{"host": "node-1"}'])
        url = web.url()
        eventually(lambda: _is_ready(url), SETTLED_S_MAX)
        eventually(lambda: len(_told(url, Window.HOUR)["devices"]) == NODES, SETTLED_S_MAX)
        worker = aggregator.worker_pid()
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        _produce(trail, [*first[-10:], *_scrapes(began_ns, 30, 61)])
        board = _in_one_process(trail)
        eventually(lambda: _same(url, board), SETTLED_S_MAX)
        assert {one["samples"] for one in _told(url, Window.HOUR)["devices"]} == {61}
        # Its supervisor watches over the commits of both topics.
        eventually(lambda: 'topic="llm.gpu"' in _metrics(aggregator.url()), SETTLED_S_MAX)
        assert 'llmtrail_gpu_stats_scrapes{fate="bad"}' in _metrics(aggregator.url())
