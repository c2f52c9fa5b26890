"""Dead letters: how a bad event is kept on the log, and how it becomes a row. Pure but for `dead_letter_writer`."""

import base64
from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

import msgspec

from llmtrail.core import json_decode
from llmtrail.log.port import DEAD_LETTERS, Append, GroupLog, Records, Unread, cut_to_letter, uncounted
from llmtrail.store.rows import DeadLetterRow
from llmtrail_ingest.topic_writer import TopicWriter

GROUP = "dead-letter-writer"
NOT_A_LETTER = "not_a_letter"
# A reason in words may quote what a sender wrote.
DETAIL_LENGTH_MAX = 1_000


# What the table's columns hold; anybody may have written the letter.
_PLACE_MAX = 2**63 - 1
_Place = Annotated[int, msgspec.Meta(ge=0, le=_PLACE_MAX)]


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a record stood that the writer turned away: its row bears that place, so a repeat replaces itself."""

    topic: str
    topic_id: str
    partition: _Place
    offset: _Place
    received_at_ns: _Place
    item: _Place = 0


# On a record of `llm.calls` that a dead letter became: where that letter stands. Followed only where nobody but our
# own gateway writes to the log: another producer could name any letter.
LETTER_HEADER = "letter"


def place_text(origin: Origin) -> str:
    """Return a letter's place as a header holds it."""
    numbers = (origin.partition, origin.offset, origin.item, origin.received_at_ns)
    return "/".join((origin.topic, origin.topic_id, *map(str, numbers)))


def place_of(text: str) -> Origin | None:
    """Read a letter's place from a header; None where it is none."""
    parts = text.split("/")
    if len(parts) != 6 or not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts[2:]):
        return None
    partition, offset, item, received_at_ns = numbers = tuple(map(int, parts[2:]))
    if max(numbers) > _PLACE_MAX:
        return None
    return Origin(
        topic=parts[0], topic_id=parts[1], partition=partition, offset=offset, item=item, received_at_ns=received_at_ns
    )


class Letter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A bad event as it stands on `llm.dead_letters`; the bytes are kept exactly, as base64."""

    reason: str
    detail: str
    source: str
    value_base64: str
    key_base64: str = ""
    index: int | None = None
    call_id: str | None = None
    tenant: str | None = None
    origin: Origin | None = None
    # When it was last sent again, and what became of it then: accepted or rejected.
    replayed_at_ns: int = 0
    outcome: str = ""


_DECODER = json_decode.Decoder(Letter)
_ENCODER = msgspec.json.Encoder()


def letter_value(letter: Letter) -> bytes:
    """Return a letter as it goes onto the log."""
    return _ENCODER.encode(letter)


def letters_append(letters: Sequence[Letter], headers: Mapping[str, str]) -> Append:
    """Return the append that keeps `letters`; their keys are the call ids that they claim."""
    values = [letter_value(letter) for letter in letters]
    return Append(DEAD_LETTERS, values, [(letter.call_id or "").encode() for letter in letters], dict(headers))


def letter_of(value: bytes, *, reason: str, detail: str, source: str, index: int | None = None) -> Letter:
    """Return the letter for a value that was turned away."""
    return Letter(
        reason=reason, detail=detail, source=source, value_base64=base64.b64encode(value).decode(), index=index
    )


def record_letter(records: Records, index: int, reason: str, detail: str) -> Letter:
    """Return the letter of a record that its reader cannot read; again of the same record it is the same row."""
    kept, note = cut_to_letter(records.values[index])
    return Letter(
        reason=reason,
        detail=detail[:DETAIL_LENGTH_MAX] + note,
        source="log",
        value_base64=base64.b64encode(kept).decode(),
        tenant=records.headers[index].get("tenant") or None,
        origin=Origin(
            topic=records.topic,
            topic_id=records.topic_id,
            partition=records.partition,
            offset=records.first_offset + index,
            received_at_ns=max(records.appended_at_ns[index], 0),
        ),
    )


def origin_letter(row: DeadLetterRow) -> Letter:
    """Return the letter of a record that the writer turned away, to be appended to `llm.dead_letters`."""
    return Letter(
        reason=row.reason,
        detail=row.detail,
        source="log",
        value_base64=base64.b64encode(row.value).decode(),
        key_base64=base64.b64encode(row.key).decode(),
        tenant=row.tenant or None,
        origin=Origin(
            topic=row.topic,
            topic_id=row.topic_id,
            partition=row.partition,
            offset=row.offset,
            item=row.item,
            received_at_ns=row.received_at_ns,
        ),
        replayed_at_ns=row.replayed_at_ns,
        outcome=row.outcome,
    )


def letter_rows(records: Records) -> list[DeadLetterRow]:
    """Return the rows of a run of `llm.dead_letters`; what is no letter itself is kept whole, under `not_a_letter`."""
    return [_row(records, index) for index in range(len(records.values))]


def _row(records: Records, index: int) -> DeadLetterRow:
    value = records.values[index]
    headers = dict(records.headers[index])
    tenant, outcome, replayed_at_ns = headers.get("tenant", ""), "", 0
    stands = Origin(
        topic=records.topic,
        topic_id=records.topic_id,
        partition=records.partition,
        offset=records.first_offset + index,
        received_at_ns=records.appended_at_ns[index],
    )
    try:
        letter = _DECODER.decode(value)
        reason, detail = letter.reason, letter.detail
        headers |= {"source": letter.source}
        if letter.index is not None:
            headers["index"] = str(letter.index)
        tenant = letter.tenant or tenant
        stands = letter.origin or stands
        outcome, replayed_at_ns = letter.outcome, letter.replayed_at_ns
        key = base64.b64decode(letter.key_base64) or records.keys[index]
        value = base64.b64decode(letter.value_base64)
    except (msgspec.MsgspecError, ValueError) as cause:
        reason, detail, key = NOT_A_LETTER, str(cause), records.keys[index]
    return DeadLetterRow(
        topic=stands.topic,
        topic_id=stands.topic_id,
        partition=stands.partition,
        offset=stands.offset,
        received_at_ns=stands.received_at_ns,
        reason=reason,
        detail=detail,
        key=key,
        value=value,
        headers=tuple(headers.items()),
        tenant=tenant,
        item=stands.item,
        replayed_at_ns=replayed_at_ns,
        outcome=outcome,
    )


class LetterSink(Protocol):
    """The store as dead letters need it."""

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Insert letters; a letter of the same place again replaces itself."""


def dead_letter_writer(log: GroupLog, sink: LetterSink, unread: Unread = uncounted) -> TopicWriter:
    """Return what carries `llm.dead_letters` into the table. A repeat after a crash replaces the same rows."""

    def store(records: Records, token: str) -> None:
        rows = letter_rows(records)
        sink.insert_dead_letters(rows, token)
        # Counted once they are stored: what is tried again is no further record.
        if strange := sum(row.reason == NOT_A_LETTER for row in rows):
            unread(DEAD_LETTERS, strange)

    return TopicWriter(log, DEAD_LETTERS, GROUP, store)
