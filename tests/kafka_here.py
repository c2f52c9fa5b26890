"""A real Kafka for tests: one that is named, else one of our own, else a container. Knows nothing of what is tested."""

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmtrail.testing.kafka_broker import LocalBroker
from llmtrail.testing.kafka_jars import NoKafkaError

IMAGE = "confluentinc/cp-kafka:8.1.1"  # Kafka 4.1.1, the version that infra/kafka/pom.xml pins


@dataclass(frozen=True, slots=True)
class Kafka:
    """Where a Kafka answers, and how it was had."""

    bootstrap_servers: str
    kind: str


StartBroker = Callable[..., LocalBroker]


def fresh_prefix() -> str:
    """Return a prefix for the names of topics and groups that no other test has."""
    return f"t{secrets.token_hex(6)}."


@contextmanager
def kafka_here(folder: Path, environ: Mapping[str, str] = os.environ) -> Iterator[Kafka]:
    """Give a Kafka for as long as it is needed; skip the test where none can be had, and say what each way lacked."""
    named = environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if named:
        yield Kafka(named, "KAFKA_BOOTSTRAP_SERVERS")
        return
    with ExitStack() as stack:
        try:
            found = _own_or_container(folder, stack)
        except NoKafkaError as error:
            pytest.skip(f"NO KAFKA HERE: {error}")
        yield found


def _own_or_container(folder: Path, stack: ExitStack) -> Kafka:
    try:
        broker = LocalBroker.start(folder)
    except NoKafkaError as error:
        no_broker = error
    else:
        # Nothing of its data is wanted: it need not end in order.
        stack.callback(broker.kill)
        return Kafka(broker.bootstrap_servers, "local broker")
    try:
        return Kafka(stack.enter_context(_container()), "container")
    except NoKafkaError as no_container:
        raise NoKafkaError(f"{no_broker} No container either: {no_container}") from no_container


@contextmanager
def _container() -> Iterator[str]:
    """Run Kafka in a container; raise NoKafkaError where no Docker engine answers."""
    import docker  # noqa: PLC0415  # only where it is needed: the import takes a second
    from docker.errors import DockerException  # noqa: PLC0415
    from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415

    try:
        docker.from_env().close()
    except DockerException as cause:
        raise NoKafkaError("no Docker engine answers.") from cause
    container = KafkaContainer(IMAGE).with_kraft()
    container.with_env("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "false")
    container.with_env("KAFKA_MESSAGE_MAX_BYTES", str(16 * 1024 * 1024))
    container.with_env("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0")
    container.with_env("KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS", "1000")
    with container:
        yield container.get_bootstrap_server()


@contextmanager
def own_brokers(folder: Path) -> Iterator[StartBroker]:
    """Give a function that starts brokers of the test's own, each in a folder of its name, and end them all."""
    with ExitStack() as stack:

        def start(
            name: str = "broker", port: int | None = None, properties: Mapping[str, str] | None = None
        ) -> LocalBroker:
            try:
                broker = LocalBroker.start(folder / name, port, properties=properties)
            except NoKafkaError as error:
                pytest.skip(f"NO KAFKA HERE: {error}")
            stack.callback(_end, broker)
            return broker

        yield start


def _end(broker: LocalBroker) -> None:
    if broker.is_running():
        broker.kill()
