"""What rules have the statistics keep, over Kafka: `llmtrail alert` says it on `llm.kept`, and all others read it.

Composes; decides nothing. A cluster without the topic keeps what the settings say, as each process reads them.
"""

import logging
import threading
from collections.abc import Callable, Sequence

from llmtrail.config import Config, StatsConfig, kafka_client
from llmtrail.core.calendar import UnknownZoneError, check_zone
from llmtrail.core.kept import KEY, BadKeptError, Kept, decode_kept, encode_kept
from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.producer import KafkaProducer
from llmtrail.log.kafka.tail import Record, TopicTail
from llmtrail.log.port import KEPT, Append
from llmtrail.roles.process import RoleProcess

_LOG = logging.getLogger(__name__)

# A process that begins to count before it knows what to keep loses the beginning of it; but it does not wait for ever.
KNOWN_S_MAX = 15.0


def kept_by(stats: StatsConfig) -> Kept:
    """Return what settings alone have kept."""
    return Kept(stats.zones, frozenset(stats.feature_users))


class KeptTopic:
    """What is kept by the settings and by the rules of whoever decides, as it is known now. Safe from any thread."""

    def __init__(self, config: Config, on_change: Callable[[Kept], None] = lambda _: None) -> None:
        """Take the settings, and who is told when more or less is to be kept."""
        self._config = config
        self._own = kept_by(config.stats)
        self._now = self._own
        self._on_change = on_change
        self._wanted: Kept | None = None  # by the rules of this process
        self._said: Kept | None = None  # by the topic
        self._tail: TopicTail | None = None
        self._unread: Callable[[str], object] = lambda _: None
        self.is_there = False

    def start(self, process: RoleProcess) -> None:
        """Read the topic, and go on; returns when it is read, or when it takes too long. Raises what Kafka raises."""
        topic = self._config.kafka.topic_prefix + KEPT
        client = kafka_client(self._config.kafka)
        self.is_there = topic in KafkaAdmin(client).states({topic})
        if not self.is_there:
            _LOG.info("there is no topic %s: months and users are kept as the settings say", topic)
            return
        self._unread = process.metrics.unread
        self._tail = TopicTail(client, self._config.kafka.topic_prefix + KEPT, self.take)
        self._tail.start()
        process.on_stop(self._tail.stop)
        waits = threading.Event()
        for _ in range(int(KNOWN_S_MAX / 0.1)):
            if not self._tail.not_ready():
                return
            waits.wait(0.1)
        _LOG.warning("%s is not read yet: until then months and users are kept as the settings say", topic)

    def __call__(self) -> Kept:
        """Return what is kept now."""
        return self._now

    def publish(self, wanted: Kept) -> None:
        """Have everybody keep what rules need, as soon as the brokers take it: see `send`."""
        self._wanted = wanted
        self.send()

    def send(self) -> None:
        """Send what is to be kept, where the topic says otherwise; to be called again and again."""
        wanted = self._wanted
        if not self.is_there or wanted is None or wanted == self._said:
            return
        try:
            self._produce(wanted)
            self._said = wanted
        except Exception as cause:  # noqa: BLE001 - whatever the driver raises: it is sent again a moment later.
            _LOG.warning("what rules need is not on %s yet: %s", KEPT, cause)

    def _produce(self, wanted: Kept) -> None:
        producer = KafkaProducer(kafka_client(self._config.kafka), self._config.kafka.topic_prefix)
        try:
            producer.append([Append(KEPT, [encode_kept(wanted)], [KEY.encode()])]).result(KNOWN_S_MAX)
        finally:
            producer.close()

    def take(self, records: Sequence[Record]) -> None:
        """Take what the topic says; a record that cannot be read is counted, and what was kept before is kept."""
        for key, value in records:
            if key != KEY.encode() or value is None:
                if key != KEY.encode():
                    self._unread(KEPT)
                continue
            try:
                wanted = decode_kept(value)
                for zone in wanted.zones:
                    check_zone(zone)
            except (BadKeptError, UnknownZoneError) as cause:
                _LOG.warning("%s is left out: %s", KEPT, cause)
                self._unread(KEPT)
                continue
            self._said = wanted
            now = self._own.joined(wanted)
            if now != self._now:
                self._now = now
                self._on_change(now)
