"""The description of Kafka's topics is whole, and its mistakes are told."""

import pytest

from llmtrail.log import port
from llmtrail.log.topics import FOREVER_MS, Cleanup, Timestamp, TopicsError, parse_topics, read_topics, scaled
from llmtrail.schemas import schema_folder

TOPICS = {topic.name: topic for topic in read_topics(schema_folder())}
DEFAULTS = """[defaults]
replication = 3
min_insync = 2
timestamp = "LogAppendTime"
compression = "producer"
max_message_bytes = 1000
cleanup = "delete"
may_grow = false
"""
ONE = '[topics."a"]\nabout = "x"\nkey = "k"\nvalue = "v"\npartitions = 2\nretention_hours = 1\n'
EVENT_BYTES_MAX = 7_900_000  # schemas/events/call.v1.json


def test_every_topic_of_the_house_is_described() -> None:
    assert {port.CALLS, port.SPANS, port.DEAD_LETTERS} < TOPICS.keys()
    for name in ("partials", "stats", "limits", "alerts", "gpu", "feedback", "activations"):
        assert f"llm.{name}" in TOPICS


def test_an_acknowledged_record_is_on_two_brokers_and_has_the_brokers_time() -> None:
    assert {(topic.replication, topic.min_insync) for topic in TOPICS.values()} == {(3, 2)}
    assert {topic.timestamp for topic in TOPICS.values()} == {Timestamp.LOG_APPEND}


def test_the_newest_limits_are_never_deleted() -> None:
    limits = TOPICS["llm.limits"]
    assert (limits.cleanup, limits.retention_ms) == (Cleanup.COMPACT, FOREVER_MS)


def test_every_schema_that_is_named_is_there() -> None:
    assert TOPICS["llm.calls"].schema == "events/call.v1.json"
    assert all((schema_folder() / topic.schema).is_file() for topic in TOPICS.values() if topic.schema)


def test_the_largest_event_fits_and_so_does_its_dead_letter() -> None:
    assert TOPICS["llm.calls"].max_message_bytes > EVENT_BYTES_MAX
    assert TOPICS["llm.dead_letters"].max_message_bytes > EVENT_BYTES_MAX * 4 // 3


def test_what_a_topic_does_not_say_is_its_defaults() -> None:
    (topic,) = parse_topics(DEFAULTS + ONE)
    assert (topic.name, topic.partitions, topic.retention_ms) == ("a", 2, 3_600_000)
    assert topic.config() == {
        "cleanup.policy": "delete",
        "compression.type": "producer",
        "max.message.bytes": "1000",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2",
        "retention.ms": "3600000",
    }


def test_one_broker_has_one_copy_in_sync() -> None:
    (topic,) = scaled(parse_topics(DEFAULTS + ONE), replication=1, prefix="mine.", partitions=1)
    assert (topic.name, topic.replication, topic.min_insync, topic.partitions) == ("mine.a", 1, 1, 1)


def test_more_copies_ask_for_no_more_in_sync() -> None:
    (topic,) = scaled(parse_topics(DEFAULTS + ONE), replication=5, partitions=99)
    assert (topic.name, topic.replication, topic.min_insync, topic.partitions) == ("a", 5, 2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[defaults\n", "Expected ']'"),
        (ONE, r"a \[defaults\] table"),
        (DEFAULTS + ONE + "[more]\n", "unknown: .'more'"),
        (DEFAULTS + ONE + "colour = 1\n", "a: Object contains unknown field `colour`"),
        (DEFAULTS + ONE.replace("partitions = 2", "partitions = 0"), "a: Expected `int` >= 1"),
        (DEFAULTS + ONE.replace("partitions = 2", ""), "a: Object missing required field `partitions`"),
        (DEFAULTS + ONE.replace("hours = 1", "hours = 0"), "a: retention_hours is 1 or more"),
        (DEFAULTS + ONE + "min_insync = 4\n", "a: 3 copies can never have 4 in sync"),
        (DEFAULTS + ONE + 'cleanup = "burn"\n', "a: Invalid enum value 'burn'"),
        (DEFAULTS + ONE.replace('value = "v"', ""), "a: say what its values are"),
        (DEFAULTS + "[topics]\na = 1\n", "a: a table"),
    ],
)
def test_a_mistake_is_told_with_its_topic(text: str, said: str) -> None:
    with pytest.raises(TopicsError, match=said):
        parse_topics(text)
