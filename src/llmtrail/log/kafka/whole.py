"""A topic from its first record to its last, and where groups begin on it: for moves, not for every day's reading."""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, cast

from llmtrail.log.kafka.headers import headers_of
from llmtrail.log.kafka.notes import to_metadata

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
    from confluent_kafka.admin import AdminClient
except ImportError as error:
    raise ImportError("Kafka needs a driver; install it with: pip install 'llmtrail[kafka]'") from error

ANSWER_S_MAX = 10.0
# A broker that sends nothing for so long, though there is more, is away.
SILENCE_S_MAX = 30.0
_MESSAGES_PER_READ = 2_000
# A read returns when this is over, however much has come: a topic of few records is read in a few of them.
_READ_S = 0.05

_CONSUMER: Mapping[str, Any] = {
    "group.id": "llmtrail.move",  # never joined, never committed
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    # Brokers hold back the news that a partition ends for this long; nobody else fetches here.
    "fetch.wait.max.ms": 10,
    "check.crcs": True,
    "log_level": 0,
}


class TopicSilentError(RuntimeError):
    """The brokers stopped answering in the middle of a topic, or refused it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as a topic keeps it."""

    partition: int
    offset: int
    key: bytes
    value: bytes | None  # None: a tombstone
    headers: Mapping[str, str]


def read_whole(client: Mapping[str, str], topic: str, partitions: int) -> Iterator[Kept]:
    """Return every record that a topic holds now, in order within a partition; raises TopicSilentError."""
    consumer = Consumer({**client, **_CONSUMER})
    try:
        filled = [(partition, low) for partition, (low, high) in _bounds(consumer, topic, partitions) if low < high]
        consumer.assign([TopicPartition(topic, partition, low) for partition, low in filled])
        left = {partition for partition, _ in filled}
        silent_s = 0.0
        while left:
            messages = consumer.consume(_MESSAGES_PER_READ, _READ_S)
            silent_s = 0.0 if messages else silent_s + _READ_S
            if silent_s > SILENCE_S_MAX:
                raise TopicSilentError(f"{topic}: the brokers told nothing for {SILENCE_S_MAX:.0f} s.")
            for message in messages:
                error = message.error()
                if error is None:
                    told = headers_of(message)
                    headers = {name: (text or b"").decode("utf-8", "replace") for name, text in told}
                    place = cast("int", message.partition()), cast("int", message.offset())
                    yield Kept(*place, message.key() or b"", message.value(), headers)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the driver's public constant
                    left.discard(cast("int", message.partition()))
                elif not error.retriable():
                    raise TopicSilentError(f"{topic}: {error.str()}")
    finally:
        consumer.close()


def acknowledged(sent: "Future[list[int]]", topic: str, timeout_s: float) -> None:
    """Wait until the brokers have what was sent; raises TopicSilentError where they do not say so."""
    try:
        sent.result(timeout_s)
    except KafkaException as cause:
        raise TopicSilentError(f"{topic}: {cause.args[0].str()}") from cause
    except TimeoutError as cause:
        raise TopicSilentError(f"{topic}: the brokers acknowledged nothing for {timeout_s:.0f} s.") from cause


def topic_ends(client: Mapping[str, str], topic: str, partitions: int) -> dict[int, int]:
    """Return the offset after the last record of each partition."""
    consumer = Consumer({**client, **_CONSUMER})
    try:
        return {partition: high for partition, (_, high) in _bounds(consumer, topic, partitions)}
    finally:
        consumer.close()


def _bounds(consumer: Consumer, topic: str, partitions: int) -> list[tuple[int, tuple[int, int]]]:
    try:
        return [
            (partition, consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S_MAX))
            for partition in range(partitions)
        ]
    except KafkaException as cause:
        raise TopicSilentError(f"{topic}: {cause.args[0].str()}") from cause


def busy_groups(client: Mapping[str, str], groups: Collection[str]) -> list[str]:
    """Return those of the groups that have a member now."""
    admin = AdminClient({**client, "log_level": 0})
    try:
        listed = admin.list_consumer_groups(request_timeout=ANSWER_S_MAX).result(ANSWER_S_MAX)
        # Brokers take the question about a group that never was for an error.
        there = sorted({group.group_id for group in listed.valid} & set(groups))
        if not there:
            return []
        told = admin.describe_consumer_groups(there, request_timeout=ANSWER_S_MAX)
        return [name for name, future in told.items() if future.result(ANSWER_S_MAX).members]
    except KafkaException as cause:
        raise TopicSilentError(f"the groups are not told: {cause.args[0].str()}") from cause


def place_group(client: Mapping[str, str], group: str, topic: str, topic_id: str, ends: Mapping[int, int]) -> None:
    """Let a group without members begin at these offsets; raises TopicSilentError where the brokers refuse."""
    note = to_metadata(topic_id, ())
    places = [TopicPartition(topic, partition, offset, note) for partition, offset in ends.items()]
    consumer = Consumer({**client, **_CONSUMER, "group.id": group})
    try:
        answers = consumer.commit(offsets=places, asynchronous=False) or ()
    except KafkaException as cause:
        raise TopicSilentError(f"{group} could not be placed: {cause.args[0].str()}") from cause
    finally:
        consumer.close()
    for answer in answers:
        if answer.error is not None:
            raise TopicSilentError(f"{group} could not be placed: {answer.error.str()}")
