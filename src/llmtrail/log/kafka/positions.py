"""Ask the cluster how far a group has committed a topic. Knows nothing of who works in the group."""

from collections.abc import Mapping
from typing import Any, cast

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

ANSWER_S_MAX = 10.0
_LATEST = cast("Any", OffsetSpec).latest()


class GroupPositions:
    """Positions of one group in one topic; names are the cluster's."""

    def __init__(self, client: Mapping[str, str], group: str, topic: str, partitions: int) -> None:
        self._client = AdminClient({**client, "log_level": 0})
        self._group = group
        self._places = [TopicPartition(topic, partition) for partition in range(partitions)]

    def ask(self) -> dict[int, tuple[int, int]]:
        """Return (committed, end) of every partition; committed is -1 where the group never committed."""
        asked = [ConsumerGroupTopicPartitions(self._group, self._places)]
        told = self._client.list_consumer_group_offsets(asked, request_timeout=ANSWER_S_MAX)
        ends = self._client.list_offsets(
            dict.fromkeys(self._places, _LATEST),
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=ANSWER_S_MAX,
        )
        committed = told[self._group].result(ANSWER_S_MAX).topic_partitions or []
        at = {place.partition: max(place.offset, -1) for place in committed}
        return {
            place.partition: (at.get(place.partition, -1), future.result(ANSWER_S_MAX).offset)
            for place, future in ends.items()
        }
