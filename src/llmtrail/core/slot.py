"""The sums of one shard in one stretch of time: the value of `llm.stats` and of the aggregator's table.

Knows the shape only: `llmtrail_aggregator.fold` makes slots, `core.window` reads them.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.cell import Cell
from llmtrail.core.partial import SLOT_S, Evicted


class Tier(StrEnum):
    """How long a slot is. Finer slots are absorbed into coarser ones as they age."""

    TEN_SECONDS = "10s"
    MINUTE = "1m"
    QUARTER = "15m"
    MONTH = "month"  # a calendar month of one zone


MINUTE_S = 60
QUARTER_S = 15 * 60
SECONDS_OF = {Tier.TEN_SECONDS: SLOT_S, Tier.MINUTE: MINUTE_S, Tier.QUARTER: QUARTER_S}


@dataclass(frozen=True, slots=True, order=True)
class SlotKey:
    """Where a slot stands: its shard, tier and start in epoch seconds; `zone` names a month's calendar, else ''."""

    shard: int
    tier: Tier
    start_s: int
    zone: str = ""

    def text(self) -> str:
        """Return the key as `07/1m/1700000040`, or `07/month@Europe/Berlin/1698793200`."""
        zone = f"@{self.zone}" if self.zone else ""
        return f"{self.shard:02d}/{self.tier}{zone}/{self.start_s}"

    @staticmethod
    def parse(text: str) -> "SlotKey":
        """Return the key whose `text()` this is.

        Raises ValueError where it is none.
        """
        shard, _, rest = text.partition("/")
        tier_text, _, start = rest.rpartition("/")
        tier, _, zone = tier_text.partition("@")
        return SlotKey(int(shard), Tier(tier), int(start), zone)


class SlotState(msgspec.Struct, omit_defaults=True):
    """Absolute sums of one shard and slot, with what tells how far they go. A value: the fold makes new ones."""

    tier: Tier
    start_s: int
    end_s: int
    # Everything that was counted before this time, in epoch seconds, stands here and in no finer slot.
    through_s: int
    zone: str = ""
    applied: int = 0  # partials added: grows with each change, so of two values the one with more is newer
    fence: dict[str, int] = {}  # source -> the offset after the last range added
    cells: dict[str, Cell] = {}  # scope -> sums
    # The heaviest requests, sessions and prompts, and what had to be let go of them.
    hitters: dict[str, Cell] = {}
    evicted: dict[str, Evicted] = {}  # kind -> what was let go
    overflowed: int = 0  # additions that went to an `other` cell because the slot was full
    late: dict[str, int] = {}  # tenant's scope -> calls too old to fold
    skewed: int = 0
    watermark_s: int = 0  # the newest range that was added was on the log by this time


class BadSlotError(ValueError):
    """A value of `llm.stats` that cannot be read."""


def encode_slot(slot: SlotState) -> bytes:
    """Return `slot` as JSON."""
    return _ENCODER.encode(slot)


def decode_slot(value: bytes) -> SlotState:
    """Return the slot that `value` holds.

    Raises BadSlotError where it is none.
    """
    try:
        return _DECODER.decode(value)
    except msgspec.DecodeError as error:
        raise BadSlotError(f"not a slot: {error}") from error


_ENCODER = msgspec.json.Encoder()
_DECODER = json_decode.Decoder(SlotState)
