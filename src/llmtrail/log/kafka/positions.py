"""Ask the cluster how far a group has committed a topic. Knows nothing of who works in the group."""

from collections.abc import Mapping

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

ANSWER_S_MAX = 10.0


class GroupPositions:
    """Positions of one group in one topic; names are the cluster's. Never joins the group, never commits."""

    def __init__(self, client: Mapping[str, str], group: str, topic: str, partitions: int) -> None:
        # Not through the administration client: librdkafka ends the whole process when a group's coordinator goes away
        # while that asks for its offsets (librdkafka issue 3663, "eonce->refcnt > 0").
        self._client = Consumer(
            {
                **client,
                "group.id": group,
                "enable.auto.commit": False,
                "isolation.level": "read_uncommitted",
                "log_level": 0,
            }
        )
        self._topic, self._partitions = topic, partitions

    def ask(self) -> dict[int, tuple[int, int]]:
        """Return (committed, end) of every partition; committed is -1 where the group never committed.

        Raises KafkaException where the cluster does not answer.
        """
        # What it has to say of its connections is let go, or it would be kept for ever.
        self._client.poll(0)
        places = [TopicPartition(self._topic, partition) for partition in range(self._partitions)]
        committed = {place.partition: place.offset for place in self._client.committed(places, timeout=ANSWER_S_MAX)}
        # The time "end" asks for the offset behind the last record, of all partitions at once.
        asked = [TopicPartition(self._topic, partition, OFFSET_END) for partition in range(self._partitions)]
        ends = self._client.offsets_for_times(asked, timeout=ANSWER_S_MAX)
        return {end.partition: (max(committed[end.partition], -1), end.offset) for end in ends}
