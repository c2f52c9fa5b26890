"""Kafka's topics as `schemas/topics.toml` tells them. Pure but for `read_topics`; knows no client and no cluster."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec

from llmtrail.core import toml_decode

FILE_NAME = "topics.toml"
_HOUR_MS = 3_600_000
FOREVER_MS = -1


class TopicsError(ValueError):
    """A description of topics that cannot be used; the text names the topic and the mistake."""


class Timestamp(StrEnum):
    """Whose clock a record's time comes from."""

    LOG_APPEND = "LogAppendTime"
    CREATE = "CreateTime"


class Cleanup(StrEnum):
    """What becomes of old records."""

    DELETE = "delete"
    COMPACT = "compact"
    COMPACT_AND_DELETE = "compact,delete"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it should be. `schema` is a file below `schemas/`, or None where `value` tells in words."""

    name: str
    about: str
    key: str
    value: str
    schema: str | None
    partitions: int
    replication: int
    min_insync: int
    retention_ms: int  # FOREVER_MS: never by age
    cleanup: Cleanup
    max_message_bytes: int
    timestamp: Timestamp
    compression: str
    may_grow: bool
    settings: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> dict[str, str]:
        """Return the topic's settings as Kafka names them."""
        return {
            "cleanup.policy": self.cleanup.value,
            "compression.type": self.compression,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.timestamp.value,
            "min.insync.replicas": str(self.min_insync),
            "retention.ms": str(self.retention_ms),
            **self.settings,
        }


_Count = Annotated[int, msgspec.Meta(ge=1)]
_Hours = Annotated[int, msgspec.Meta(ge=-1)]  # -1: never by age


class _Defaults(msgspec.Struct, forbid_unknown_fields=True):
    replication: _Count
    min_insync: _Count
    timestamp: Timestamp
    compression: str
    max_message_bytes: _Count
    cleanup: Cleanup
    may_grow: bool


class _Entry(_Defaults, forbid_unknown_fields=True, kw_only=True):
    about: str
    key: str
    partitions: _Count
    retention_hours: _Hours
    value: str = ""
    schema: str | None = None
    settings: dict[str, str] = {}


def parse_topics(text: str) -> tuple[Topic, ...]:
    """Return the topics of a `topics.toml` in its order; raise TopicsError where it cannot be used."""
    try:
        told = toml_decode.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise TopicsError(str(cause)) from cause
    unknown = told.keys() - {"defaults", "topics"}
    if unknown or not isinstance(told.get("topics"), dict) or not isinstance(told.get("defaults"), dict):
        raise TopicsError(f"a [defaults] table and [topics.NAME] tables are wanted; unknown: {sorted(unknown)}.")
    return tuple(_topic(name, told["defaults"], entry) for name, entry in told["topics"].items())


def read_topics(schemas: Path) -> tuple[Topic, ...]:
    """Return the topics that the folder `schemas/` describes."""
    return parse_topics((schemas / FILE_NAME).read_text(encoding="utf-8"))


def scaled(
    topics: Sequence[Topic], *, replication: int | None = None, prefix: str = "", partitions: int | None = None
) -> tuple[Topic, ...]:
    """Return the topics as one installation has them.

    `replication` copies of each (at most so many in sync are asked for), names after `prefix`, and at most
    `partitions` of each, where they are given.
    """
    return tuple(
        replace(
            topic,
            name=prefix + topic.name,
            replication=replication or topic.replication,
            min_insync=min(topic.min_insync, replication or topic.replication),
            partitions=min(topic.partitions, partitions or topic.partitions),
        )
        for topic in topics
    )


def _topic(name: str, defaults: Mapping[str, Any], entry: object) -> Topic:
    if not isinstance(entry, dict):
        raise TopicsError(f"{name}: a table [topics.{name!r}] is wanted.")
    try:
        told = msgspec.convert({**defaults, **entry}, _Entry)
    except msgspec.ValidationError as cause:
        raise TopicsError(f"{name}: {cause}.") from cause
    if told.min_insync > told.replication:
        raise TopicsError(f"{name}: {told.replication} copies can never have {told.min_insync} in sync.")
    if told.retention_hours == 0:
        raise TopicsError(f"{name}: retention_hours is 1 or more, or -1 for no end.")
    if not (told.value or told.schema):
        raise TopicsError(f"{name}: say what its values are, by `schema` or by `value`.")
    return Topic(
        name=name,
        about=told.about,
        key=told.key,
        value=told.value,
        schema=told.schema,
        partitions=told.partitions,
        replication=told.replication,
        min_insync=told.min_insync,
        retention_ms=told.retention_hours * _HOUR_MS if told.retention_hours > 0 else FOREVER_MS,
        cleanup=told.cleanup,
        max_message_bytes=told.max_message_bytes,
        timestamp=told.timestamp,
        compression=told.compression,
        may_grow=told.may_grow,
        settings=told.settings,
    )
