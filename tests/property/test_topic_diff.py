"""Bringing a cluster to its description never shrinks anything, ends in one step, and tells what is left."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.log.topic_diff import Changes, Gravity, TopicState, changes, differences
from llmtrail.log.topics import Topic, read_topics, scaled
from llmtrail.schemas import schema_folder

WANTED = read_topics(schema_folder())
NUMBERS = ("max.message.bytes", "min.insync.replicas", "retention.ms")


def state_of(topic: Topic) -> TopicState:
    """Return a topic as a cluster has it that was made as described."""
    return TopicState(topic.name, topic.partitions, topic.replication, topic.config())


def applied(found: dict[str, TopicState], done: Changes) -> dict[str, TopicState]:
    """Return the cluster after the changes, as Kafka would make them."""
    after = found | {topic.name: state_of(topic) for topic in done.create}
    for name, partitions in done.grow.items():
        after[name] = replace(after[name], partitions=partitions)
    for name, settings in done.configure.items():
        after[name] = replace(after[name], config={**after[name].config, **settings})
    return after


def _strayed(topic: Topic) -> st.SearchStrategy[TopicState]:
    return st.builds(
        TopicState,
        st.just(topic.name),
        st.integers(1, 20),
        st.integers(1, 4),
        st.fixed_dictionaries(
            {
                "cleanup.policy": st.sampled_from(["delete", "compact", "compact,delete", "delete,compact"]),
                "compression.type": st.sampled_from(["producer", "gzip"]),
                "max.message.bytes": st.sampled_from(["1000", "1048588", "90000000"]),
                "message.timestamp.type": st.sampled_from(["CreateTime", "LogAppendTime"]),
                "min.insync.replicas": st.sampled_from(["1", "2", "3"]),
                "retention.ms": st.sampled_from(["-1", "1", "604800000", "9999999999999"]),
                "segment.ms": st.sampled_from(["3600000", "604800000"]),
                "max.compaction.lag.ms": st.sampled_from(["3600000", "9223372036854775807"]),
            }
        ),
    )


STRAYED = st.sampled_from(WANTED).flatmap(lambda topic: st.tuples(st.just(topic), _strayed(topic)))


def _size(value: str) -> float:
    return float("inf") if value == "-1" else float(value)


@given(STRAYED)
def test_what_is_altered_only_ever_grows(drawn: tuple[Topic, TopicState]) -> None:
    topic, state = drawn
    done = changes([topic], {topic.name: state}, alter=True)
    assert done.create == ()
    assert done.grow.get(topic.name, 99) > state.partitions
    settings = done.configure.get(topic.name, {})
    assert "cleanup.policy" not in settings
    for name in settings.keys() & set(NUMBERS):
        assert _size(settings[name]) > _size(state.config[name])
    assert int(settings.get("min.insync.replicas", "0")) <= state.replication


@given(STRAYED)
def test_one_step_mends_all_that_can_be_mended(drawn: tuple[Topic, TopicState]) -> None:
    topic, state = drawn
    found = {topic.name: state}
    done = changes([topic], found, alter=True)
    after = differences([topic], applied(found, done))
    assert {one.what for one in after} == {one.what for one in done.left}
    again = changes([topic], applied(found, done), alter=True)
    assert (again.grow, again.configure) == ({}, {})


@given(STRAYED)
def test_without_leave_to_alter_nothing_that_is_there_changes(drawn: tuple[Topic, TopicState]) -> None:
    topic, state = drawn
    done = changes([topic], {topic.name: state}, alter=False)
    assert (done.create, done.grow, done.configure) == ((), {}, {})
    assert done.left == differences([topic], {topic.name: state})


@pytest.mark.parametrize("replication", [None, 1, 2, 5])
def test_a_cluster_made_as_described_has_no_differences(replication: int | None) -> None:
    wanted = scaled(WANTED, replication=replication)
    done = changes(wanted, {}, alter=False)
    assert done.create == wanted
    assert differences(wanted, applied({}, done)) == ()


CALLS = WANTED[0]


def _changed(**config: str) -> TopicState:
    named = {name.replace("_", "."): value for name, value in config.items()}
    return replace(state_of(CALLS), config=CALLS.config() | named)


@pytest.mark.parametrize(
    ("state", "what", "gravity", "alterable"),
    [
        (replace(state_of(CALLS), partitions=6), "partitions", Gravity.BAD, False),
        (replace(state_of(CALLS), replication=2), "replication", Gravity.BAD, False),
        (_changed(message_timestamp_type="CreateTime"), "message.timestamp.type", Gravity.BAD, True),
        (_changed(min_insync_replicas="1"), "min.insync.replicas", Gravity.BAD, True),
        (_changed(max_message_bytes="1048588"), "max.message.bytes", Gravity.BAD, True),
        (_changed(cleanup_policy="compact"), "cleanup.policy", Gravity.BAD, False),
        (_changed(retention_ms="1"), "retention.ms", Gravity.BAD, True),
        (_changed(compression_type="gzip"), "compression.type", Gravity.ODD, True),
    ],
)
def test_each_difference_is_told_with_what_it_means(
    state: TopicState, what: str, gravity: Gravity, alterable: bool
) -> None:
    (told,) = differences([CALLS], {CALLS.name: state})
    assert (told.topic, told.what, told.gravity, told.alterable) == (CALLS.name, what, gravity, alterable)
    assert told.cure
    assert f"llm.calls: {what} is " in str(told)


def test_a_missing_topic_is_told() -> None:
    (told,) = differences([CALLS], {})
    assert (str(told), told.gravity) == ("llm.calls is missing", Gravity.BAD)


def test_a_topic_that_nobody_can_write_to_is_told_with_the_reason() -> None:
    (wanted,) = scaled([CALLS], replication=1)
    state = replace(state_of(wanted), config=wanted.config() | {"min.insync.replicas": "2"})
    (told,) = differences([wanted], {wanted.name: state})
    assert "nothing can be written" in told.cure
    assert not told.alterable


def test_more_than_is_wanted_is_no_difference() -> None:
    state = replace(
        _changed(retention_ms="-1", max_message_bytes="99999999", min_insync_replicas="3"), partitions=99, replication=4
    )
    assert differences([CALLS], {CALLS.name: state}) == ()


def test_the_order_of_cleanup_policies_means_nothing() -> None:
    stats = next(topic for topic in WANTED if topic.name == "llm.stats")
    state = replace(state_of(stats), config=stats.config() | {"cleanup.policy": "delete,compact"})
    assert differences([stats], {stats.name: state}) == ()


def test_only_topics_whose_keys_may_move_are_grown() -> None:
    found = {topic.name: replace(state_of(topic), partitions=1) for topic in WANTED}
    done = changes(WANTED, found, alter=True)
    assert set(done.grow) == {topic.name for topic in WANTED if topic.may_grow and topic.partitions > 1}
