"""Kafka as a move fills it: what is there already, what is added, where the groups begin. Decides by `move_plan`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.producer import KafkaProducer
from llmtrail.log.kafka.whole import Kept, acknowledged, busy_groups, place_group, read_whole, topic_ends
from llmtrail.log.port import CALLS, PARTIALS, SPANS, STATS, Append, Records
from llmtrail.roles.aggregate import GROUP as AGGREGATE_GROUP
from llmtrail.roles.ingest import LETTERS_GROUP, SETTLER_GROUP
from llmtrail.roles.move_plan import (
    MOVED_HEADER,
    Arrived,
    MoveError,
    arrived,
    moved_from,
    slot_partition,
    stats_conflicts,
)
from llmtrail.roles.stored import ROWS_GROUP
from llmtrail_ingest.statistics.cursor import GROUP as STATISTICS_GROUP

GROUPS = (ROWS_GROUP, STATISTICS_GROUP, SETTLER_GROUP, LETTERS_GROUP, AGGREGATE_GROUP)
# Who begins behind the moved records: what they are for is done.
PLACED = ((ROWS_GROUP, CALLS), (STATISTICS_GROUP, CALLS), (SETTLER_GROUP, SPANS))
TOPICS = (CALLS, SPANS, PARTIALS, STATS)
ACKNOWLEDGED_S_MAX = 60.0
# Slots that are sent together: some ten kilobytes each.
_SLOTS_TOGETHER = 100

Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class _Topic:
    name: str
    topic_id: str
    partitions: int


class Kafka:
    """The topics that a move fills."""

    def __init__(self, client: Mapping[str, str], prefix: str) -> None:
        """Look at the topics; raises KafkaAwayError, or MoveError where one is missing."""
        self._client = client
        self._prefix = prefix
        states = KafkaAdmin(client).states({prefix + topic for topic in TOPICS})
        missing = [topic for topic in TOPICS if prefix + topic not in states]
        if missing:
            raise MoveError(f"there is no topic {prefix}{missing[0]}; run `llmtrail topics create` first.")
        found = {topic: states[prefix + topic] for topic in TOPICS}
        self._topics = {topic: _Topic(prefix + topic, one.topic_id, one.partitions) for topic, one in found.items()}

    @property
    def ids(self) -> dict[str, str]:
        """Return each topic's own id."""
        return {topic: one.topic_id for topic, one in self._topics.items()}

    def check_idle(self) -> None:
        """Raise MoveError where a role works already: it would count what is still on its way."""
        busy = busy_groups(self._client, [self._prefix + group for group in GROUPS])
        if busy:
            raise MoveError(f"a role works already (group {busy[0]}): stop `llmtrail ingest` and `aggregate` first.")
        if self._read(PARTIALS):
            raise MoveError("llm.partials holds statistics already: calls were counted on this Kafka before the move.")

    def arrived(self, topic: str, source_id: str) -> Arrived:
        """Return what a topic holds of this move; raises MoveError where it holds anything else."""
        found = arrived((kept.headers for kept in self._whole(topic)), source_id)
        if found.strangers:
            raise MoveError(
                f"{topic} holds {found.strangers} records that are not of this move: senders may come when it is done."
            )
        return found

    def copy(self, topic: str, records: Iterable[Records], tell: Tell) -> int:
        """Append what has not arrived yet; return how many records stand there then, each once."""
        there: Arrived | None = None
        wanted = 0
        producer = KafkaProducer(self._client, self._prefix)
        try:
            for some in records:
                there = there or self.arrived(topic, some.topic_id)
                wanted += len(some.values)
                appends = [append for offset, append in _appends(some) if offset not in there.offsets]
                acknowledged(producer.append(appends), topic, ACKNOWLEDGED_S_MAX)
                tell(wanted)
        finally:
            producer.close()
        if there is not None:
            self._verify(topic, some.topic_id, wanted)
        return wanted

    def _verify(self, topic: str, source_id: str, wanted: int) -> None:
        found = self.arrived(topic, source_id)
        if found.twice or len(found.offsets) != wanted:
            raise MoveError(f"{topic}: {wanted} records were sent, {len(found.offsets)} arrived, {found.twice} twice.")

    def publish(self, slots: Mapping[str, bytes], tell: Tell) -> None:
        """Publish the slots that are not there yet; raises MoveError where others are, or not all arrived."""
        published = self._published(slots)
        left = [key for key in slots if key not in published]
        partitions = self._topics[STATS].partitions
        producer = KafkaProducer(self._client, self._prefix)
        try:
            for first in range(0, len(left), _SLOTS_TOGETHER):
                keys = left[first : first + _SLOTS_TOGETHER]
                appends = [Append(STATS, [slots[key]], [key.encode()]) for key in keys]
                places = [slot_partition(key, partitions) for key in keys]
                acknowledged(producer.append(appends, places), STATS, ACKNOWLEDGED_S_MAX)
                tell(len(published) + first + len(keys))
        finally:
            producer.close()
        if len(self._published(slots)) != len(slots):
            raise MoveError("not every slot of the statistics arrived; run the same command again.")

    def _published(self, slots: Mapping[str, bytes]) -> dict[str, bytes]:
        newest: dict[str, bytes] = {}
        for kept in self._whole(STATS):
            key = kept.key.decode("utf-8", "replace")
            newest.pop(key, None)
            if kept.value is not None:
                newest[key] = kept.value
        if conflicts := stats_conflicts(slots, newest):
            raise MoveError(f"llm.stats holds other statistics already ({conflicts[0]}): move before anything counts.")
        return newest

    def place_groups(self) -> None:
        """Let the writers begin behind what was moved, and look back on it."""
        for group, topic in PLACED:
            one = self._topics[topic]
            ends = topic_ends(self._client, one.name, one.partitions)
            place_group(self._client, self._prefix + group, one.name, one.topic_id, ends)

    def check_takes(self, source_ids: Mapping[str, str], slots: Mapping[str, bytes]) -> None:
        """Raise MoveError where something stands in the topics that is not of this move."""
        self.check_idle()
        for topic, source_id in source_ids.items():
            self.arrived(topic, source_id)
        self._published(slots)

    def _whole(self, topic: str) -> Iterable[Kept]:
        one = self._topics[topic]
        return read_whole(self._client, one.name, one.partitions)

    def _read(self, topic: str) -> bool:
        return any(True for _ in self._whole(topic))


def _appends(records: Records) -> Iterable[tuple[int, Append]]:
    """Return each record as it is to be appended, with where it stood."""
    for index, (key, value, headers) in enumerate(zip(records.keys, records.values, records.headers, strict=True)):
        offset = records.first_offset + index
        told = {**headers, MOVED_HEADER: moved_from(records.topic_id, offset)}
        yield offset, Append(records.topic, [value], [key], told)
