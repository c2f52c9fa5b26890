"""Turn rows into Arrow blocks and insert them, so that a repeat changes nothing. Decides nothing about calls."""

import base64
import uuid
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
from msgspec.structs import astuple

from llmtrail.core.call import Attempt, Call, CallError, Parser, Retrieval, Served, Usage, Versions
from llmtrail.core.columns import CONTENT_FIELDS, COUNT_FIELDS, SERVED_FIELDS, VERSION_COLUMNS
from llmtrail.core.times import to_ns
from llmtrail.store import arrow
from llmtrail.store.handle import Handle
from llmtrail.store.ids import named_ids, tells_its_day
from llmtrail.store.records import encode_record
from llmtrail.store.rows import CallRow, Correction, DeadLetterRow

_TEXT = pa.string()
_COUNT = pa.int64()
_FLOAT = pa.float64()
_SMALL = pa.uint16()
_NS_PER_MS = 1_000_000
# A corrected call is its stored row once more with another cost: the later of two equal revisions is shown.
_APPLY_CORRECTIONS = """
INSERT INTO llmtrail.calls_data
SELECT calls.* REPLACE (
  new.new_cost_nanousd AS cost_nanousd, new.new_cost_source AS cost_source, new.new_price_id AS price_id,
  new.new_unpriced_reason AS unpriced_reason, new.corrected_at AS cost_corrected_at)
FROM (
  SELECT * FROM llmtrail.calls_data FINAL
  WHERE ingest_day IN ({days}) AND toUInt128(call_id) IN (SELECT toUInt128(call_id) FROM {made})
) AS calls
INNER JOIN (SELECT * FROM {made} ORDER BY corrected_at DESC LIMIT 1 BY tenant, call_id
) AS new ON calls.tenant = new.tenant AND calls.call_id = new.call_id AND calls.revision = new.revision
"""
_MADE = """(
  SELECT * FROM llmtrail.price_corrections FINAL
  WHERE ingest_day IN ({days}) AND corrected_at >= fromUnixTimestamp64Milli({{from:Int64}})
  AND corrected_at <= fromUnixTimestamp64Milli({{to:Int64}})
)"""
_COUNTS = dict(zip(COUNT_FIELDS, COUNT_FIELDS, strict=True))
_NO_USAGE = Usage()
_NO_SERVED = Served()
_NO_VERSIONS = Versions()
_NO_ERROR = CallError()
_NO_PARSER = Parser()
_NO_RETRIEVAL = Retrieval()


def insert_calls(handle: Handle, rows: Sequence[CallRow], token: str) -> None:
    """Insert calls with their attempts, bodies and ids; durable when it returns.

    The same rows with the same token are stored once. `calls_data` is written last: a call that is present there has
    all its other rows, so `present_offsets` of that table tells whether a batch is whole. To repair a batch, insert
    it again with another token: every table replaces a row by its equal.

    Raises StoreFullError (nothing of the failing block is visible), StoreUnavailableError, StoreError.
    """
    if not rows:
        return
    written = [row for row in rows if row.writes_body]
    handle.insert_arrow("llmtrail.ids_data", ids_block(rows), f"{token}:ids")
    if written:
        handle.insert_arrow("llmtrail.bodies_data", bodies_block(written), f"{token}:bodies")
    handle.insert_arrow("llmtrail.calls_data", calls_block(rows), f"{token}:calls")


def insert_dead_letters(handle: Handle, letters: Sequence[DeadLetterRow], token: str) -> None:
    """Insert rejected events; the same ones with the same token, or at the same position, are stored once."""
    if not letters:
        return
    get = _getter(letters)
    received = get("received_at_ns")
    columns = {
        "received_day": arrow.days(received),
        "received_at": arrow.times(received),
        **{name: pa.array(get(name), _TEXT) for name in ("topic", "topic_id", "tenant", "reason", "detail", "outcome")},
        **{name: pa.array(get(name), pa.int64()) for name in ("partition", "offset", "item")},
        "value_base64": pa.array([base64.b64encode(value) for value in get("value")], pa.binary()),
        "key_base64": pa.array([base64.b64encode(key) for key in get("key")], pa.binary()),
        "headers": pa.array(get("headers"), pa.map_(_TEXT, _TEXT)),
        "replayed_at": arrow.times(get("replayed_at_ns")),
    }
    handle.insert_arrow("llmtrail.dead_letters_data", pa.table(columns), f"{token}:dead_letters")


def insert_corrections(handle: Handle, corrections: Sequence[Correction], token: str) -> None:
    """Insert corrections and bring the costs of the stored calls up to them; may be repeated.

    A call that was revised since keeps the cost of its revision: the correction was made for another one.
    """
    if not corrections:
        return
    get = _getter(corrections)
    columns = {
        "corrected_day": arrow.days(get("corrected_at_ns")),
        "tenant": pa.array(get("tenant"), _TEXT),
        "call_id": arrow.uuids(get("call_key")),
        "ingest_day": pa.array(get("ingest_day"), pa.int32()).cast(pa.date32()),
        "revision": pa.array(get("revision"), pa.int64()),
        **{name: pa.array(get(name), _COUNT) for name in ("old_cost_nanousd", "new_cost_nanousd")},
        **{
            name: pa.array(get(name), _TEXT)
            for name in ("old_price_id", "new_price_id", "new_cost_source", "new_unpriced_reason", "reason", "book_id")
        },
        "corrected_at": arrow.times(get("corrected_at_ns")),
    }
    handle.insert_arrow("llmtrail.price_corrections", pa.table(columns), f"{token}:corrections")
    days = ", ".join(f"toDate({day})" for day in sorted(set(get("ingest_day"))))
    instants = sorted(get("corrected_at_ns"))
    span = {"from": instants[0] // _NS_PER_MS, "to": instants[-1] // _NS_PER_MS}
    handle.command(_APPLY_CORRECTIONS.format(days=days, made=_MADE.format(days=days)), span)


def calls_block(rows: Sequence[CallRow]) -> pa.Table:
    """Build the block of `calls_data`."""
    calls = [row.call for row in rows]
    columns = {**_own_columns(rows), **_event_columns(calls), **_group_columns(calls), **_attempt_columns(calls)}
    # Most fields of most events are absent: a column without any value is left to its default, NULL.
    return pa.table({name: column for name, column in columns.items() if not _is_empty(column)})


def _is_empty(column: arrow.Column) -> bool:
    """Say whether a column tells nothing: every value, or every value in every list, is NULL."""
    values = column.values if isinstance(column, pa.ListArray) else column
    return bool(values.null_count == len(values))


def bodies_block(rows: Sequence[CallRow]) -> pa.Table:
    """Build the block of `bodies_data`; content is copied once and never decoded."""
    calls = [row.call for row in rows]
    retrievals = [call.retrieval or _NO_RETRIEVAL for call in calls]
    parsers = [call.parser or _NO_PARSER for call in calls]
    get, of_call = _getter(rows), _getter(calls)
    columns = {
        "ingest_day": arrow.days(get("first_ingested_at_ns")),
        "bodies_key": pa.array(get("bodies_key"), pa.uint64()),
        "call_id": arrow.uuids(get("call_key")),
        "revision": pa.array(of_call("revision"), pa.uint32()),
        "tenant": pa.array(get("tenant"), _TEXT),
        "request_id": pa.array(of_call("request_id"), _TEXT),
        **{name: arrow.raw_texts(of_call(name)) for name in CONTENT_FIELDS},
        "retrieval_query": arrow.raw_texts([retrieval.query for retrieval in retrievals]),
        "retrieval_documents": arrow.raw_texts([retrieval.documents for retrieval in retrievals]),
        "parser_value": arrow.raw_texts([parser.value for parser in parsers]),
        "parser_error": pa.array([parser.error for parser in parsers], _TEXT),
    }
    return pa.table({name: column for name, column in columns.items() if not _is_empty(column)})


def ids_block(rows: Sequence[CallRow]) -> pa.Table:
    """Build the block of `ids_data`: every id that a user may hold, once for each call.

    A call id that tells its day (a UUIDv7 of about now) is found without an entry.
    """
    texts: list[str] = []
    kinds: list[str] = []
    owners: list[CallRow] = []
    for row in rows:
        named = named_ids(row.call)
        if not tells_its_day(row.call_key, row.first_ingested_at_ns):
            named[str(uuid.UUID(int=row.call_key))] = "call"
        texts += named.keys()
        kinds += named.values()
        owners += [row] * len(named)
    get = _getter(owners)
    columns = {
        "id": pa.array(texts, _TEXT),
        "kind": pa.array(kinds, _TEXT),
        "tenant": pa.array(get("tenant"), _TEXT),
        "call_id": arrow.uuids(get("call_key")),
        "ingest_day": arrow.days(get("first_ingested_at_ns")),
        "bodies_key": pa.array(get("bodies_key"), pa.uint64()),
    }
    return pa.table(columns)


def _getter(items: Sequence[Any]) -> Callable[[str], list[Any]]:
    return lambda name: list(map(attrgetter(name), items))


def _own_columns(rows: Sequence[CallRow]) -> dict[str, arrow.Column]:
    """Build the columns that the writer decided on."""
    get = _getter(rows)
    first = get("first_ingested_at_ns")
    of_cost = _getter([row.corrected or row for row in rows])
    return {
        "ingest_day": arrow.days(first),
        "call_id": arrow.uuids(get("call_key")),
        "record": pa.array(list(map(encode_record, rows)), pa.binary()),
        "tenant": pa.array(get("tenant"), _TEXT),
        "model": pa.array(get("model"), _TEXT),
        "estimated_input_tokens": pa.array(get("estimated_input_tokens"), _COUNT),
        "estimated_output_tokens": pa.array(get("estimated_output_tokens"), _COUNT),
        "cost_nanousd": pa.array(of_cost("cost_nanousd"), _COUNT),
        "cost_source": pa.array(of_cost("cost_source"), _TEXT),
        "price_id": pa.array(of_cost("price_id"), _TEXT),
        "unpriced_reason": pa.array(of_cost("unpriced_reason"), _TEXT),
        "cost_corrected_at": arrow.optional_times(_corrected_at_ns(rows)),
        "prompt_fingerprint": pa.array(get("prompt_fingerprint"), _TEXT),
        "started_at": arrow.times(get("started_at_ns")),
        "clock_skew": pa.array(get("clock_skew"), pa.bool_()),
        "first_ingested_at": arrow.times(first),
        "ingested_at": arrow.times(get("ingested_at_ns")),
        "counted_at": arrow.optional_times(get("counted_at_ns")),
        "bodies_key": pa.array(get("bodies_key"), pa.uint64()),
        "content_hash": pa.array(get("content_hash"), pa.uint64()),
        "src_topic_id": pa.array(get("topic_id"), _TEXT),
        "src_partition": pa.array(get("partition"), pa.uint32()),
        "src_offset": pa.array(get("offset"), pa.uint64()),
    }


def _corrected_at_ns(rows: Sequence[CallRow]) -> list[int | None]:
    return [None if row.corrected is None else row.corrected.corrected_at_ns for row in rows]


_TEXT_FIELDS = (
    *("request_id", "trace_id", "span_id", "parent_span_id", "session_id", "provider_request_id"),
    *("user_id", "feature", "service", "environment", "host", "operation", "provider"),
    *("request_model", "response_model", "status", "failure_mode", "handled_by", "content_policy"),
)


def _event_columns(calls: Sequence[Call]) -> dict[str, arrow.Column]:
    """Build the columns that are fields of the event itself."""
    get = _getter(calls)
    attempts = get("attempts")
    return {
        **{name: pa.array(get(name), _TEXT) for name in _TEXT_FIELDS},
        "revision": pa.array(get("revision"), pa.uint32()),
        "parameters": arrow.raw_texts(get("parameters")),
        "attributes": arrow.raw_texts(get("attributes")),
        "stream": pa.array(get("stream"), pa.bool_()),
        "reported_cost_nanousd": pa.array(get("reported_cost_nanousd"), _COUNT),
        "input_bytes": pa.array(get("input_bytes"), _COUNT),
        "output_bytes": pa.array(get("output_bytes"), _COUNT),
        "latency_ms": pa.array(get("latency_ms"), _FLOAT),
        "time_to_first_token_ms": pa.array(get("time_to_first_token_ms"), _FLOAT),
        "retry_count": pa.array(get("retry_count"), _SMALL),
        "attempt_count": pa.array([None if some is None else len(some) for some in attempts], _SMALL),
        "finish_reasons": pa.array([reasons or () for reasons in get("finish_reasons")], pa.list_(_TEXT)),
        "schema_version": pa.array(get("schema_version"), _SMALL),
        "content_bytes": pa.array(map(_content_bytes, calls), pa.uint64(), size=len(calls)),
    }


def _group_columns(calls: Sequence[Call]) -> dict[str, arrow.Column]:
    """Build the columns of the event's groups: usage, served, versions, error, parser, retrieval."""
    get = _getter(calls)
    return {
        **_columns_of(get("usage"), _NO_USAGE, _COUNTS, _COUNT),
        **_columns_of(get("served"), _NO_SERVED, dict(zip(SERVED_FIELDS, SERVED_FIELDS, strict=True)), _TEXT),
        **_columns_of(get("versions"), _NO_VERSIONS, VERSION_COLUMNS, _TEXT),
        **_columns_of(get("error"), _NO_ERROR, {"type": "error_type", "message": "error_message"}, _TEXT),
        **_columns_of(get("error"), _NO_ERROR, {"http_status": "http_status"}, _SMALL),
        **_columns_of(get("parser"), _NO_PARSER, {"status": "parser_status"}, _TEXT),
        **_columns_of(get("retrieval"), _NO_RETRIEVAL, {"status": "retrieval_status"}, _TEXT),
        **_columns_of(get("retrieval"), _NO_RETRIEVAL, {"latency_ms": "retrieval_latency_ms"}, _FLOAT),
    }


def _columns_of(
    groups: Sequence[Any], none: msgspec.Struct, names: Mapping[str, str], kind: pa.DataType
) -> dict[str, arrow.Column]:
    """Build the columns of one group's fields, of which `none` has none; nothing where no call has the group."""
    if not any(groups):
        return {}
    fields = none.__struct_fields__
    # All fields at once, group by group, is quicker than all groups field by field.
    told = dict(zip(fields, zip(*[astuple(group or none) for group in groups], strict=True), strict=True))
    # A column of nothing but NULL need not be made to be left out.
    return {
        column: pa.array(told[field], kind) for field, column in names.items() if told[field].count(None) < len(groups)
    }


def _attempt_columns(calls: Sequence[Call]) -> dict[str, arrow.Column]:
    """Build the arrays of the attempts: one offset list for all, one flat column for each field."""
    flat: list[Attempt] = []
    offsets = [0]
    for call in calls:
        flat += call.attempts or ()
        offsets.append(len(flat))
    get = _getter(flat)
    errors = [_error_of(attempt) for attempt in flat]
    starts = [None if attempt.started_at is None else to_ns(attempt.started_at) for attempt in flat]
    columns = {
        "number": pa.array(get("number"), _SMALL),
        "started_at": arrow.optional_times(starts),
        "latency_ms": pa.array(get("latency_ms"), _FLOAT),
        "backoff_ms": pa.array(get("backoff_ms"), _FLOAT),
        "outcome": pa.array(get("outcome"), _TEXT),
        "http_status": pa.array(
            [attempt.http_status or error.http_status for attempt, error in zip(flat, errors, strict=True)], _SMALL
        ),
        "error_type": pa.array([error.type for error in errors], _TEXT),
        "error_message": pa.array([error.message for error in errors], _TEXT),
        "provider_request_id": pa.array(get("provider_request_id"), _TEXT),
        **_columns_of(get("usage"), _NO_USAGE, _COUNTS, _COUNT),
    }
    places = pa.array(offsets, pa.int32())
    return {f"attempts.{name}": pa.ListArray.from_arrays(places, values) for name, values in columns.items()}


def _error_of(attempt: Attempt) -> CallError:
    error = attempt.error
    if error is None:
        return _NO_ERROR
    return CallError(message=error) if isinstance(error, str) else error


def _content_bytes(call: Call) -> int:
    total = len(call.input) + len(call.messages) + len(call.prompt) + len(call.output) + len(call.tool_calls)
    if call.retrieval is not None:
        total += len(call.retrieval.query) + len(call.retrieval.documents)
    if call.parser is not None:
        total += len(call.parser.value)
    return total
