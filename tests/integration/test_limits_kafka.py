"""Limits read from a real Kafka's compacted topic, without a group: whole from the start, then as they change."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from eventually import eventually
from kafka_here import Kafka, fresh_prefix
from limits_house import hard_limit
from llmtrail.clock import SystemClock
from llmtrail.core.limit import LimitState, encode_limit
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.limit_source import LimitsAwayError, TopicLimits, limit_source
from llmtrail.emit.limits import Limits, LimitsMode
from llmtrail.log.port import LIMITS


@pytest.fixture
def prefix(kafka: Kafka) -> str:
    prefix = fresh_prefix()
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})
    topic = NewTopic(prefix + LIMITS, 1, 1, config={"cleanup.policy": "compact"})
    admin.create_topics([topic])[prefix + LIMITS].result(20)
    return prefix


def publish(kafka: Kafka, prefix: str, changes: Mapping[str, LimitState | None]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "acks": "all"})
    for key, limit in changes.items():
        producer.produce(prefix + LIMITS, None if limit is None else encode_limit(limit), key.encode())
    assert producer.flush(20) == 0


@contextmanager
def listening(config: EmitConfig) -> Iterator[Limits]:
    made = Limits(LimitsMode.CLOSED, partial(limit_source, config), SystemClock(), lambda: 0.0)
    try:
        yield made
    finally:
        made.stop()


def stops(limits: Limits, user: str) -> bool:
    return limits.check({"user_id": user}, "m") is not None


def test_limits_are_read_from_the_start_of_their_topic_and_followed(kafka: Kafka, prefix: str) -> None:
    many = [hard_limit(f"u-{number}") for number in range(5_000)]
    publish(kafka, prefix, {limit.key: limit for limit in many} | {many[7].key: None})

    with listening(EmitConfig(kafka=kafka.bootstrap_servers, kafka_prefix=prefix)) as limits:
        assert limits.wait_until_known(30)
        assert stops(limits, "u-0")
        assert stops(limits, "u-4999")
        assert not stops(limits, "u-7")

        publish(kafka, prefix, {many[0].key: None, hard_limit("late").key: hard_limit("late")})
        eventually(lambda: stops(limits, "late") and not stops(limits, "u-0"), 20)


def test_an_empty_topic_limits_nothing_and_a_bad_record_spoils_no_other(kafka: Kafka, prefix: str) -> None:
    with listening(EmitConfig(kafka=kafka.bootstrap_servers, kafka_prefix=prefix)) as limits:
        assert limits.wait_until_known(30)
        assert not limits.may_refuse or not stops(limits, "u-1")

        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        producer.produce(prefix + LIMITS, b"no limit at all", b"key")
        assert producer.flush(20) == 0
        publish(kafka, prefix, {hard_limit("u-1").key: hard_limit("u-1")})
        eventually(lambda: stops(limits, "u-1"), 20)
        assert limits.counts()["unreadable"] == 1


def test_a_kafka_that_is_away_or_has_no_such_topic_is_told_as_away(kafka: Kafka) -> None:
    for servers, prefix in (("127.0.0.1:1", ""), (kafka.bootstrap_servers, fresh_prefix())):
        source = TopicLimits(EmitConfig(kafka=servers, kafka_prefix=prefix, kafka_client={"log_level": "0"}))
        with pytest.raises(LimitsAwayError):
            source.next()
        source.close()
