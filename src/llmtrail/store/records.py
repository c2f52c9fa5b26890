"""Read stored calls back as events. The one place that knows how columns become a Call again."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from llmtrail.core.call import Attempt, Call, CallError, Parser, Retrieval, Usage, Versions
from llmtrail.core.failure import FailureMode, Status
from llmtrail.store.columns import BODY_COLUMNS, COUNT_FIELDS, VERSION_COLUMNS
from llmtrail.store.handle import Handle

_PLAIN = (
    *("call_id", "revision", "request_id", "trace_id", "span_id", "parent_span_id", "session_id"),
    *("provider_request_id", "user_id", "feature", "service", "environment", "host", "operation", "provider"),
    *("request_model", "response_model", "stream", "reported_cost_nanousd", "latency_ms"),
    *("time_to_first_token_ms", "retry_count", "status", "failure_mode", "handled_by"),
    *("prompt_fingerprint", "schema_version", "content_policy"),
)
_OURS = (
    *("ingest_day", "bodies_key", "content_hash", "cost_nanousd", "cost_source", "price_id", "unpriced_reason"),
    *("clock_skew", "content_bytes", "tenant", "src_topic_id", "src_partition", "src_offset"),
)
_TIMES = ("started_at", "first_ingested_at", "ingested_at")
_GROUPS = (
    *COUNT_FIELDS,
    *VERSION_COLUMNS.values(),
    *("error_type", "error_message", "http_status", "parser_status", "retrieval_status", "retrieval_latency_ms"),
    *("parameters", "attributes", "finish_reasons", "attempt_count"),
)
_ATTEMPT_PLAIN = (
    *("number", "latency_ms", "backoff_ms", "outcome", "http_status", "error_type", "error_message"),
    *("provider_request_id", *COUNT_FIELDS),
)
_CALL_SELECT = ", ".join(
    [
        *_PLAIN,
        *_OURS,
        *_GROUPS,
        *(f"toUnixTimestamp64Nano({name}) AS {name}_ns" for name in _TIMES),
        "arrayMap(at -> toUnixTimestamp64Nano(at), attempts.started_at) AS attempt_started_at_ns",
        *(f"attempts.{name} AS attempt_{name}" for name in _ATTEMPT_PLAIN),
    ]
)
_CALL_NAMES = (
    *_PLAIN,
    *_OURS,
    *_GROUPS,
    *(f"{name}_ns" for name in _TIMES),
    "attempt_started_at_ns",
    *(f"attempt_{name}" for name in _ATTEMPT_PLAIN),
)
_BODY_NAMES = (
    *("call_id", *BODY_COLUMNS),
    *("retrieval_query", "retrieval_documents", "parser_value", "parser_error"),
)
_BODY_SELECT = ", ".join(_BODY_NAMES)
_NO_BODY: Mapping[str, Any] = dict.fromkeys(_BODY_NAMES)

_LINE = msgspec.json.Decoder(list[Any])


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
    clock_skew: bool
    content_bytes: int
    src_topic_id: str
    src_partition: int
    src_offset: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call is stored."""

    call_id: str
    ingest_day: str  # YYYY-MM-DD
    bodies_key: int


def read_calls(handle: Handle, where: str, with_bodies: bool) -> list[StoredCall]:
    """Read the latest revision of the calls that match `where`, which must bound the key or the day."""
    rows = _read(handle, _CALL_SELECT, "llmtrail.calls_data", where, _CALL_NAMES)
    bodies: Mapping[str, Mapping[str, Any]] = {}
    if with_bodies and rows:
        places = [Place(row["call_id"], row["ingest_day"], row["bodies_key"]) for row in rows]
        found = _read(handle, _BODY_SELECT, "llmtrail.bodies_data", body_places_sql(places), _BODY_NAMES)
        bodies = {row["call_id"]: row for row in found}
    return [_stored(row, bodies.get(row["call_id"], _NO_BODY)) for row in rows]


def places_sql(places: Iterable[Place]) -> str:
    """Return the condition on `calls_data` that holds for exactly these calls and reads only their granules."""
    return _by_day((place.ingest_day, _key(place.call_id)) for place in places)


def body_places_sql(places: Iterable[Place]) -> str:
    """Return the condition on `bodies_data` that holds for exactly these calls and reads only their granules."""
    wanted = list(places)
    keys = ", ".join(str(key) for key in sorted({place.bodies_key for place in wanted}))
    return f"{places_sql(wanted)} AND bodies_key IN ({keys})"


def call_ids_sql(call_ids: Sequence[str]) -> str:
    """Return the condition that holds for calls of these ids, whatever their day."""
    return f"toUInt128(call_id) IN ({', '.join(map(_key, call_ids))})"


def _by_day(days_and_keys: Iterable[tuple[str, str]]) -> str:
    keys_of: dict[str, list[str]] = {}
    for day, key in days_and_keys:
        keys_of.setdefault(day, []).append(key)
    days = ", ".join(f"'{day}'" for day in keys_of)
    keys = ", ".join(key for keys in keys_of.values() for key in keys)
    return f"ingest_day IN ({days}) AND toUInt128(call_id) IN ({keys})"


def _key(call_id: str) -> str:
    # Only UUIDs that the store itself printed come here, so there is nothing to escape.
    return f"toUInt128(toUUID('{call_id}'))"


def _read(handle: Handle, select: str, table: str, where: str, names: Sequence[str]) -> list[dict[str, Any]]:
    sql = f"SELECT {select} FROM {table} FINAL WHERE {where}"  # noqa: S608 - built of our own names and keys only.
    lines = handle.query_bytes(sql, "JSONCompactEachRow")
    return [dict(zip(names, _LINE.decode(line), strict=True)) for line in lines.splitlines() if line]


def _stored(row: Mapping[str, Any], body: Mapping[str, Any]) -> StoredCall:
    return StoredCall(
        call=_call(row, body),
        started_at_ns=row["started_at_ns"],
        first_ingested_at_ns=row["first_ingested_at_ns"],
        ingested_at_ns=row["ingested_at_ns"],
        **{name: row[name] for name in _OURS},
    )


def _call(row: Mapping[str, Any], body: Mapping[str, Any]) -> Call:
    fields = {name: row[name] for name in _PLAIN}
    fields |= {name: _raw(body[name]) for name in BODY_COLUMNS}
    fields["status"] = None if row["status"] is None else Status(row["status"])
    fields["failure_mode"] = None if row["failure_mode"] is None else FailureMode(row["failure_mode"])
    return Call(
        **fields,
        tenant=row["tenant"] or None,
        started_at=row["started_at_ns"],
        parameters=_raw(row["parameters"]),
        attributes=_raw(row["attributes"]),
        usage=_usage({name: row[name] for name in COUNT_FIELDS}),
        versions=_versions({field: row[column] for field, column in VERSION_COLUMNS.items()}),
        error=_error(row["error_type"], row["error_message"], row["http_status"]),
        finish_reasons=tuple(row["finish_reasons"]) or None,
        attempts=None if row["attempt_count"] is None else tuple(_attempts(row)),
        retrieval=_retrieval(row, body),
        parser=_parser(row, body),
    )


def _raw(text: str | None) -> msgspec.Raw:
    return msgspec.Raw() if text is None else msgspec.Raw(text.encode())


def _usage(counts: Mapping[str, int | None]) -> Usage | None:
    return None if all(count is None for count in counts.values()) else Usage(**counts)


def _versions(texts: Mapping[str, str | None]) -> Versions | None:
    return None if all(text is None for text in texts.values()) else Versions(**texts)


def _error(type_: str | None, message: str | None, http_status: int | None) -> CallError | None:
    if type_ is None and message is None and http_status is None:
        return None
    return CallError(type=type_, message=message, http_status=http_status)


def _attempts(row: Mapping[str, Any]) -> Iterable[Attempt]:
    names = ("started_at_ns", *_ATTEMPT_PLAIN)
    for values in zip(*(row[f"attempt_{name}"] for name in names), strict=True):
        one = dict(zip(names, values, strict=True))
        yield Attempt(
            number=one["number"],
            started_at=one["started_at_ns"],
            latency_ms=one["latency_ms"],
            backoff_ms=one["backoff_ms"],
            outcome=one["outcome"],
            http_status=one["http_status"],
            error=_error(one["error_type"], one["error_message"], None),
            usage=_usage({name: one[name] for name in COUNT_FIELDS}),
            provider_request_id=one["provider_request_id"],
        )


def _retrieval(row: Mapping[str, Any], body: Mapping[str, Any]) -> Retrieval | None:
    found = (row["retrieval_status"], row["retrieval_latency_ms"], body["retrieval_query"], body["retrieval_documents"])
    if all(part is None for part in found):
        return None
    status, latency_ms, query, documents = found
    return Retrieval(status=status, latency_ms=latency_ms, query=_raw(query), documents=_raw(documents))


def _parser(row: Mapping[str, Any], body: Mapping[str, Any]) -> Parser | None:
    found = (row["parser_status"], body["parser_value"], body["parser_error"])
    if all(part is None for part in found):
        return None
    status, value, error = found
    return Parser(status=status, value=_raw(value), error=error)
