"""Read stored calls back as events. The one place that knows how rows become a Call again."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import msgspec

from llmtrail.core.call import Call, Parser, Retrieval
from llmtrail.store.columns import BODY_COLUMNS
from llmtrail.store.handle import Handle

# Content and bodies are read at the same time; two threads serve a look-up or two and idle at no cost.
_BODY_READERS = ThreadPoolExecutor(2, thread_name_prefix="llmtrail-bodies")

# A look-up pays for each column it reads, not for the bytes: so the event's fields are read back from one column,
# `record`. Random ids and free attributes would double in size there and are read from their own columns.
_OWN_COLUMNS = (
    *("request_id", "trace_id", "span_id", "parent_span_id", "session_id", "provider_request_id", "attributes"),
)
_DEFAULTS = dict(zip(Call.__struct_fields__[1:], Call.__struct_defaults__, strict=True))
_LEFT_OUT = {name: _DEFAULTS[name] for name in ("call_id", *_OWN_COLUMNS, *BODY_COLUMNS)}

_CALL_NAMES = (
    *("call_id", "record", *_OWN_COLUMNS, "ingest_day", "bodies_key", "tenant", "clock_skew"),
    *("cost_nanousd", "cost_source", "price_id", "unpriced_reason", "prompt_fingerprint"),
    *("started_at_ns", "first_ingested_at_ns", "ingested_at_ns"),
    *("content_hash", "src_topic_id", "src_partition", "src_offset"),
)
_BODY_NAMES = ("call_id", *BODY_COLUMNS, "retrieval_query", "retrieval_documents", "parser_value", "parser_error")
_NO_BODY: Mapping[str, Any] = dict.fromkeys(_BODY_NAMES)

_ENCODER = msgspec.json.Encoder()
_RECORD = msgspec.json.Decoder(Call)
_LINE = msgspec.json.Decoder(list[Any])


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call is stored."""

    call_id: str
    ingest_day: str  # YYYY-MM-DD
    bodies_key: int


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call as it stands in the store, with what the store adds to the event."""

    call: Call
    started_at_ns: int
    first_ingested_at_ns: int
    ingested_at_ns: int
    ingest_day: str
    bodies_key: int
    content_hash: int
    tenant: str
    cost_nanousd: int | None
    cost_source: str
    price_id: str | None
    unpriced_reason: str | None
    prompt_fingerprint: str | None
    clock_skew: bool
    src_topic_id: str
    src_partition: int
    src_offset: int


def encode_record(call: Call) -> bytes:
    """Encode what `record` holds: the event without its content, random ids and attributes."""
    changes: dict[str, Any] = _LEFT_OUT
    if call.retrieval is not None or call.parser is not None:
        retrieval, parser = call.retrieval, call.parser
        changes = changes | {
            "retrieval": retrieval and Retrieval(status=retrieval.status, latency_ms=retrieval.latency_ms),
            "parser": parser and Parser(status=parser.status),
        }
    return _ENCODER.encode(msgspec.structs.replace(call, **changes))


def read_places(handle: Handle, places: Sequence[Place]) -> list[StoredCall]:
    """Read these calls with their content; reads only their granules."""
    bodies = _BODY_READERS.submit(_read_bodies, handle, places)
    rows = _read_calls(handle, places_sql((place.ingest_day, place.call_id) for place in places))
    return _joined(rows, bodies.result())


def read_by_id(handle: Handle, call_ids: Sequence[str], days: Sequence[str], *, with_bodies: bool) -> list[StoredCall]:
    """Read calls by id, on these days or, where `days` is empty, on any."""
    where = f"toUInt128(call_id) IN ({', '.join(map(_key, call_ids))})"
    if days:
        where += f" AND ingest_day IN ({', '.join(map(_quoted, days))})"
    rows = _read_calls(handle, where)
    places = [Place(row["call_id"], row["ingest_day"], row["bodies_key"]) for row in rows]
    return _joined(rows, _read_bodies(handle, places) if with_bodies and places else {})


def places_sql(days_and_ids: Iterable[tuple[str, str]]) -> str:
    """Return the condition that holds for exactly these calls and reads only their granules."""
    days: dict[str, None] = {}
    keys: list[str] = []
    for day, call_id in days_and_ids:
        days[day] = None
        keys.append(_key(call_id))
    return f"ingest_day IN ({', '.join(map(_quoted, days))}) AND toUInt128(call_id) IN ({', '.join(keys)})"


def _read_calls(handle: Handle, where: str) -> list[dict[str, Any]]:
    columns = ", ".join(
        f"toUnixTimestamp64Nano({name.removesuffix('_ns')}) AS {name}" if name.endswith("_at_ns") else name
        for name in _CALL_NAMES
    )
    return _read(handle, columns, "llmtrail.calls_data", where, _CALL_NAMES)


def _read_bodies(handle: Handle, places: Sequence[Place]) -> dict[str, dict[str, Any]]:
    keys = ", ".join(str(key) for key in sorted({place.bodies_key for place in places}))
    where = f"{places_sql((place.ingest_day, place.call_id) for place in places)} AND bodies_key IN ({keys})"
    rows = _read(handle, ", ".join(_BODY_NAMES), "llmtrail.bodies_data", where, _BODY_NAMES)
    return {row["call_id"]: row for row in rows}


def _read(handle: Handle, columns: str, table: str, where: str, names: Sequence[str]) -> list[dict[str, Any]]:
    sql = f"SELECT {columns} FROM {table} FINAL WHERE {where}"  # noqa: S608 - built of our own names and keys only.
    lines = handle.query_bytes(sql, "JSONCompactEachRow")
    return [dict(zip(names, _LINE.decode(line), strict=True)) for line in lines.splitlines() if line]


def _key(call_id: str) -> str:
    # Whatever is not a UUID raises here and never reaches the SQL text.
    return f"toUInt128('{uuid.UUID(call_id).int}')"


def _quoted(day: str) -> str:
    return f"'{day}'"


def _joined(rows: Sequence[Mapping[str, Any]], bodies: Mapping[str, Mapping[str, Any]]) -> list[StoredCall]:
    return [_stored(row, bodies.get(row["call_id"], _NO_BODY)) for row in rows]


def _stored(row: Mapping[str, Any], body: Mapping[str, Any]) -> StoredCall:
    ours = {name: row[name] for name in StoredCall.__slots__ if name != "call"}
    return StoredCall(call=_call(row, body), **ours)


def _call(row: Mapping[str, Any], body: Mapping[str, Any]) -> Call:
    record = _RECORD.decode(row["record"])
    changes: dict[str, Any] = {name: row[name] for name in ("call_id", *_OWN_COLUMNS) if row[name] is not None}
    changes |= {name: _raw(body[name]) for name in BODY_COLUMNS if body[name] is not None}
    if row["attributes"] is not None:
        changes["attributes"] = _raw(row["attributes"])
    if record.retrieval is not None:
        query, documents = _raw(body["retrieval_query"]), _raw(body["retrieval_documents"])
        changes["retrieval"] = msgspec.structs.replace(record.retrieval, query=query, documents=documents)
    if record.parser is not None:
        value, error = _raw(body["parser_value"]), body["parser_error"]
        changes["parser"] = msgspec.structs.replace(record.parser, value=value, error=error)
    return msgspec.structs.replace(record, **changes)


def _raw(text: str | None) -> msgspec.Raw:
    return msgspec.Raw() if text is None else msgspec.Raw(text.encode())
