"""Follow a compacted topic from its beginning, all of it, in no group. Knows bytes by key, not what they mean."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmtrail.log.kafka.admin import KafkaAdmin, KafkaAwayError, KafkaRefusedError
from llmtrail.log.topic_diff import TopicState

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
except ImportError as error:
    raise ImportError("Kafka needs a driver; install it with: pip install 'llmtrail[kafka]'") from error

_LOG = logging.getLogger(__name__)

_BROKER_S_MAX = 10.0
_MESSAGES_PER_READ = 2_000
# A read returns when this is over, however much has come: what was published is handed on about so much later.
_READ_S = 0.02
# How often, in reads' time, the topic's id is asked for: one that was made anew holds nothing of what was read.
_LOOK_EVERY_S = 5.0
_AGAIN_S = 2.0

_CONSUMER: Mapping[str, Any] = {
    "group.id": "llmtrail.tail",  # never joined, never committed
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    # Where compaction or retention has passed the place, there is nothing older to know.
    "auto.offset.reset": "earliest",
    "isolation.level": "read_committed",
    "check.crcs": True,
    "fetch.wait.max.ms": 50,
    "queued.max.messages.kbytes": 65_536,
    # A broker that comes back is found within a second; the default grows to ten.
    "reconnect.backoff.max.ms": 1_000,
}

# A record: its key, and its value or None where the key is gone.
Record = tuple[bytes, bytes | None]


class TopicTail:
    """Hands on every record of a topic, in order within a partition, from a thread of its own.

    `take` is told of records, some at a time; `reset` that everything told so far is void and is told anew. Both are
    called in the tail's thread. What `take` raises makes it start anew.
    """

    def __init__(
        self,
        client: Mapping[str, str],
        topic: str,
        take: Callable[[Sequence[Record]], None],
        reset: Callable[[], None] = lambda: None,
        look_every_s: float = _LOOK_EVERY_S,
    ) -> None:
        """Take librdkafka's settings, the topic's name on the cluster, and who is told."""
        self._client = client
        self._topic = topic
        self._take = take
        self._reset = reset
        self._look_every_s = look_every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"llmtrail-tail-{topic}", daemon=True)
        self._behind: set[int] = set()
        self._why_not = f"{topic} is not being read yet"

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End reading; returns when the thread has ended."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_BROKER_S_MAX + _AGAIN_S)

    def not_ready(self) -> str:
        """Say why what was told is not all there was when reading began, "" once it is."""
        if not self._thread.is_alive() and not self._why_not:
            return f"{self._topic} is read no more"
        return self._why_not

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as cause:  # noqa: BLE001 - the loop's edge, see below
                # The loop's edge: whatever the brokers, the driver or the listener did, the topic is read anew.
                self._why_not = str(cause)
                _LOG.warning("%s is read anew in %.0f s: %s", self._topic, _AGAIN_S, cause)
                self._stopping.wait(_AGAIN_S)

    def _follow(self) -> None:
        admin = KafkaAdmin(self._client)
        state = self._state(admin)
        self._reset()
        consumer = Consumer({**_CONSUMER, **self._client}, logger=_LOG)
        try:
            ends = self._assign(consumer, state.partitions)
            self._behind = {partition for partition, end in ends.items() if end > 0}
            self._tell_how_far(len(ends))
            reads = 0
            while not self._stopping.is_set():
                self._read(consumer, ends)
                reads += 1
                if reads * _READ_S >= self._look_every_s:
                    self._look(admin, state)
                    reads = 0
        finally:
            consumer.close()

    def _state(self, admin: KafkaAdmin) -> TopicState:
        state = admin.states({self._topic}).get(self._topic)
        if state is None:
            raise RuntimeError(f"there is no topic {self._topic}; run `llmtrail topics create`.")
        return state

    def _assign(self, consumer: Consumer, partitions: int) -> dict[int, int]:
        """Begin at the beginning of each partition; return where each of them ends now."""
        starts, ends = [], {}
        for partition in range(partitions):
            place = TopicPartition(self._topic, partition)
            low, high = consumer.get_watermark_offsets(place, timeout=_BROKER_S_MAX)
            starts.append(TopicPartition(self._topic, partition, low))
            ends[partition] = high if high > low else 0
        consumer.assign(starts)
        return ends

    def _read(self, consumer: Consumer, ends: Mapping[int, int]) -> None:
        messages = consumer.consume(_MESSAGES_PER_READ, _READ_S)
        records: list[Record] = []
        arrived: set[int] = set()
        for message in messages:
            error, partition = message.error(), message.partition() or 0
            if error is None:
                records.append((message.key() or b"", message.value()))
                if (message.offset() or 0) + 1 >= ends[partition]:
                    arrived.add(partition)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the driver's public constant
                arrived.add(partition)
            else:
                self._judge(error)
        if records:
            self._take(records)
        if arrived & self._behind:
            self._behind -= arrived
            self._tell_how_far(len(ends))

    def _tell_how_far(self, partitions: int) -> None:
        behind = len(self._behind)
        self._why_not = f"{self._topic}: {behind} of {partitions} partitions are still being read" if behind else ""

    def _judge(self, error: KafkaError) -> None:
        if error.fatal() or error.code() in {
            KafkaError.UNKNOWN_TOPIC_OR_PART,
            KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - as above
            KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - as above
            KafkaError.TOPIC_AUTHORIZATION_FAILED,
        }:
            raise KafkaException(error)
        # Brokers that are away come back, and the driver goes on where it was.
        _LOG.info("%s: %s", self._topic, error)

    def _look(self, admin: KafkaAdmin, known: TopicState) -> None:
        try:
            state = self._state(admin)
        except (KafkaAwayError, KafkaRefusedError) as cause:
            _LOG.info("%s: %s", self._topic, cause)
            return
        if (state.topic_id, state.partitions) != (known.topic_id, known.partitions):
            raise RuntimeError(f"{self._topic} was made anew, or has more partitions: it is read from its beginning")
