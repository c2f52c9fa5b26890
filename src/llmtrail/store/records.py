"""Read stored calls back as events. The one place that knows how rows become a Call again."""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import Call, Parser, Retrieval
from llmtrail.core.columns import BODY_COLUMNS, CONTENT_FIELDS
from llmtrail.store.handle import Handle
from llmtrail.store.rows import CallRow

# The reads of one look-up run side by side; these threads serve a look-up or two and cost nothing while idle.
_READERS = ThreadPoolExecutor(3, thread_name_prefix="llmtrail-look-up")

_T = TypeVar("_T")

# A look-up pays for each column it reads, not for the bytes: so what the writer stored is read back from one column,
# `record`. Long random ids and free attributes would take their space twice and are read from their own columns.
_OWN_COLUMNS = ("request_id", "trace_id", "provider_request_id", "attributes")
_DEFAULTS = dict(zip(Call.__struct_fields__[1:], Call.__struct_defaults__, strict=True))
_LEFT_OUT = {name: _DEFAULTS[name] for name in ("call_id", *_OWN_COLUMNS, *CONTENT_FIELDS)}

_CALL_NAMES = (
    *("call_id", "record", *_OWN_COLUMNS, "ingest_day", "bodies_key", "tenant"),
    *("first_ingested_at_ns", "ingested_at_ns", "counted_at_ns", "cost_corrected_at_ns"),
)
_POSITION_NAMES = ("content_hash", "src_topic_id", "src_partition", "src_offset")
_COST_NAMES = ("cost_nanousd", "cost_source", "price_id", "unpriced_reason")
_BODY_NAMES = ("tenant", "call_id", *BODY_COLUMNS.values())
_NO_BODY: Mapping[str, Any] = dict.fromkeys(_BODY_NAMES)

_LINE = json_decode.Decoder(list[Any])

# A call's tenant and its id: what names it.
Name = tuple[str, str]
# The content of calls.
Bodies = Mapping[Name, Mapping[str, Any]]


class _Record(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """What `record` holds: the event without what stands elsewhere, and what the writer made of it."""

    call: Call
    cost_nanousd: int | None = None
    cost_source: str = ""
    price_id: str | None = None
    unpriced_reason: str | None = None
    prompt_fingerprint: str | None = None
    clock_skew: bool = False
    started_at_ns: int = 0
    model: str = ""
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None
    is_stated: bool = False


_ENCODER = msgspec.json.Encoder()
_RECORD = json_decode.Decoder(_Record)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a call is stored."""

    call_id: str
    ingest_day: str  # YYYY-MM-DD
    bodies_key: int
    tenant: str

    @property
    def name(self) -> Name:
        """What names the call."""
        return self.tenant, self.call_id


@dataclass(frozen=True, slots=True)
class StoredCall:
    """A call as it stands in the store, with what the store adds to the event."""

    call: Call
    place: Place
    tenant: str
    is_stated: bool
    started_at_ns: int
    first_ingested_at_ns: int
    ingested_at_ns: int
    counted_at_ns: int | None  # None: it came too late to count
    cost_nanousd: int | None
    cost_source: str
    price_id: str | None
    unpriced_reason: str | None
    written_cost_nanousd: int | None  # before any correction
    cost_corrected_at_ns: int | None
    prompt_fingerprint: str | None
    clock_skew: bool
    model: str
    estimated_input_tokens: int | None
    estimated_output_tokens: int | None


@dataclass(frozen=True, slots=True)
class Position:
    """What is kept of the event that a stored revision came from."""

    content_hash: int
    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Found:
    """Calls without their content; `with_bodies` fetches that."""

    rows: Sequence[Mapping[str, Any]]
    calls: list[StoredCall]

    @property
    def positions(self) -> list[Position]:
        """Return where each came from (only where positions were asked for)."""
        return [Position(*(row[name] for name in _POSITION_NAMES)) for row in self.rows]

    def with_bodies(self, handle: Handle) -> list[StoredCall]:
        """Read the content of the calls and return them whole."""
        bodies = read_bodies(handle, [one.place for one in self.calls]) if self.calls else {}
        return joined(self.calls, bodies)


def joined(calls: Iterable[StoredCall], bodies: Bodies) -> list[StoredCall]:
    """Return the calls with their content."""
    return [replace(one, call=_whole(one.call, bodies.get(one.place.name, _NO_BODY))) for one in calls]


def encode_record(row: CallRow) -> bytes:
    """Encode what `record` holds of a row."""
    call = row.call
    changes: dict[str, Any] = _LEFT_OUT
    if call.retrieval is not None or call.parser is not None:
        retrieval, parser = call.retrieval, call.parser
        changes = changes | {
            "retrieval": retrieval and Retrieval(status=retrieval.status, latency_ms=retrieval.latency_ms),
            "parser": parser and Parser(status=parser.status),
        }
    # As `_Record` reads it back; a tuple is made faster.
    return _ENCODER.encode(
        (
            msgspec.structs.replace(call, **changes),
            row.cost_nanousd,
            row.cost_source,
            row.price_id,
            row.unpriced_reason,
            row.prompt_fingerprint,
            row.clock_skew,
            row.started_at_ns,
            row.model,
            row.estimated_input_tokens,
            row.estimated_output_tokens,
            # Of most calls it is false, and left out.
            *((True,) if row.is_stated else ()),
        )
    )


def read_places(handle: Handle, places: Sequence[Place]) -> Found:
    """Read these calls without their content; reads only their granules."""
    named = {place.name for place in places}
    rows = _read_calls(handle, places_sql(places), _CALL_NAMES)
    return _found([row for row in rows if (row["tenant"], row["call_id"]) in named])


def read_by_id(
    handle: Handle, call_ids: Sequence[str], days: Sequence[str], *, tenant: str | None = None, positions: bool = False
) -> Found:
    """Read calls by id without their content, of a tenant (None: of all that have one of the id), on these days.

    Where `days` is empty, on any.
    """
    where = f"toUInt128(call_id) IN ({', '.join(map(_key, call_ids))})"
    if days:
        where += f" AND ingest_day IN ({', '.join(map(_quoted, days))})"
    rows = _read_calls(handle, where, (*_CALL_NAMES, *_POSITION_NAMES) if positions else _CALL_NAMES)
    return _found([row for row in rows if tenant in {None, row["tenant"]}])


def read_bodies(handle: Handle, places: Sequence[Place]) -> Bodies:
    """Read the content of the calls at these places."""
    keys = ", ".join(str(key) for key in sorted({place.bodies_key for place in places}))
    where = f"{places_sql(places)} AND bodies_key IN ({keys})"
    rows = _read(handle, ", ".join(_BODY_NAMES), "llmtrail.bodies_data", where, _BODY_NAMES)
    return {(row["tenant"], row["call_id"]): row for row in rows}


def meanwhile(work: Callable[[], _T]) -> Future[_T]:
    """Let another thread do one more read of the same look-up."""
    return _READERS.submit(work)


def places_sql(places: Sequence[Place]) -> str:
    """Return the condition that holds for these calls and reads only their granules.

    It holds for other tenants' calls of the same ids too: `Place.name` tells them apart. To read the tenant as a
    condition would cost each look-up more than the rows that it might spare.
    """
    days = ", ".join(_quoted(day) for day in dict.fromkeys(place.ingest_day for place in places))
    keys = ", ".join(_key(place.call_id) for place in places)
    return f"ingest_day IN ({days}) AND toUInt128(call_id) IN ({keys})"


def text_sql(text: str) -> str:
    """Return any text as a literal that no text ends."""
    return f"unhex('{text.encode('utf-8', 'surrogatepass').hex()}')"


def _read_calls(handle: Handle, where: str, names: Sequence[str]) -> list[dict[str, Any]]:
    rows = _read(handle, _columns(names), "llmtrail.calls_data", where, names)
    corrected = [row for row in rows if row["cost_corrected_at_ns"] is not None]
    if corrected:
        # The record tells the first price; corrections are rare enough to be read apart.
        where = places_sql([_place(row) for row in corrected])
        columns = ("tenant", "call_id", *_COST_NAMES)
        costs = _read(handle, _columns(columns), "llmtrail.calls_data", where, columns)
        by_name = {(cost["tenant"], cost["call_id"]): cost for cost in costs}
        for row in corrected:
            row["costs"] = by_name[row["tenant"], row["call_id"]]
    return rows


def _columns(names: Sequence[str]) -> str:
    return ", ".join(
        f"toUnixTimestamp64Nano({name.removesuffix('_ns')}) AS {name}" if name.endswith("_ns") else name
        for name in names
    )


def _read(handle: Handle, columns: str, table: str, where: str, names: Sequence[str]) -> list[dict[str, Any]]:
    sql = f"SELECT {columns} FROM {table} FINAL PREWHERE {where}"  # noqa: S608 - built of our own names and keys only.
    lines = handle.query_bytes(sql, "JSONCompactEachRow")
    return [dict(zip(names, _LINE.decode(line), strict=True)) for line in lines.splitlines() if line]


def _key(call_id: str) -> str:
    # Whatever is not a UUID raises here and never reaches the SQL text.
    return f"toUInt128('{uuid.UUID(call_id).int}')"


def _quoted(day: str) -> str:
    return f"'{day}'"


def _place(row: Mapping[str, Any]) -> Place:
    return Place(row["call_id"], row["ingest_day"], row["bodies_key"], row["tenant"])


def _found(rows: Sequence[Mapping[str, Any]]) -> Found:
    return Found(rows, [_stored(row) for row in rows])


def _stored(row: Mapping[str, Any]) -> StoredCall:
    kept = _RECORD.decode(row["record"])
    costs = row.get("costs") or {name: getattr(kept, name) for name in _COST_NAMES}
    own: dict[str, Any] = {name: row[name] for name in ("call_id", *_OWN_COLUMNS) if row[name] is not None}
    if row["attributes"] is not None:
        own["attributes"] = _raw(row["attributes"])
    return StoredCall(
        call=msgspec.structs.replace(kept.call, **own),
        place=_place(row),
        tenant=row["tenant"],
        is_stated=kept.is_stated,
        started_at_ns=kept.started_at_ns,
        first_ingested_at_ns=row["first_ingested_at_ns"],
        ingested_at_ns=row["ingested_at_ns"],
        counted_at_ns=row["counted_at_ns"],
        written_cost_nanousd=kept.cost_nanousd,
        cost_corrected_at_ns=row["cost_corrected_at_ns"],
        **{name: costs[name] for name in _COST_NAMES},
        prompt_fingerprint=kept.prompt_fingerprint,
        clock_skew=kept.clock_skew,
        model=kept.model,
        estimated_input_tokens=kept.estimated_input_tokens,
        estimated_output_tokens=kept.estimated_output_tokens,
    )


def _whole(call: Call, body: Mapping[str, Any]) -> Call:
    changes: dict[str, Any] = {name: _raw(body[name]) for name in CONTENT_FIELDS if body[name] is not None}
    if call.retrieval is not None:
        query, documents = _raw(body["retrieval_query"]), _raw(body["retrieval_documents"])
        changes["retrieval"] = msgspec.structs.replace(call.retrieval, query=query, documents=documents)
    if call.parser is not None:
        value, error = _raw(body["parser_value"]), body["parser_error"]
        changes["parser"] = msgspec.structs.replace(call.parser, value=value, error=error)
    return msgspec.structs.replace(call, **changes) if changes else call


def _raw(text: str | None) -> msgspec.Raw:
    return msgspec.Raw() if text is None else msgspec.Raw(text.encode())
