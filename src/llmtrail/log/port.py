"""The log as the rest of the house sees it. Knows nothing of SQLite or Kafka."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Protocol

# Topic names are Kafka's; embedded mode uses the same ones.
CALLS = "llm.calls"
SPANS = "llm.spans"  # what OTLP requests held, until their trace has settled
DEAD_LETTERS = "llm.dead_letters"
GPU = "llm.gpu"  # scrapes of GPUs and model servers
PARTIALS = "llm.partials"  # what each range of calls adds to the statistics
STATS = "llm.stats"  # the slots of the statistics, each with its newest value
GPU_STATS = "llm.gpu_stats"  # those of GPUs and model servers
ALERTS = "llm.alerts"  # the journal of who decides on alerts
KEPT = "llm.kept"  # what rules have the statistics keep
AUDIT = "llm.audit"  # who used a token, read what, and was refused
LIMITS = "llm.limits"  # what each budget says of its scopes, each with its newest state


# Bytes of a value that its dead letter keeps: in base64 they are 6.7 MB, and a record holds 8 with its headers and key.
LETTER_BYTES_MAX = 5_000_000


def cut_to_letter(value: bytes) -> tuple[bytes, str]:
    """Return what a dead letter keeps of a value, and where that is not all of it a note that names the whole."""
    if len(value) <= LETTER_BYTES_MAX:
        return value, ""
    note = f" (kept: its first {LETTER_BYTES_MAX} of {len(value)} bytes; sha256 {sha256(value).hexdigest()})"
    return value[:LETTER_BYTES_MAX], note


# Counts records of a topic that could not be read.
Unread = Callable[[str, int], object]


def uncounted(topic: str, records: int) -> None:
    """Count nothing: for whoever reads once and ends."""
    del topic, records


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the log. `topic_id` changes when a topic is made anew, so that old offsets never collide."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Records:
    """A contiguous run of records of one partition, in log order.

    `appended_at_ns[i]`, `keys[i]` and `headers[i]` belong to `values[i]`, whose offset is `first_offset + i`.
    """

    topic: str
    topic_id: str
    partition: int
    first_offset: int
    values: Sequence[bytes]
    keys: Sequence[bytes]
    appended_at_ns: Sequence[int]
    headers: Sequence[Mapping[str, str]]

    @property
    def next_offset(self) -> int:
        """Return the offset after the last record."""
        return self.first_offset + len(self.values)

    def first(self, count: int) -> "Records":
        """Return the first `count` records."""
        return replace(
            self,
            values=self.values[:count],
            keys=self.keys[:count],
            appended_at_ns=self.appended_at_ns[:count],
            headers=self.headers[:count],
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A range that a group has begun to work on: a successor must repeat exactly this range first.

    `note` carries what the work depends on and must not differ in a repeat (the price book's id).
    """

    topic_id: str
    partition: int
    first_offset: int
    next_offset: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Append:
    """Records to append together: all become durable, or none."""

    topic: str
    values: Sequence[bytes]
    keys: Sequence[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)


class LogFullError(RuntimeError):
    """The log cannot take more now (disk full or at its size limit). Nothing of the append was kept."""


class LogAwayError(LogFullError):
    """The log did not acknowledge in time. Some of the append may have been kept: append all of it again."""


class LogClosedError(RuntimeError):
    """The log was closed; nothing of the append was kept."""


class PlanTooLongError(ValueError):
    """The ranges in flight, with their notes, are longer than the log keeps; plan a shorter range."""


class RecordTooLargeError(ValueError):
    """One record, or one append as a whole, is over the log's limits. Nothing of the append was kept."""


class LogCorruptError(RuntimeError):
    """What is kept at `position` is not what was once appended there."""

    def __init__(self, topic: str, position: Position, what: str) -> None:
        """Name the place and the damage."""
        super().__init__(f"{topic}[{position.partition}] offset {position.offset}: {what}")
        self.topic = topic
        self.position = position


class GroupLog(Protocol):
    """The log as one group reads it: what is there, what is planned, what is done."""

    def read(self, topic: str, partition: int, offset: int, records_max: int, bytes_max: int) -> Records:
        """Return records from `offset` on (fewer than asked, or none, where there are no more)."""

    def wait(self, topic: str, partition: int, offset: int, timeout_s: float) -> bool:
        """Wait until a record at `offset` exists or the time is over; say whether it exists."""

    def plan(self, group: str, topic: str, plans: Sequence[Plan]) -> None:
        """Make the group's ranges in flight durable. Replaces the group's former plans of these partitions.

        Raises PlanTooLongError where their notes are longer than the log keeps.
        """

    def plans(self, group: str, topic: str) -> list[Plan]:
        """Return the group's ranges in flight, as last made durable, in offset order."""

    def commit(self, group: str, topic: str, partition: int, next_offset: int) -> None:
        """Make durable that the group is done with every record before `next_offset`; drops plans below it."""

    def committed(self, group: str, topic: str, partition: int) -> int:
        """Return the group's committed offset, or the partition's start where it never committed."""


class Log(GroupLog, Protocol):
    """A durable, ordered, partitioned log. Safe for use from several threads."""

    def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append all of `appends` in one durable step; return the first offset of each.

        Raises LogFullError or LogClosedError, and then nothing was kept.
        """

    def end(self, topic: str, partition: int) -> int:
        """Return the offset that the next appended record will get."""

    def start(self, topic: str, partition: int) -> int:
        """Return the offset of the oldest record still kept."""

    def topic_id(self, topic: str) -> str:
        """Return the topic's own id (a new one whenever it is made anew)."""

    def partitions(self, topic: str) -> int:
        """Return the number of partitions."""

    def trim(self, topic: str, partition: int, before_offset: int) -> int:
        """Forget records below `before_offset` that every group has committed; return the new start."""

    def close(self) -> None:
        """Close; later calls raise LogClosedError."""
