"""Turn log records into rows. Pure: knows nothing of the log's kind, the store's driver, time or threads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeVar

import msgspec

from llmtrail.core import codec, merge, times
from llmtrail.core.call import Call
from llmtrail.core.ids import derived_call_id, request_key
from llmtrail.core.outcome import BadEventError, Reject, Skip, SkipReason
from llmtrail.core.partial import counts_at_ns
from llmtrail.core.price_inputs import are_priced_alike
from llmtrail.core.pricing import PriceBook, price
from llmtrail.core.usage import with_reconciled_usage
from llmtrail.log.port import Records
from llmtrail.store.rows import CallRow, Corrected, DeadLetterRow, KnownCall
from llmtrail_ingest.dead_letter import LETTER_HEADER, place_of
from llmtrail_ingest.writer.decisions import Decisions
from llmtrail_ingest.writer.hashes import bodies_key, content_hash, prompt_fingerprint
from llmtrail_ingest.writer.seen import SeenIds, call_key_of

# A clock that is off by more than a day says nothing of when the call was: the row says so.
SKEW_NS_MAX = 24 * 3600 * 1_000_000_000
_NS_PER_MS = 1_000_000


# A call as it stands: on its way to the store, or in it.
Standing = CallRow | KnownCall
# The calls of one id as they stand, one a tenant: a call is known by its tenant and its id.
Namesakes = tuple[Standing, ...]
_Stands = TypeVar("_Stands", bound=Standing)


@dataclass(slots=True)
class Batch:
    """What one planned range became: rows, dead letters, skips. All that stand in the range are in one of them."""

    topic_id: str
    partition: int
    first_offset: int
    next_offset: int
    rows: list[CallRow] = field(default_factory=list)
    dead_letters: list[DeadLetterRow] = field(default_factory=list)
    skipped: dict[int, SkipReason] = field(default_factory=dict)  # by place in the range
    revisions: set[int] = field(default_factory=set)  # by place in the range
    # By place in the range: whose call a revision revises, where the event itself names another tenant, or none.
    adopted: dict[int, str] = field(default_factory=dict)
    known: dict[int, Namesakes] = field(default_factory=dict)
    formers: dict[int, Standing] = field(default_factory=dict)  # what a row revises, by the row's place in `rows`

    @property
    def token(self) -> str:
        """Return the name of this range: the same in every repeat, and never that of another range."""
        return f"{self.topic_id}:{self.partition}:{self.first_offset}-{self.next_offset}"


class Verdict(Enum):
    """What an event is, where it is not to be skipped."""

    NEW = auto()
    REVISION = auto()


class _Event(msgspec.Struct, frozen=True, gc=False):
    index: int
    call: Call
    key: int
    content_hash: int
    tenant: str  # the token's, else what the event states; empty where neither names one
    is_trusted: bool  # whether its token belongs to no tenant, and so may speak for any


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may ask: recent ids, calls on their way, calls in the store, prices.

    In a repeat of a planned range `decided` says what its events were found to be the first time.
    """

    seen: SeenIds
    under_way: Sequence[Mapping[int, Namesakes]]  # the latest range first
    look_up: Callable[[Sequence[int]], Mapping[int, Sequence[KnownCall]]]
    book: PriceBook
    decided: Decisions | None = None
    # Whether only our own gateway, which checks every event, writes to this log.
    checked: bool = False


def step(records: Records, context: StepContext) -> Batch:
    """Decode, validate, drop repeats, merge revisions and price one range of the log.

    The same range, decisions, prices and known calls give the same batch. `context.seen` is told of every new call.
    """
    batch = Batch(records.topic_id, records.partition, records.first_offset, records.next_offset)
    events = _decode(records, batch, checked=context.checked)
    stored = context.look_up(_to_look_up(events, records, context))
    layers = (batch.known, *context.under_way, stored)
    for event in events:
        known = _known_of(event, layers, context.decided)
        match _disposition(event, known, context.decided):
            case Skip(reason):
                batch.skipped[event.index] = reason
            case Verdict.NEW:
                _accept(event, None, records, batch, context)
            case Verdict.REVISION:
                batch.revisions.add(event.index)
                if known is not None and known.tenant != event.tenant:
                    batch.adopted[event.index] = known.tenant
                _accept(event, known, records, batch, context)
    return batch


def _known_of(
    event: _Event, layers: Sequence[Mapping[int, Sequence[Standing]]], decided: Decisions | None
) -> Standing | None:
    """Return the call that an event is about, the latest of what is known of it."""
    key = event.key
    found = [layer[key] for layer in layers if key in layer]
    if not found:
        return None
    wanted = event.tenant if decided is None else decided.adopted.get(event.index, event.tenant)
    for calls in found:
        for one in calls:
            if one.tenant == wanted:
                return one
    return _adopted(found, event.tenant) if decided is None and event.is_trusted else None


def _adopted(found: Iterable[Sequence[Standing]], tenant: str) -> Standing | None:
    """Return the call that an event of a token without tenant is about, where none is of the tenant that it states.

    Such a token need not repeat what the first event stated, nor have stated it then. It is believed on calls that
    tokens of no tenant sent, and never led to one that a tenant may have sent to catch it.
    """
    by_tenant: dict[str, Standing] = {}
    for calls in found:
        for one in calls:
            by_tenant.setdefault(one.tenant, one)
    if tenant:
        return by_tenant.get("")
    stated = [one for one in by_tenant.values() if one.is_stated]
    return min(stated, key=lambda one: (one.first_ingested_at_ns, one.tenant), default=None)


def laid_over(calls: Sequence[_Stands], later: _Stands) -> tuple[_Stands, ...]:
    """Return the calls of one id with `later` in place of its tenant's."""
    return (*(one for one in calls if one.tenant != later.tenant), later)


def _disposition(event: _Event, known: Standing | None, decided: Decisions | None) -> Verdict | Skip:
    if decided is None:
        return resolve(event.call.revision, event.content_hash, known)
    if event.index in decided.skipped:
        return Skip(decided.skipped[event.index])
    return Verdict.REVISION if event.index in decided.revisions else Verdict.NEW


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands in the log, and when it got there."""

    topic_id: str
    partition: int
    offset: int
    appended_at_ns: int


def resolve(revision: int, content_hash: int, known: Standing | None) -> Verdict | Skip:
    """Decide what an event is to what is known of its call: new, a revision of it, or a repeat to skip."""
    if known is None:
        return Verdict.NEW
    if revision > known.call.revision:
        return Verdict.REVISION
    if content_hash == known.content_hash:
        return Skip(SkipReason.DUPLICATE)
    return Skip(SkipReason.STALE_REVISION if revision < known.call.revision else SkipReason.DUP_CONFLICT)


def _place(records: Records, index: int) -> Place:
    return Place(records.topic_id, records.partition, records.first_offset + index, records.appended_at_ns[index])


def _decode(records: Records, batch: Batch, *, checked: bool) -> list[_Event]:
    events: list[_Event] = []
    decode = codec.decode_checked if checked else codec.decode_call
    for index, value in enumerate(records.values):
        try:
            call = decode(value)
            if call.call_id is None:
                call = msgspec.structs.replace(call, call_id=_id_of_place(_place(records, index)))
            key = call_key_of(call.call_id or "")
        except BadEventError as bad:
            reject = Reject(bad.reason, bad.detail)
            batch.dead_letters.append(_dead_letter(records, index, reject, checked=checked))
        else:
            sender = records.headers[index].get("tenant", "")
            tenant = sender or call.tenant or ""
            events.append(_Event(index, call, key, content_hash(value), tenant, not sender))
    return events


def _to_look_up(events: Sequence[_Event], records: Records, context: StepContext) -> list[int]:
    """Return the calls that only the store can tell about: those not surely new; in a repeat, those revised."""
    if context.decided is not None:
        return [event.key for event in events if event.index in context.decided.revisions]
    seen = context.seen
    return [
        event.key
        for event in events
        if not _is_under_way(event, context.under_way)
        and not seen.surely_new(event.key, records.appended_at_ns[event.index] // _NS_PER_MS)
    ]


def _is_under_way(event: _Event, under_way: Sequence[Mapping[int, Namesakes]]) -> bool:
    for calls in under_way:
        for one in calls.get(event.key, ()):
            if one.tenant == event.tenant:
                return True
    return False


def _accept(event: _Event, known: Standing | None, records: Records, batch: Batch, context: StepContext) -> None:
    place = _place(records, event.index)
    call = with_reconciled_usage(merge.merge_calls(known.call, event.call) if known else event.call)
    started_at_ns = times.to_ns(call.started_at)
    priced = price(call, started_at_ns, context.book)
    first = known or _first_of(event, started_at_ns, place)
    row = CallRow(
        call=call,
        call_key=event.key,
        started_at_ns=started_at_ns,
        clock_skew=abs(started_at_ns - place.appended_at_ns) > SKEW_NS_MAX,
        first_ingested_at_ns=first.first_ingested_at_ns,
        ingested_at_ns=place.appended_at_ns,
        counted_at_ns=first.counted_at_ns,
        bodies_key=first.bodies_key,
        topic_id=place.topic_id,
        partition=place.partition,
        offset=place.offset,
        content_hash=event.content_hash,
        cost_nanousd=priced.cost_nanousd,
        cost_source=priced.cost_source,
        price_id=priced.price_id,
        unpriced_reason=priced.unpriced_reason,
        estimated_input_tokens=priced.estimated_input_tokens,
        estimated_output_tokens=priced.estimated_output_tokens,
        prompt_fingerprint=event.call.prompt_fingerprint or prompt_fingerprint(event.call) or first.prompt_fingerprint,
        tenant=first.tenant,
        is_stated=first.is_stated,
        model=context.book.model(call),
        writes_body=known is None or _has_content(event.call),
        corrected=None if known is None else _still_corrected(known, call),
    )
    if known is not None:
        batch.formers[len(batch.rows)] = known
    batch.rows.append(row)
    former = batch.known.get(event.key)
    batch.known[event.key] = (row,) if former is None else laid_over(former, row)
    context.seen.add(event.key, place.appended_at_ns // _NS_PER_MS)


class _First(msgspec.Struct, gc=False):
    """What the first event of a call decides for good: where it stands, when it counts, and whose it is."""

    first_ingested_at_ns: int
    counted_at_ns: int | None
    bodies_key: int
    tenant: str
    is_stated: bool
    prompt_fingerprint: str | None = None


def _first_of(event: _Event, started_at_ns: int, place: Place) -> _First:
    call = event.call
    return _First(
        place.appended_at_ns,
        counts_at_ns(started_at_ns, call.latency_ms, place.appended_at_ns),
        bodies_key(request_key(call.trace_id, call.request_id, call.call_id or "")),
        event.tenant,
        event.is_trusted and bool(event.tenant),
    )


def _still_corrected(known: Standing, call: Call) -> Corrected | None:
    """Return a former correction that still holds: a revision undoes it only by changing what the price is made of."""
    if known.corrected is None or not are_priced_alike(known.call, call):
        return None
    return known.corrected


def _has_content(call: Call) -> bool:
    """Say whether an event brought anything that stands in `bodies`."""
    texts = (call.messages, call.prompt, call.output, call.input, call.tool_calls)
    return any(texts) or call.retrieval is not None or call.parser is not None


def _id_of_place(place: Place) -> str:
    """Return the call id of an event that brought none: made from its place, so that a replay gives it again."""
    return derived_call_id(place.appended_at_ns, place.topic_id, str(place.partition), str(place.offset))


def _dead_letter(records: Records, index: int, reject: Reject, *, checked: bool) -> DeadLetterRow:
    place = _place(records, index)
    headers = records.headers[index]
    # A letter that was sent again and fails again is that letter, with a newer reason.
    former = place_of(headers[LETTER_HEADER]) if checked and LETTER_HEADER in headers else None
    return DeadLetterRow(
        topic=former.topic if former else records.topic,
        topic_id=former.topic_id if former else place.topic_id,
        partition=former.partition if former else place.partition,
        offset=former.offset if former else place.offset,
        item=former.item if former else 0,
        received_at_ns=former.received_at_ns if former else place.appended_at_ns,
        # One later than the mark of the gateway, which took it for good.
        replayed_at_ns=place.appended_at_ns + 1 if former else 0,
        outcome="rejected" if former else "",
        reason=reject.reason,
        detail=reject.detail,
        key=records.keys[index],
        value=records.values[index],
        headers=tuple(headers.items()),
        tenant=headers.get("tenant", ""),
    )
