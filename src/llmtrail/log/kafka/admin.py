"""Ask a Kafka cluster for its topics, and change them. Knows nothing of which topics there should be."""

import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from llmtrail.log.topic_diff import Changes, TopicState
from llmtrail.log.topics import Topic

# A cluster that does not tell its topics within this is not there: time for a name, a handshake and a slow line.
REACH_S_MAX = 5.0
# One that is there may take longer to make or describe many topics.
ANSWER_S_MAX = 15.0
# Brokers learn of a change moments after it was taken; one that takes longer than this is told by the next check.
_LEARN_ASKS_MAX = 50
_LEARN_EVERY_S = 0.1
# Why a connection failed is said again at each attempt; the last few tell it.
_REASONS_MAX = 2
# librdkafka's way to say that the address in Kafka's answer is not one for us; all of them mean: not reached.
_AWAY = frozenset({"_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE", "_AUTHENTICATION", "_SSL", "_FAIL"})


class KafkaAwayError(RuntimeError):
    """The cluster cannot be reached, or does not let us in; the text says why."""


class KafkaRefusedError(RuntimeError):
    """The cluster answered, and said no; the text says to what."""


class KafkaAdmin:
    """A cluster's topics. `settings` are librdkafka's, bootstrap.servers among them."""

    def __init__(self, settings: Mapping[str, str], reach_s_max: float = REACH_S_MAX) -> None:
        self._servers = settings.get("bootstrap.servers", "")
        self._reach_s_max = reach_s_max
        self._reasons: list[str] = []
        # Why it cannot connect goes into our errors; printing it as well would clutter the terminal.
        given: dict[str, Any] = {**settings, "log_level": 0, "error_cb": self._note}
        try:
            self._client = AdminClient(given)
        except KafkaException as cause:
            raise KafkaAwayError(f"Kafka's client does not take its settings: {_error(cause).str()}.") from cause

    def states(self, names: Collection[str]) -> dict[str, TopicState]:
        """Return what the cluster has of the topics `names`; what it does not have is left out.

        Raises KafkaAwayError where it cannot be reached, KafkaRefusedError where it does not tell.
        """
        try:
            listed = self._client.list_topics(timeout=self._reach_s_max).topics
        except KafkaException as cause:
            raise self._told(cause, "its topics") from cause
        there = sorted(listed.keys() & set(names))
        if not there:
            return {}
        described = self._client.describe_topics(TopicCollection(there), request_timeout=ANSWER_S_MAX)
        asked = [ConfigResource(ResourceType.TOPIC, name) for name in there]
        configs = {
            resource.name: self._wait(future, f"the settings of {resource.name}")
            for resource, future in self._client.describe_configs(asked, request_timeout=ANSWER_S_MAX).items()
        }
        return {
            name: _state(self._wait(future, f"the topic {name}"), configs[name]) for name, future in described.items()
        }

    def topic_id(self, name: str) -> str:
        """Return Kafka's own id of a topic as it is now, by one request; "" where there is no such topic.

        Raises KafkaAwayError where the cluster cannot be reached, KafkaRefusedError where it does not tell.
        """
        try:
            told = self._client.describe_topics(TopicCollection([name]), request_timeout=ANSWER_S_MAX)[name]
            return str(told.result(ANSWER_S_MAX).topic_id)
        except KafkaException as cause:
            if _error(cause).code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return ""
            raise self._told(cause, f"the topic {name}") from cause

    def apply(self, changes: Changes) -> None:
        """Make, grow and configure topics; return when the brokers know. Doing it twice is as doing it once.

        Raises KafkaAwayError where the cluster cannot be reached, KafkaRefusedError where it says no.
        """
        self._create(changes.create)
        if changes.grow:
            grown = [NewPartitions(name, count) for name, count in changes.grow.items()]
            for name, future in self._client.create_partitions(grown, request_timeout=ANSWER_S_MAX).items():
                self._wait(future, f"more partitions of {name}")
        if changes.configure:
            asked = [_resource(name, settings) for name, settings in changes.configure.items()]
            for resource, future in self._client.incremental_alter_configs(asked, request_timeout=ANSWER_S_MAX).items():
                self._wait(future, f"the settings of {resource.name}")
        self._learnt(changes)

    def _learnt(self, changes: Changes) -> None:
        """Wait until the brokers tell of the changes themselves, so that whoever looks next sees them."""
        names = {topic.name for topic in changes.create} | changes.grow.keys() | changes.configure.keys()
        for _ in range(_LEARN_ASKS_MAX):
            states = self.states(names)
            if names <= states.keys() and all(_shows(state, changes) for state in states.values()):
                return
            time.sleep(_LEARN_EVERY_S)

    def _create(self, topics: Collection[Topic]) -> None:
        if not topics:
            return
        made = [NewTopic(topic.name, topic.partitions, topic.replication, config=topic.config()) for topic in topics]
        for name, future in self._client.create_topics(made, request_timeout=ANSWER_S_MAX).items():
            try:
                future.result(ANSWER_S_MAX)
            except KafkaException as cause:
                # Another one who creates the same topics was quicker.
                if _error(cause).code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise self._told(cause, f"to create {name}") from cause

    def _wait(self, future: "Future[Any]", what: str) -> Any:
        try:
            return future.result(ANSWER_S_MAX)
        except KafkaException as cause:
            raise self._told(cause, what) from cause

    def _told(self, cause: KafkaException, what: str) -> KafkaAwayError | KafkaRefusedError:
        error = _error(cause)
        if error.name() not in _AWAY:
            return KafkaRefusedError(f"Kafka refuses {what}: {error.str()}")
        self._client.poll(0)  # brings the reasons that are not told yet
        reasons = "; ".join(dict.fromkeys(self._reasons[-_REASONS_MAX:])) or error.str()
        return KafkaAwayError(f"no Kafka answers at {self._servers}: {reasons}")

    def _note(self, error: KafkaError) -> None:
        # That all brokers are down says nothing that the reason for each does not say better.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  # librdkafka's own errors are named so
            self._reasons.append(error.str())


def _error(cause: KafkaException) -> KafkaError:
    error = cause.args[0]
    assert isinstance(error, KafkaError), "each of its exceptions carries one"  # noqa: S101
    return error


def _resource(name: str, settings: Mapping[str, str]) -> ConfigResource:
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in settings.items()]
    return ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)


def _shows(state: TopicState, changes: Changes) -> bool:
    asked = changes.configure.get(state.name, {})
    return state.partitions >= changes.grow.get(state.name, 0) and asked.items() <= state.config.items()


def _state(description: Any, config: Mapping[str, Any]) -> TopicState:
    return TopicState(
        name=description.name,
        partitions=len(description.partitions),
        replication=min(len(partition.replicas) for partition in description.partitions),
        config={name: entry.value or "" for name, entry in config.items()},
        topic_id=str(description.topic_id),
    )
