"""Compare a cluster's topics with those that should be, and decide what may be changed. Pure: speaks to no cluster."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from llmtrail.log.topics import FOREVER_MS, Topic

# More of these is as good. Everything else is right only when it is equal.
_AT_LEAST = frozenset({"max.message.bytes", "min.insync.replicas", "retention.ms"})
# What differs here only costs room or time; no event is lost and no result changes.
_HARMLESS = frozenset({"compression.type", "segment.ms", "max.compaction.lag.ms"})
# Records that are there already stay as they are, so changing these harms nothing.
_MAY_ALTER = _AT_LEAST | _HARMLESS | {"message.timestamp.type"}


class Gravity(StrEnum):
    """What a difference means."""

    BAD = "bad"  # events are refused, lost or counted wrongly
    ODD = "odd"  # works, but not as described


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic as the cluster has it. `replication` is the least of its partitions'."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]
    topic_id: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which a topic is not as it should be. `alterable`: `--alter` mends it without losing anything."""

    topic: str
    what: str  # "missing", "partitions", "replication", or the setting's name
    wanted: str
    found: str
    gravity: Gravity
    alterable: bool
    cure: str

    def __str__(self) -> str:
        """Return the difference as one line."""
        if self.what == "missing":
            return f"{self.topic} is missing"
        return f"{self.topic}: {self.what} is {self.found}, {self.wanted} is wanted"


@dataclass(frozen=True, slots=True)
class Changes:
    """What to do with a cluster, and what stays different after it."""

    create: tuple[Topic, ...] = ()
    grow: Mapping[str, int] = field(default_factory=dict)  # topic -> partitions in all
    configure: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # topic -> settings to set
    left: tuple[Difference, ...] = ()


def differences(wanted: Sequence[Topic], found: Mapping[str, TopicState]) -> tuple[Difference, ...]:
    """Return every difference, in the order of `wanted`. Topics that nobody wants are none of our business."""
    told: list[Difference] = []
    for topic in wanted:
        state = found.get(topic.name)
        if state is None:
            cure = "llmtrail topics create"
            told.append(Difference(topic.name, "missing", "there", "missing", Gravity.BAD, alterable=True, cure=cure))
        else:
            told += [*_shape(topic, state), *_settings(topic, state)]
    return tuple(told)


def changes(wanted: Sequence[Topic], found: Mapping[str, TopicState], *, alter: bool) -> Changes:
    """Return what brings a cluster nearer to `wanted`: missing topics made, and with `alter` what may be altered.

    Nothing is ever shrunk: no partition, no retention, no size, no copy in sync goes away.
    """
    told = differences(wanted, found)
    mended = [one for one in told if one.alterable and (alter or one.what == "missing")]
    grow = {one.topic: int(one.wanted) for one in mended if one.what == "partitions"}
    configure: dict[str, dict[str, str]] = {}
    for one in mended:
        if one.what not in {"missing", "partitions"}:
            configure.setdefault(one.topic, {})[one.what] = one.wanted
    return Changes(
        create=tuple(topic for topic in wanted if topic.name not in found),
        grow=grow,
        configure=configure,
        left=tuple(one for one in told if one not in mended),
    )


def _shape(topic: Topic, state: TopicState) -> list[Difference]:
    told = []
    if state.partitions < topic.partitions:
        cure = _ALTER if topic.may_grow else _GROW_BY_HAND
        told.append(_number(topic, "partitions", topic.partitions, state.partitions, cure, alterable=topic.may_grow))
    if state.replication < topic.replication:
        told.append(_number(topic, "replication", topic.replication, state.replication, _REPLICATE))
    insync = int(state.config.get("min.insync.replicas", "1"))
    if insync > state.replication:
        told.append(_number(topic, "replication", insync, state.replication, _UNWRITABLE))
    return told


def _number(topic: Topic, what: str, wanted: int, found: int, cure: str, *, alterable: bool = False) -> Difference:
    return Difference(topic.name, what, str(wanted), str(found), Gravity.BAD, alterable=alterable, cure=cure)


def _settings(topic: Topic, state: TopicState) -> list[Difference]:
    told = []
    for name, wanted in topic.config().items():
        found = state.config.get(name, "unknown")
        if _holds(name, wanted, found):
            continue
        # More copies in sync than there are copies would let nobody write.
        alterable = name in _MAY_ALTER and not (name == "min.insync.replicas" and int(wanted) > state.replication)
        gravity = Gravity.ODD if name in _HARMLESS else Gravity.BAD
        cure = _ALTER if alterable else _CURES.get(name, _BY_HAND)
        told.append(Difference(topic.name, name, wanted, found, gravity, alterable=alterable, cure=cure))
    return told


def _holds(name: str, wanted: str, found: str) -> bool:
    if name not in _AT_LEAST or not found.lstrip("-").isdigit():
        return set(wanted.split(",")) == set(found.split(","))
    if name == "retention.ms" and str(FOREVER_MS) in {wanted, found}:
        return found == str(FOREVER_MS)
    return int(found) >= int(wanted)


_ALTER = "llmtrail topics create --alter"
_GROW_BY_HAND = "its keys would change partitions: keep it, or drain it and make it anew (docs/guide/kafka.md)"
_REPLICATE = "reassign its partitions with Kafka's own tool, or say [kafka] replication"
_UNWRITABLE = "nothing can be written: add copies, or lower min.insync.replicas with Kafka's own tool"
_BY_HAND = "change it with Kafka's own tool, if nothing is lost by it"
_CURES = {
    "cleanup.policy": "another policy may delete what is there: decide, then change it with Kafka's own tool",
    "min.insync.replicas": _REPLICATE,
}
