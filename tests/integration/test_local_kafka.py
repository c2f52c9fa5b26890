"""The broker that tests run on is a real Kafka: it keeps what it acknowledged over kill, freeze and restart."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from eventually import eventually
from kafka_here import Kafka, StartBroker, fresh_prefix
from llmtrail.testing.kafka_broker import LocalBroker, answers, free_port
from llmtrail.testing.kafka_jars import NoKafkaError

ROOT = Path(__file__).parents[2]
QUIET = {"log_level": 0}
WAIT_S = 30


def _make_topic(servers: str, name: str) -> None:
    client = AdminClient({"bootstrap.servers": servers, **QUIET})
    client.create_topics([NewTopic(name, 1, 1)])[name].result(WAIT_S)


def _send(servers: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": servers, "acks": "all"} | QUIET)
    failed: list[object] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(WAIT_S) == 0
    assert failed == []


def _read(servers: str, topic: str, count: int) -> list[bytes | None]:
    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic, "enable.auto.commit": False} | QUIET)
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, WAIT_S)]
    finally:
        consumer.close()


def test_the_shared_kafka_takes_topics_and_gives_back_what_was_sent(kafka: Kafka) -> None:
    topic = f"{fresh_prefix()}calls"
    _make_topic(kafka.bootstrap_servers, topic)
    _send(kafka.bootstrap_servers, topic, [b"a", b"b"])
    assert _read(kafka.bootstrap_servers, topic, 2) == [b"a", b"b"]


def test_a_mistyped_topic_is_not_made(kafka: Kafka) -> None:
    topic = f"{fresh_prefix()}mistyped"
    client = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, **QUIET})
    assert client.list_topics(topic, timeout=WAIT_S).topics[topic].error is not None
    assert topic not in client.list_topics(timeout=WAIT_S).topics


def test_a_killed_broker_comes_back_on_its_port_with_what_it_acknowledged(own_kafka: StartBroker) -> None:
    broker = own_kafka()
    _make_topic(broker.bootstrap_servers, "calls")
    _send(broker.bootstrap_servers, "calls", [b"%d" % number for number in range(100)])
    address, former = broker.bootstrap_servers, broker.pid

    broker.kill()
    assert not broker.is_up()
    assert not broker.is_running()
    broker.restart()

    assert broker.bootstrap_servers == address
    assert broker.pid != former
    assert _read(address, "calls", 100) == [b"%d" % number for number in range(100)]
    with pytest.raises(NoKafkaError, match=r"runs on .* already"):
        LocalBroker.start(broker.folder)

    broker.freeze()
    assert not broker.is_up()
    broker.thaw()
    eventually(broker.is_up, WAIT_S)

    broker.stop()
    assert not broker.is_running()
    assert LocalBroker.find(broker.folder) is None


def test_an_owned_broker_ends_with_a_process_that_was_killed(kafka: Kafka, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from llmtrail.testing.kafka_broker import LocalBroker;"
        f"print(LocalBroker.start(Path({str(tmp_path)!r})).port, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        port = int(starter.stdout.readline())
        assert answers(port)
        starter.send_signal(signal.SIGKILL)
    eventually(lambda: not answers(port), WAIT_S)
    eventually(lambda: LocalBroker.find(tmp_path) is None, WAIT_S)


def test_settings_that_kafka_does_not_take_are_told_with_its_own_words(kafka: Kafka, tmp_path: Path) -> None:
    with pytest.raises(NoKafkaError, match=r"num\.io\.threads"):
        LocalBroker.start(tmp_path, properties={"num.io.threads": "none"})


def test_one_command_starts_a_broker_and_one_ends_it(kafka: Kafka, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(ROOT / "infra" / "kafka" / "kafka"), *arguments, "--folder", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))

    assert run("status").returncode == 1
    try:
        started = run("start", "--set", "log.flush.interval.messages=1")
        told = re.fullmatch(r"KAFKA_BOOTSTRAP_SERVERS=127\.0\.0\.1:(\d+)\n", started.stdout)
        assert told is not None, started.stderr
        assert answers(int(told[1]))
        assert "log.flush.interval.messages=1\n" in (tmp_path / "server.properties").read_text()
        assert run("start").stdout == started.stdout
        assert run("status").stdout == started.stdout
    finally:
        assert run("stop").returncode == 0
    assert not answers(int(told[1]))
    assert run("status").returncode == 1


def test_ports_of_brokers_are_not_those_that_systems_give_to_clients() -> None:
    assert all(port < 32_768 for port in (free_port() for _ in range(100)))
    assert not answers(free_port())
