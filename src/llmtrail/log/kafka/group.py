"""A consumer group whose members give each assigned partition to one worker. Decides nothing about records.

Settings follow the measured recipe: cooperative-sticky, nothing committed by itself, a plan before every insert. One
thread polls; workers read what it fetched, and commit.
"""

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, cast

from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.headers import headers_of
from llmtrail.log.kafka.notes import from_metadata
from llmtrail.log.kafka.partition import Fetched, PartitionLog

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
except ImportError as error:
    raise ImportError("Kafka needs a driver; install it with: pip install 'llmtrail[kafka]'") from error

_LOG = logging.getLogger(__name__)

# A killed member's partitions are served again within 15 s: the broker notices after this, and hands them over at once.
SESSION_MS = 8_000
# The poller never waits for a worker but when a partition is taken away, so this only catches a stuck process.
POLL_MS_MAX = 300_000
# Workers finish what is in flight before a partition is given up; longer would hold up the whole group.
HANDOVER_S_MAX = 10.0
_BROKER_S_MAX = 10.0
_MESSAGES_PER_POLL = 2_000
# A poll waits so long for messages, and commits wait for a poll: a tenth of what a batch waits for company.
_POLL_S = 0.02
# A commit that takes longer than this goes to a broker that is away: the worker starts over when it is back.
_COMMIT_S_MAX = 30.0
# How often ends of partitions (for the lag) and the topic's id are asked for, in polls' time.
_LOOK_EVERY_S = 5.0
_NS_PER_MS = 1_000_000
# Distinct sets of headers that are kept read; senders have few.
HEADERS_KEPT_MAX = 1_000
_NO_HEADERS: Mapping[str, str] = {}

_CONSUMER: Mapping[str, Any] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "partition.assignment.strategy": "cooperative-sticky",
    # Where the log no longer reaches back to the cursor, going on silently would hide a loss.
    "auto.offset.reset": "error",
    "check.crcs": True,
    "session.timeout.ms": SESSION_MS,
    "heartbeat.interval.ms": SESSION_MS // 4,
    "max.poll.interval.ms": POLL_MS_MAX,
    "fetch.max.bytes": 16 * 1024 * 1024,
    "fetch.wait.max.ms": 50,
    "queued.max.messages.kbytes": 65_536,
    # A broker that comes back is found within a second; the default grows to ten.
    "reconnect.backoff.max.ms": 1_000,
    "isolation.level": "read_committed",
}


class Worker(Protocol):
    """What works on one assigned partition, in a thread of its own."""

    def run(self) -> None:
        """Work until stopped, or until the log says that the partition is lost."""

    def stop(self) -> None:
        """Ask `run` to finish what is in flight and return."""


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Which group reads which topic. `client` are librdkafka's settings: where the brokers are, security.

    `topic` is what the house calls it; the cluster's name has `prefix` before it, and so has the group's.
    """

    client: Mapping[str, str]
    group: str
    topic: str
    prefix: str = ""
    instance_id: str = ""
    # Records before the cursor that a worker wants to see again when it starts.
    reread_records: int = 0

    @property
    def cluster_topic(self) -> str:
        """Return the topic's name on the cluster."""
        return self.prefix + self.topic

    @property
    def cluster_group(self) -> str:
        """Return the group's name on the cluster."""
        return self.prefix + self.group


@dataclass(frozen=True, slots=True)
class _Commit:
    place: TopicPartition
    done: Future[None]


@dataclass(slots=True)
class _Assigned:
    log: PartitionLog
    worker: Worker
    thread: threading.Thread
    paused: bool = False


class GroupReader:
    """One member of a consumer group. `start` joins, `stop` hands over; safe to ask from any thread."""

    def __init__(self, settings: GroupSettings, open_worker: Callable[[PartitionLog, int], Worker]) -> None:
        """Take the settings and how a worker of one partition is made."""
        self._settings = settings
        self._open_worker = open_worker
        self._assigned: dict[int, _Assigned] = {}
        self._topic_id = ""
        self._made_anew = False
        self._admin: KafkaAdmin | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"llmtrail-{settings.group}", daemon=True)
        self._consumer: Consumer | None = None
        # The driver lets one thread in at a time, and a polling one hardly ever lets another pass: it commits itself.
        self._commits: queue.SimpleQueue[_Commit] = queue.SimpleQueue()
        self._headers: dict[tuple[tuple[str, bytes | None], ...], Mapping[str, str]] = {}
        self.skipped_records = 0
        self.failure = "it has not joined its group yet"

    def start(self) -> None:
        """Join the group in a thread of its own."""
        self._thread.start()

    def stop(self, timeout_s: float = HANDOVER_S_MAX) -> None:
        """Finish what is in flight, commit, leave the group."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s + _BROKER_S_MAX)

    @property
    def settings(self) -> GroupSettings:
        """Return which group this is a member of."""
        return self._settings

    @property
    def is_alive(self) -> bool:
        """Say whether the member polls."""
        return self._thread.is_alive()

    def partitions(self) -> list[int]:
        """Return the partitions that this member works on."""
        return sorted(self._assigned)

    def lags(self) -> dict[int, int]:
        """Return, for each assigned partition, how many records are not committed yet."""
        return {partition: assigned.log.lag for partition, assigned in list(self._assigned.items())}

    # --- the polling thread ---

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._serve()
            except Exception as cause:  # noqa: BLE001 - the loop's edge, see below
                # The loop's edge: whatever the broker or the driver did, the group is joined anew.
                self.failure = str(cause)
                _LOG.exception("%s joins its group again in 2 s", self._settings.group)
                self._stopping.wait(2.0)

    def _serve(self) -> None:
        settings = self._settings
        self._admin = KafkaAdmin(settings.client)
        self._topic_id = self._admin.topic_id(settings.cluster_topic)
        if not self._topic_id:
            raise RuntimeError(f"there is no topic {settings.cluster_topic}; run `llmtrail topics create`.")
        self._made_anew = False
        own: dict[str, Any] = {"group.id": settings.cluster_group}
        if settings.instance_id:
            own["group.instance.id"] = settings.instance_id
        consumer = Consumer({**_CONSUMER, **settings.client, **own}, logger=_LOG)
        self._consumer = consumer
        try:
            consumer.subscribe(
                [settings.cluster_topic], on_assign=self._take, on_revoke=self._hand_over, on_lost=self._give_up
            )
            look_in = 0
            while not self._stopping.is_set():
                self._deliver(consumer.consume(_MESSAGES_PER_POLL, _POLL_S))
                self._serve_commits(wait_s=0)
                if self._made_anew:
                    raise RuntimeError(
                        f"{settings.topic} was made anew: its old records are gone; reading starts over."
                    )
                self._balance_memory(consumer)
                self._revive()
                look_in -= 1
                if look_in <= 0:
                    look_in = int(_LOOK_EVERY_S / _POLL_S)
                    self._look(consumer)
                # The driver holds up every thread of the process while it answers this one.
                if self.failure and consumer.memberid():
                    self.failure = ""
        finally:
            self._end_all(commit=True)
            consumer.close()
            self._consumer = None

    def _deliver(self, messages: Sequence[Message]) -> None:
        by_partition: dict[int, list[Fetched]] = {}
        for message in messages:
            error = message.error()
            if error is not None:
                self._judge(error)
                continue
            by_partition.setdefault(message.partition() or 0, []).append(self._fetched(message))
        for partition, fetched in by_partition.items():
            assigned = self._assigned.get(partition)
            if assigned is not None:
                assigned.log.fill(fetched)

    def _fetched(self, message: Message) -> Fetched:
        key, value = message.key(), message.value()
        offset = cast("int", message.offset())
        return offset, key or b"", value or b"", message.timestamp()[1] * _NS_PER_MS, self._headers_of(message)

    def _headers_of(self, message: Message) -> Mapping[str, str]:
        as_said = headers_of(message)
        if not as_said:
            return _NO_HEADERS
        # Senders say the same few things with every record: read once, shared by all.
        found = self._headers.get(as_said)
        if found is None:
            found = {name: value.decode("utf-8", "replace") for name, value in as_said if value is not None}
            if len(self._headers) >= HEADERS_KEPT_MAX:
                self._headers.clear()
            self._headers[as_said] = found
        return found

    def _judge(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - the driver's public constant
            # The cursor's records are gone (retention, or the topic was made anew): `_open` says so and goes on.
            raise RuntimeError(f"{self._settings.topic}: {error.str()}")
        if error.fatal():
            raise KafkaException(error)
        if error.code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED}:
            raise KafkaException(error)
        _LOG.info("%s: %s", self._settings.group, error)

    def _balance_memory(self, consumer: Consumer) -> None:
        for partition, assigned in self._assigned.items():
            place = [TopicPartition(self._settings.cluster_topic, partition)]
            assigned.log.share(len(self._assigned))
            if not assigned.paused and assigned.log.is_full:
                consumer.pause(place)
                assigned.paused = True
            elif assigned.paused and assigned.log.has_room:
                consumer.resume(place)
                assigned.paused = False

    def _revive(self) -> None:
        """A worker that ended though its partition is still ours (a refused commit) begins anew."""
        for partition, assigned in list(self._assigned.items()):
            if not assigned.thread.is_alive():
                raise RuntimeError(f"the worker of {self._settings.topic}[{partition}] ended by itself")

    def _look(self, consumer: Consumer) -> None:
        self._is_the_topic()
        for partition, assigned in self._assigned.items():
            place = TopicPartition(self._settings.cluster_topic, partition)
            _, high = consumer.get_watermark_offsets(place, timeout=_BROKER_S_MAX, cached=True)
            if high > 0:
                assigned.log.announce_end(high)

    # --- what the group decides ---

    def _take(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        told = consumer.committed(list(partitions), timeout=_BROKER_S_MAX)
        starts = [self._open(consumer, place) for place in told]
        consumer.incremental_assign(starts)
        for place in told:
            self._assigned[place.partition].thread.start()

    def _open(self, consumer: Consumer, place: TopicPartition) -> TopicPartition:
        """Make the partition's log and worker; return where fetching starts."""
        topic, partition = self._settings.cluster_topic, place.partition
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_BROKER_S_MAX)
        committed, plans = place.offset, from_metadata(place.metadata, self._topic_id, partition)
        if plans is None or committed < 0:
            committed, plans = low, []
        if committed < low or committed > high:
            lost = max(low - committed, 0)
            self.skipped_records += lost
            _LOG.error(
                "%s[%d]: the group stands at %d, the topic holds %d to %d; %d records are lost to it "
                "(retention passed, or the broker lost its end). See docs/runbooks.",
                topic, partition, committed, low, high, lost,
            )  # fmt: skip
            committed, plans = low, []
        log = PartitionLog(self._settings.topic, self._topic_id, partition, self._commit)
        first = max(low, committed - self._settings.reread_records)
        log.begin(committed, plans, first, high)
        worker = self._open_worker(log, partition)
        thread = threading.Thread(target=worker.run, name=f"{self._settings.group}-{partition}", daemon=True)
        self._assigned[partition] = _Assigned(log, worker, thread)
        return TopicPartition(topic, partition, first)

    def _hand_over(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._end([place.partition for place in partitions], commit=True)
        consumer.incremental_unassign(list(partitions))

    def _give_up(self, consumer: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._end([place.partition for place in partitions], commit=False)
        consumer.incremental_unassign(list(partitions))

    def _end_all(self, *, commit: bool) -> None:
        self._end(list(self._assigned), commit=commit)

    def _end(self, partitions: Sequence[int], *, commit: bool) -> None:
        ending = [self._assigned.pop(partition) for partition in partitions if partition in self._assigned]
        for assigned in ending:
            if not commit:
                assigned.log.lose()
            assigned.worker.stop()
        for _ in range(int(HANDOVER_S_MAX / _POLL_S)):
            if not any(assigned.thread.is_alive() for assigned in ending):
                break
            # The workers' last commits pass through this very thread.
            self._serve_commits(wait_s=_POLL_S)
        for assigned in ending:
            # What is still in flight is the successor's to repeat: it stands in the plan.
            assigned.log.lose()

    def _commit(self, partition: int, next_offset: int, metadata: str) -> None:
        asked = _Commit(TopicPartition(self._settings.cluster_topic, partition, next_offset, metadata), Future())
        self._commits.put(asked)
        asked.done.result(_COMMIT_S_MAX)

    def _commit_places(self, places: list[TopicPartition]) -> Sequence[TopicPartition]:
        if not self._is_the_topic():
            raise RuntimeError(f"{self._settings.topic} was made anew.")
        return self._joined().commit(offsets=places, asynchronous=False) or ()

    def _is_the_topic(self) -> bool:
        """Say whether what was fetched before now came from the topic that its plans will name.

        A topic that is deleted and made again at once goes on answering fetches, at the old one's offsets: whoever
        noticed that later would have counted these records as the old topic's, and would count them again.
        """
        if self._admin is not None and not self._made_anew:
            self._made_anew = self._admin.topic_id(self._settings.cluster_topic) != self._topic_id
        return not self._made_anew

    def _joined(self) -> Consumer:
        if self._consumer is None:
            raise RuntimeError(f"{self._settings.group} is not in its group.")
        return self._consumer

    def _serve_commits(self, wait_s: float) -> None:
        """Commit what workers asked for, all partitions in one request."""
        asked: dict[int, _Commit] = {}
        with contextlib.suppress(queue.Empty):
            asked_first = self._commits.get(timeout=wait_s) if wait_s else self._commits.get_nowait()
            asked[asked_first.place.partition] = asked_first
            while True:
                one = self._commits.get_nowait()
                asked[one.place.partition] = one
        if not asked:
            return
        try:
            answers = self._commit_places([one.place for one in asked.values()])
            refused = {answer.partition: answer.error for answer in answers if answer.error is not None}
        except Exception as cause:  # noqa: BLE001 - told to every worker that asked, each of which starts over.
            for one in asked.values():
                one.done.set_exception(cause)
            return
        for partition, one in asked.items():
            if partition in refused:
                one.done.set_exception(KafkaException(refused[partition]))
            else:
                one.done.set_result(None)
