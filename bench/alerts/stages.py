"""When each stage wrote of a probe, from the records that it left behind: read once everything is over."""

import re
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from llmtrail.log.port import ALERTS, PARTIALS, STATS

# What a probe passes, in order: acknowledged, counted by the cursor, folded, decided, about to be sent, received.
STAGES = ("ack", "partial", "stats", "decided", "sending", "told")
_ANSWER_S = 30.0
_READ_S = 1.0


@dataclass(slots=True)
class Volume:
    """What went over one topic in the time that was looked at."""

    records: int = 0
    data_bytes: int = 0


@dataclass(slots=True)
class Stages:
    """When what happened of each probe, in ms of the epoch, and what the topics carried."""

    seen_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)

    def note(self, stage: str, name: str, at_ms: float) -> None:
        """Take note of the first time only."""
        self.seen_ms.setdefault(name, {}).setdefault(stage, at_ms)

    def between(self) -> dict[str, list[int]]:
        """Return the p50 and p99 of the time from each stage to the next, in ms."""
        told: dict[str, list[int]] = {}
        for former, stage in pairwise(STAGES):
            times = sorted(
                seen[stage] - seen[former] for seen in self.seen_ms.values() if stage in seen and former in seen
            )
            if times:
                told[f"{former}_{stage}"] = [
                    round(statistics.median(times)),
                    round(times[min(int(len(times) * 0.99), len(times) - 1)]),
                ]
        return told

    def per_s(self, seconds: float) -> dict[str, list[int]]:
        """Return for each topic the records and the kB of a second."""
        return {
            topic: [round(volume.records / seconds), round(volume.data_bytes / seconds / 1_000)]
            for topic, volume in self.volumes.items()
        }


def read_stages(servers: str, acknowledged_ns: Mapping[str, int], until_ns: int, channel: str) -> Stages:
    """Return what the topics tell of the probes that were acknowledged at these times; `channel` is who is told."""
    stages = Stages()
    for name, at_ns in acknowledged_ns.items():
        stages.note("ack", name, at_ns / 1e6)
    named = re.compile("|".join(map(re.escape, acknowledged_ns)).encode())
    since_ms = min(acknowledged_ns.values()) // 1_000_000
    for topic in (PARTIALS, STATS, ALERTS):
        volume = stages.volumes.setdefault(topic, Volume())
        for message in _records(servers, topic, since_ms, until_ns // 1_000_000):
            key, value = message.key() or b"", message.value() or b""
            volume.records += 1
            volume.data_bytes += len(value)
            for name in {found.decode() for found in named.findall(key + value)}:
                stages.note(_stage(topic, key, value, channel), name, message.timestamp()[1])
    return stages


def _stage(topic: str, key: bytes, value: bytes, channel: str) -> str:
    if topic != ALERTS:
        return {PARTIALS: "partial", STATS: "stats"}[topic]
    if key.startswith(b'["outbox",'):
        is_ours = key.startswith(f'["outbox","{channel}"'.encode())
        return "sending" if is_ours and b'"state":"sending"' in value else "queued"
    return "decided"


def _records(servers: str, topic: str, since_ms: int, until_ms: int) -> Iterator[Message]:
    """Return a topic's records of some time."""
    settings = {"bootstrap.servers": servers, "group.id": "bench.stages", "enable.partition.eof": True}
    consumer = Consumer({**settings, "enable.auto.commit": False, "queued.max.messages.kbytes": 65_536})
    try:
        partitions = consumer.list_topics(topic, timeout=_ANSWER_S).topics[topic].partitions
        starts = consumer.offsets_for_times([TopicPartition(topic, one, since_ms) for one in partitions], _ANSWER_S)
        left = {place.partition for place in starts}
        consumer.assign(starts)
        while left:
            for message in consumer.consume(1_000, _READ_S):
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - a public constant
                    left.discard(message.partition())
                elif error is None and message.timestamp()[1] <= until_ms:
                    yield message
    finally:
        consumer.close()
