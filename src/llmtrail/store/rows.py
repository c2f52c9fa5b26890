"""What the writer hands to the store. Knows nothing of Arrow or SQL."""

from dataclasses import dataclass

import msgspec

from llmtrail.core.call import Call


class Corrected(msgspec.Struct, frozen=True, gc=False):
    """The cost that a correction gave a stored call, in place of the one it was written with."""

    cost_nanousd: int | None
    cost_source: str
    price_id: str | None
    unpriced_reason: str | None
    corrected_at_ns: int


class CallRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call as it is to be stored: merged, priced, with its place in the log.

    A struct, not a dataclass: one is made for every event, and a struct is made ten times faster.
    """

    call: Call  # `call_id` and `revision` are set
    call_key: int  # the call id as a 128-bit number
    started_at_ns: int  # the event's own
    clock_skew: bool  # started_at is more than 24 h away from the ingest time
    first_ingested_at_ns: int  # log append time of the call's first event: decides the partition
    ingested_at_ns: int  # log append time of this revision
    # When the call counts, in statistics, budgets and SQL; fixed at its first arrival. None: it came too late for that.
    counted_at_ns: int | None
    bodies_key: int  # 64-bit hash of the request's key in the first event
    topic_id: str
    partition: int
    offset: int
    cost_nanousd: int | None  # by the price book of the writer: what the statistics count
    cost_source: str
    price_id: str | None
    unpriced_reason: str | None
    prompt_fingerprint: str | None
    tenant: str  # of the first event; empty where there is none. With the call id it names the call
    is_stated: bool = False  # whether the first event stated the tenant, and its token belonged to none
    model: str = ""  # the model's one name (core.model_identity); empty where no model is known
    # Tokens of an answered call whose source reports none, estimated from its text.
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None
    writes_body: bool  # False for a revision that brought no content
    content_hash: int = 0  # 64-bit hash of the event's bytes, by which repeats are known
    corrected: Corrected | None = None  # the cost that is shown instead, where a correction still holds


@dataclass(frozen=True, slots=True)
class DeadLetterRow:
    """One rejected event, byte for byte."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    received_at_ns: int
    reason: str
    detail: str
    value: bytes
    key: bytes
    headers: tuple[tuple[str, str], ...] = ()
    tenant: str = ""
    item: int = 0  # number of the event within the record
    replayed_at_ns: int = 0  # when it was last sent again; 0: never
    outcome: str = ""  # what became of it then: accepted or rejected


@dataclass(frozen=True, slots=True)
class Correction:
    """One correction of a stored cost; the entry stays, beside the corrected call."""

    tenant: str
    call_key: int
    ingest_day: int  # days since 1970-01-01, the call's partition
    revision: int
    old_cost_nanousd: int | None
    new_cost_nanousd: int | None
    old_price_id: str | None
    new_price_id: str | None
    new_cost_source: str
    new_unpriced_reason: str | None
    reason: str
    corrected_at_ns: int
    book_id: str


class KnownCall(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A stored call, whole enough to merge a later revision into."""

    call: Call
    revision: int
    content_hash: int
    first_ingested_at_ns: int
    bodies_key: int
    # What the stored revision counts for in the rolling statistics: the cost is the one it was written with.
    ingested_at_ns: int
    counted_at_ns: int | None
    cost_nanousd: int | None
    prompt_fingerprint: str | None = None
    corrected: Corrected | None = None
    tenant: str
    is_stated: bool = False
    model: str = ""
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None
    # Where the stored revision stands in the log: the writer tells its own doing from a repeat by it.
    topic_id: str
    partition: int
    offset: int
