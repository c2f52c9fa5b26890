"""How far calls of Kafka are stored, for roles that compare statistics with rows. Composes; decides nothing."""

import threading
from collections.abc import Callable, Mapping

from llmtrail.config import Config, kafka_client
from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.positions import GroupPositions
from llmtrail.log.port import CALLS

# The group of those that write rows.
ROWS_GROUP = "llmtrail.rows"


def stored_places(config: Config) -> Callable[[], Mapping[str, int]]:
    """Return what asks the cluster below which offsets all calls are stored, by source; from any thread."""
    client, topic = kafka_client(config.kafka), config.kafka.topic_prefix + CALLS
    lock, admin = threading.Lock(), KafkaAdmin(client)
    groups: dict[int, GroupPositions] = {}

    def ask() -> Mapping[str, int]:
        with lock:
            state = admin.states({topic})[topic]
            count = state.partitions
            group = groups.get(count)
            if group is None:
                group = groups[count] = GroupPositions(client, config.kafka.topic_prefix + ROWS_GROUP, topic, count)
            return {f"{state.topic_id}/{place}": max(stored, 0) for place, (stored, _) in group.ask().items()}

    return ask
