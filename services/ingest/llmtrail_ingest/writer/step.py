"""Turn log records into rows. Pure: knows nothing of the log's kind, the store's driver, time or threads."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from llmtrail.core import codec, merge, times
from llmtrail.core.call import Call
from llmtrail.core.ids import derived_call_id
from llmtrail.core.outcome import BadEventError, Reject, Skip, SkipReason
from llmtrail.core.pricing import PriceBook, price
from llmtrail.log.port import Records
from llmtrail.store.rows import CallRow, DeadLetterRow
from llmtrail_ingest.writer.seen import SeenIds, call_key_of

# A clock that is off by more than a day says nothing of when the call was: the row says so.
SKEW_NS_MAX = 24 * 3600 * 1_000_000_000
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Known:
    """A call as it stands: in the store, or in a batch that is on its way there."""

    call: Call
    revision: int
    content_hash: int
    topic_id: str
    partition: int
    offset: int
    first_ingested_at_ns: int
    bodies_key: int


@dataclass(slots=True)
class Batch:
    """What one planned range became: rows, dead letters, skips. All that stand in the range are in one of them."""

    topic_id: str
    partition: int
    first_offset: int
    next_offset: int
    rows: list[CallRow] = field(default_factory=list)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    skipped: dict[SkipReason, int] = field(default_factory=dict)
    known: dict[int, Known] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """Return the name of this range: the same in every repeat, and never that of another range."""
        return f"{self.topic_id}:{self.partition}:{self.first_offset}-{self.next_offset}"


@dataclass(frozen=True, slots=True)
class _Event:
    index: int
    call: Call
    key: int
    content_hash: int


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may ask: recent ids, calls on their way, calls in the store, prices, and where a replay ends."""

    seen: SeenIds
    under_way: Mapping[int, Known]
    look_up: Callable[[Sequence[int]], Mapping[int, Known]]
    book: PriceBook
    replay: bool = False


def step(records: Records, context: StepContext) -> Batch:
    """Decode, validate, drop repeats, merge revisions and price one range of the log.

    The same range, prices and known calls always give the same batch. `context.seen` is told of every new call.
    """
    batch = Batch(records.topic_id, records.partition, records.first_offset, records.next_offset)
    events = _decode(records, batch)
    stored = context.look_up(_unsure(events, records, context))
    for event in events:
        known = batch.known.get(event.key) or context.under_way.get(event.key) or stored.get(event.key)
        match resolve(event.call, event.content_hash, _place(records, event.index), known, replay=context.replay):
            case Skip(reason):
                batch.skipped[reason] = batch.skipped.get(reason, 0) + 1
            case Call() as call:
                _accept(event, call, known, records, batch, context)
    return batch


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stands in the log, and when it got there."""

    topic_id: str
    partition: int
    offset: int
    appended_at_ns: int


def resolve(call: Call, content_hash: int, place: Place, known: Known | None, *, replay: bool) -> Call | Skip:
    """Decide what an event is to what is known of its call: new, a revision (merged), or a repeat to skip.

    In a replay the store may already hold this very event, or later ones of the same range: those were its own
    doing and are written again as they were.
    """
    if known is None:
        return call
    if replay and _written_by_this_range(place, known):
        # Merging an event over its own outcome changes nothing; a call first written here starts from itself.
        return merge.merge_calls(known.call, call) if known.first_ingested_at_ns < place.appended_at_ns else call
    if call.revision > known.revision:
        return merge.merge_calls(known.call, call)
    if content_hash == known.content_hash:
        return Skip(SkipReason.DUPLICATE)
    return Skip(SkipReason.STALE_REVISION if call.revision < known.revision else SkipReason.DUP_CONFLICT)


def _written_by_this_range(place: Place, known: Known) -> bool:
    same_log = known.topic_id == place.topic_id and known.partition == place.partition
    return same_log and known.offset >= place.offset


def _place(records: Records, index: int) -> Place:
    return Place(records.topic_id, records.partition, records.first_offset + index, records.appended_at_ns[index])


def _decode(records: Records, batch: Batch) -> list[_Event]:
    events: list[_Event] = []
    for index, value in enumerate(records.values):
        try:
            call = codec.decode_call(value)
            if call.call_id is None:
                call = msgspec.structs.replace(call, call_id=_id_of_place(_place(records, index)))
            key = call_key_of(call.call_id or "")
        except BadEventError as bad:
            batch.dead_letters.append(_dead_letter(records, index, Reject(bad.reason, bad.detail)))
        else:
            events.append(_Event(index, call, key, codec.content_hash(value)))
    return events


def _unsure(events: Sequence[_Event], records: Records, context: StepContext) -> list[int]:
    """Return the calls that only the store can tell about."""
    seen, under_way = context.seen, context.under_way
    return [
        event.key
        for event in events
        if event.key not in under_way
        and not seen.surely_new(event.key, records.appended_at_ns[event.index] // _NS_PER_MS)
    ]


def _accept(
    event: _Event, call: Call, known: Known | None, records: Records, batch: Batch, context: StepContext
) -> None:
    place = _place(records, event.index)
    tenant = records.headers[event.index].get("tenant") or call.tenant or ""
    started_at_ns = times.to_ns(call.started_at)
    priced = price(call, started_at_ns, context.book)
    first_ingested_at_ns = known.first_ingested_at_ns if known else place.appended_at_ns
    bodies_key = known.bodies_key if known else _hash_64(records.keys[event.index])
    row = CallRow(
        call=call,
        call_key=event.key,
        started_at_ns=started_at_ns,
        clock_skew=abs(started_at_ns - place.appended_at_ns) > SKEW_NS_MAX,
        first_ingested_at_ns=first_ingested_at_ns,
        ingested_at_ns=place.appended_at_ns,
        bodies_key=bodies_key,
        topic_id=place.topic_id,
        partition=place.partition,
        offset=place.offset,
        content_hash=event.content_hash,
        cost_nanousd=priced.cost_nanousd,
        cost_source=priced.cost_source,
        price_id=priced.price_id,
        unpriced_reason=priced.unpriced_reason,
        prompt_fingerprint=call.prompt_fingerprint or _fingerprint(call),
        tenant=tenant,
        writes_body=known is None or _has_content(event.call),
    )
    batch.rows.append(row)
    batch.known[event.key] = Known(
        call,
        call.revision,
        event.content_hash,
        place.topic_id,
        place.partition,
        place.offset,
        first_ingested_at_ns,
        bodies_key,
    )
    context.seen.add(event.key, place.appended_at_ns // _NS_PER_MS)


def _has_content(call: Call) -> bool:
    return bool(
        call.messages
        or call.prompt
        or call.output
        or call.input
        or call.tool_calls
        or call.retrieval
        or call.parser
        or call.parameters
        or call.attributes
        or call.error
    )


def _fingerprint(call: Call) -> str | None:
    """Return the hash of what was asked, so that the same question is known again, or None without one."""
    asked = bytes(call.messages) or bytes(call.prompt)
    return hashlib.blake2b(asked, digest_size=8).hexdigest() if asked else None


def _hash_64(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def _id_of_place(place: Place) -> str:
    """Return the call id of an event that brought none: made from its place, so that a replay gives it again."""
    return derived_call_id(place.appended_at_ns, place.topic_id, str(place.partition), str(place.offset))


def _dead_letter(records: Records, index: int, reject: Reject) -> DeadLetterRow:
    place = _place(records, index)
    return DeadLetterRow(
        topic=records.topic,
        topic_id=place.topic_id,
        partition=place.partition,
        offset=place.offset,
        at_ns=place.appended_at_ns,
        reason=reject.reason,
        detail=reject.detail,
        key=records.keys[index],
        value=records.values[index],
        headers=dict(records.headers[index]),
    )
