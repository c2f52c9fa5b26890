"""What one range of the log adds to the statistics of one shard: the message on `llm.partials`. Pure."""

from collections.abc import Sequence
from itertools import chain
from typing import Annotated

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.cell import Cell
from llmtrail.core.scope import SHARDS, parse_scope

VERSION = 1
# The finest slot of time.
SLOT_S = 10
# A call that ended earlier than this before it reached the log is counted as late, and not in any window.
LATE_S_MAX = 24 * 3600
# Brokers' clocks differ, by less than this.
AHEAD_S_MAX = 3600
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000

# Epoch seconds that calendars, and columns of the store, have room for.
Instant = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
Cells = dict[str, Cell]  # by the scope's text


class Source(msgspec.Struct, frozen=True, gc=False):
    """The range of the log that a partial sums up. Ranges of one partition follow each other and never overlap."""

    topic_id: str
    partition: int
    first_offset: int
    next_offset: int

    @property
    def name(self) -> str:
        """Return which partition of which topic it is a range of: what the fence is kept by."""
        return f"{self.topic_id}/{self.partition}"


class Evicted(msgspec.Struct, omit_defaults=True, gc=False):
    """What was let go of one kind of heavy hitter: how many, and the most that any of them weighed."""

    scopes: int = 0
    attempts_max: int = 0
    cost_nanousd_max: int = 0

    def add(self, other: "Evicted") -> None:
        """Take over what another place let go of."""
        self.scopes += other.scopes
        self.attempts_max = max(self.attempts_max, other.attempts_max)
        self.cost_nanousd_max = max(self.cost_nanousd_max, other.cost_nanousd_max)


class Partial(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """Everything that one range adds to one shard: all its slots stand in one message.

    Without a source it adds nothing and only tells the time.
    """

    shard: Annotated[int, msgspec.Meta(ge=0, lt=SHARDS)]
    watermark_s: Instant  # the range was on the log by this time, epoch seconds
    source: Source | None = None
    slots: dict[Instant, Cells] = {}  # by the slot's start, epoch seconds
    hitters: dict[Instant, Cells] = {}  # the heaviest requests, sessions and prompts of the range, by slot
    evicted: dict[str, Evicted] = {}  # what of them was let go, by kind
    late: dict[str, int] = {}  # calls too late for any slot, by tenant's scope
    skewed: int = 0  # calls whose start lay after their arrival; they are counted when they arrived
    v: int = VERSION


_ENCODER = msgspec.json.Encoder()
_DECODER: json_decode.Decoder[Partial | list[Partial]] = json_decode.Decoder(Partial | list[Partial])


class BadPartialError(ValueError):
    """A message on `llm.partials` that is no partial of a version this house knows."""


def encode_partials(partials: Sequence[Partial]) -> bytes:
    """Return partials of one shard as they go onto the log together: ranges of several partitions, in any order."""
    return _ENCODER.encode(partials[0] if len(partials) == 1 else partials)


def decode_partials(value: bytes) -> list[Partial]:
    """Return the partials of a message, all of one shard; raises BadPartialError."""
    try:
        told = _DECODER.decode(value)
    except msgspec.MsgspecError as cause:
        raise BadPartialError(f"no partial: {cause}") from cause
    partials = told if isinstance(told, list) else [told]
    for partial in partials:
        if partial.v != VERSION:
            raise BadPartialError(f"a partial of version {partial.v}; this llmtrail reads version {VERSION}.")
    if len({partial.shard for partial in partials}) != 1:
        raise BadPartialError("partials of one shard are wanted in a message.")
    return partials


def check_partials(partials: Sequence[Partial], arrived_s: float) -> None:
    """Raise BadPartialError where what partials say would spoil the slots that they are folded into.

    A range was on the log before its partial: a time to come would close every slot that is still counted in. And who
    reads a slot reads all its scopes.
    """
    for partial in partials:
        newest_s = max((partial.watermark_s, *partial.slots, *partial.hitters))
        if newest_s > arrived_s + AHEAD_S_MAX:
            raise BadPartialError(f"a partial of {newest_s - arrived_s:.0f} s after its arrival; see the clocks.")
        try:
            for scope in chain(partial.late, *partial.slots.values(), *partial.hitters.values()):
                parse_scope(scope)
        except ValueError as cause:
            raise BadPartialError(f"no partial: {cause}") from cause


def slot_of(instant_ns: int) -> int:
    """Return the start of the finest slot that holds an instant, in epoch seconds."""
    return instant_ns // (SLOT_S * _NS_PER_S) * SLOT_S


def counts_at_ns(started_at_ns: int, latency_ms: float | None, appended_at_ns: int) -> int | None:
    """Return the instant a call counts at: its end, its first arrival where that came earlier, None where it is late.

    `appended_at_ns` is when the call's first event reached the log; no later event of the call moves the instant.
    """
    ended_at_ns = started_at_ns if latency_ms is None else started_at_ns + round(latency_ms * _NS_PER_MS)
    if ended_at_ns > appended_at_ns:
        return appended_at_ns
    if ended_at_ns < appended_at_ns - LATE_S_MAX * _NS_PER_S:
        return None
    return ended_at_ns
