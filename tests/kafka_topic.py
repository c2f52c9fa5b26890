"""What a topic of a test holds, read from its start without a group; and Java's murmur2, written out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


@dataclass(frozen=True, slots=True)
class Found:
    """One record of a topic."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Mapping[str, str]

    @property
    def event(self) -> dict[str, Any]:
        event = json.loads(self.value)
        assert isinstance(event, dict)
        return event

    @property
    def number(self) -> int:
        return int(self.event["attributes"]["n"])


class TopicTail:
    """Reads a topic as it grows; `found` is all of it so far, in each partition's order."""

    def __init__(self, servers: str, topic: str, partitions: int) -> None:
        self.found: list[Found] = []
        self._consumer = Consumer({"bootstrap.servers": servers, "group.id": "none", "enable.auto.commit": False})
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])

    def numbers(self) -> list[int]:
        """Return the numbers of the calls read until now, after one more look."""
        return [one.number for one in self.read()]

    def read(self) -> list[Found]:
        """Return what was read until now, after one more look."""
        for message in self._consumer.consume(1_000, 0.2):
            if message.error() is not None:
                continue  # a broker that restarts
            partition, offset, value = message.partition(), message.offset(), message.value()
            assert partition is not None
            assert offset is not None
            assert isinstance(value, bytes)
            headers = _texts(message.headers())
            key = message.key()
            assert key is None or isinstance(key, bytes)
            self.found.append(Found(partition, offset, key, value, headers))
        return self.found

    def close(self) -> None:
        self._consumer.close()


def _texts(headers: Any) -> dict[str, str]:
    return {name: str(text, "utf-8") for name, text in headers or []}


def murmur2(key: bytes) -> int:
    """Return what `org.apache.kafka.common.utils.Utils.murmur2` returns, a signed 32-bit number."""
    state = 0x9747B28C ^ len(key)
    whole = len(key) // 4 * 4
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        state = (state * _M & _MASK) ^ word
    if whole < len(key):
        state = (state ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    state = (state ^ state >> 13) * _M & _MASK
    state ^= state >> 15
    return state - (1 << 32) if state >> 31 else state


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that Java's default partitioner gives a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
