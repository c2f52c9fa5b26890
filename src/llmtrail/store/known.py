"""What the store already holds: for recovery after a crash, and for telling repeats from news."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import date, timedelta

from llmtrail.store.arrow import DAY_NS
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle
from llmtrail.store.records import StoredCall, places_sql, read_by_id
from llmtrail.store.rows import CallRow, Corrected, KnownCall, KnownId

# Ids travel inside the SQL text; a thousand of them are 50 kB, far below the engine's limit of 256 kB.
KEYS_PER_QUERY = 1_000
# Rows of `recent_ids` that are held in memory at a time.
_EPOCH = date(1970, 1, 1)
_SLICE_NS = DAY_NS // 24

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


def recent_ids(handle: Handle, since_ns: int, until_ns: int) -> Iterator[KnownId]:
    """Return what is known of every call first ingested in [since_ns, until_ns), an hour at a time."""
    for start_ns in range(since_ns, until_ns, _SLICE_NS):
        rows = handle.query(
            "SELECT toString(call_id), max(revision), argMax(content_hash, revision), "
            "toUnixTimestamp64Nano(min(first_ingested_at)), any(bodies_key) FROM llmtrail.calls_data "
            "WHERE ingest_day >= toDate(fromUnixTimestamp64Nano({since:Int64}, 'UTC')) "
            "AND ingest_day <= toDate(fromUnixTimestamp64Nano({until:Int64}, 'UTC')) "
            "AND first_ingested_at >= fromUnixTimestamp64Nano({since:Int64}, 'UTC') "
            "AND first_ingested_at < fromUnixTimestamp64Nano({until:Int64}, 'UTC') GROUP BY call_id",
            {"since": start_ns, "until": min(start_ns + _SLICE_NS, until_ns)},
        )
        for call_id, revision, content_hash, first_ns, bodies_key in rows:
            yield KnownId(uuid.UUID(call_id).int, int(revision), int(content_hash), int(first_ns), int(bodies_key))


def known_calls(handle: Handle, call_keys: Sequence[int], *, with_bodies: bool = True) -> dict[int, KnownCall]:
    """Return the stored calls among `call_keys`, whole enough to merge a later revision into.

    Without bodies the content fields of the call are empty.
    """
    known: dict[int, KnownCall] = {}
    for start in range(0, len(call_keys), KEYS_PER_QUERY):
        call_ids = [str(uuid.UUID(int=key)) for key in call_keys[start : start + KEYS_PER_QUERY]]
        found = read_by_id(handle, call_ids, (), positions=True)
        calls = found.with_bodies(handle) if with_bodies else found.calls
        for stored, position in zip(calls, found.positions, strict=True):
            key = uuid.UUID(stored.call.call_id).int
            known[key] = KnownCall(
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
                model=stored.model,
                estimated_input_tokens=stored.estimated_input_tokens,
                estimated_output_tokens=stored.estimated_output_tokens,
                topic_id=position.topic_id,
                partition=position.partition,
                offset=position.offset,
            )
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
    missing = 0
    for start in range(0, len(rows), KEYS_PER_QUERY):
        some = rows[start : start + KEYS_PER_QUERY]
        where = places_sql((_day(row.first_ingested_at_ns), str(uuid.UUID(int=row.call_key))) for row in some)
        found = handle.query(
            f"SELECT toString(call_id), max(revision) FROM llmtrail.calls_data WHERE {where} GROUP BY call_id"  # noqa: S608
        )
        latest = {uuid.UUID(call_id).int: int(revision) for call_id, revision in found}
        missing += sum(1 for row in some if latest.get(row.call_key, -1) < row.call.revision)
    return missing


def _day(instant_ns: int) -> str:
    return (_EPOCH + timedelta(days=instant_ns // DAY_NS)).isoformat()
