"""What the store already holds: for recovery after a crash, and for telling repeats from news."""

import uuid
from collections.abc import Sequence
from datetime import date, timedelta

from llmtrail.store.arrow import DAY_NS
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle
from llmtrail.store.records import Place, StoredCall, places_sql, read_by_id
from llmtrail.store.rows import CallRow, Corrected, KnownCall

# Ids travel inside the SQL text; a thousand of them are 50 kB, far below the engine's limit of 256 kB.
KEYS_PER_QUERY = 1_000
_EPOCH = date(1970, 1, 1)

# Table -> (offset column, columns of the position).
_POSITIONS = {
    "calls_data": ("src_topic_id", "src_partition", "src_offset"),
    "dead_letters_data": ("topic_id", "`partition`", "`offset`"),
}


def present_offsets(
    handle: Handle, table: str, topic_id: str, partition: int, first_offset: int, next_offset: int
) -> int:
    """Count the distinct offsets of the range that have a row in `table` (calls_data or dead_letters_data).

    A merge drops rows that a later revision replaced, so fewer than expected means only "insert the range again":
    that is safe at any time, because every table replaces a row by its equal.
    """
    if table not in _POSITIONS:
        raise StoreError(f"Rows of {table} hold no position; ask for one of {', '.join(_POSITIONS)}.")
    topic, part, offset = _POSITIONS[table]
    rows = handle.query(
        f"SELECT uniqExact({offset}) FROM llmtrail.{table} WHERE {topic} = {{topic:String}} "  # noqa: S608 - own names
        f"AND {part} = {{partition:UInt32}} AND {offset} >= {{first:UInt64}} AND {offset} < {{next:UInt64}}",
        {"topic": topic_id, "partition": partition, "first": first_offset, "next": next_offset},
    )
    return int(rows[0][0])


def known_calls(
    handle: Handle, call_keys: Sequence[int], *, with_bodies: bool = True
) -> dict[int, tuple[KnownCall, ...]]:
    """Return what is stored under these ids, of every tenant, whole enough to merge a later revision into.

    Without bodies the content fields of the call are empty.
    """
    known: dict[int, tuple[KnownCall, ...]] = {}
    for start in range(0, len(call_keys), KEYS_PER_QUERY):
        call_ids = [str(uuid.UUID(int=key)) for key in call_keys[start : start + KEYS_PER_QUERY]]
        found = read_by_id(handle, call_ids, (), positions=True)
        calls = found.with_bodies(handle) if with_bodies else found.calls
        for stored, position in zip(calls, found.positions, strict=True):
            key = uuid.UUID(stored.call.call_id).int
            one = KnownCall(
                call=stored.call,
                revision=stored.call.revision,
                content_hash=position.content_hash,
                first_ingested_at_ns=stored.first_ingested_at_ns,
                bodies_key=stored.place.bodies_key,
                ingested_at_ns=stored.ingested_at_ns,
                counted_at_ns=stored.counted_at_ns,
                cost_nanousd=stored.written_cost_nanousd,
                prompt_fingerprint=stored.prompt_fingerprint,
                corrected=_corrected(stored),
                tenant=stored.tenant,
                is_stated=stored.is_stated,
                model=stored.model,
                estimated_input_tokens=stored.estimated_input_tokens,
                estimated_output_tokens=stored.estimated_output_tokens,
                topic_id=position.topic_id,
                partition=position.partition,
                offset=position.offset,
            )
            known[key] = (*known.get(key, ()), one)
    return known


def _corrected(stored: StoredCall) -> Corrected | None:
    if stored.cost_corrected_at_ns is None:
        return None
    return Corrected(
        stored.cost_nanousd,
        stored.cost_source,
        stored.price_id,
        stored.unpriced_reason,
        stored.cost_corrected_at_ns,
    )


def missing_rows(handle: Handle, rows: Sequence[CallRow]) -> int:
    """Count the rows that are in `calls_data` neither as they are nor in a later revision."""
    wanted = list({(row.tenant, row.call_key): row for row in rows}.items())
    missing = 0
    for start in range(0, len(wanted), KEYS_PER_QUERY):
        some = wanted[start : start + KEYS_PER_QUERY]
        places = [
            Place(str(uuid.UUID(int=row.call_key)), _day(row.first_ingested_at_ns), row.bodies_key, row.tenant)
            for _, row in some
        ]
        found = handle.query(
            "SELECT tenant, toString(call_id), max(revision) FROM llmtrail.calls_data "  # noqa: S608 - keys only
            f"WHERE {places_sql(places)} GROUP BY tenant, call_id"
        )
        latest = {(tenant, uuid.UUID(call_id).int): int(revision) for tenant, call_id, revision in found}
        missing += sum(1 for name, row in some if latest.get(name, -1) < row.call.revision)
    return missing


def _day(instant_ns: int) -> str:
    return (_EPOCH + timedelta(days=instant_ns // DAY_NS)).isoformat()
