"""Find a whole request by any id that a user may hold. Every read is bounded by day and key, so it stays flat."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from llmtrail.core.call import Call
from llmtrail.store.handle import Handle
from llmtrail.store.ids import named_ids
from llmtrail.store.records import Place, StoredCall, read_by_id, read_places

# A session may hold thousands of calls; more than this is a query, not a page.
CALLS_MAX = 200

RequestDocument = dict[str, Any]

# An id of one of these kinds names the request itself, so every call that bears it belongs to the answer.
_WHOLE = frozenset({"request", "trace", "session", "ticket"})
_CONTENT = ("input", "messages", "prompt", "output", "tool_calls")
_JSON = ("parameters", "attributes")


def find_request(handle: Handle, id_value: str, tenant: str | None = None) -> RequestDocument | None:
    """Return the request that `id_value` belongs to with all its calls, ready to become JSON; None if unknown.

    `id_value` may be a request, call, trace, session, provider request or ticket id. With `tenant`, calls of any
    other tenant do not exist.
    """
    kind, stored = _find(handle, id_value)
    if stored and kind not in _WHOLE:
        stored = _with_siblings(handle, stored)
    if tenant is not None:
        stored = [one for one in stored if one.tenant == tenant]
    if not stored:
        return None
    stored.sort(key=lambda one: (one.started_at_ns, one.call.call_id or ""))
    return _document(id_value, kind, stored)


def _find(handle: Handle, id_value: str) -> tuple[str, list[StoredCall]]:
    hits = _hits(handle, id_value)
    if hits:
        stored = read_places(handle, [place for _, place in hits])
        # Two ids may share a hash: only calls that really bear the id belong to the answer.
        bearing = [one for one in stored if id_value in named_ids(one.call)]
        if bearing:
            return named_ids(bearing[0].call)[id_value], bearing
    return "call", _find_call(handle, id_value, [place.ingest_day for _, place in hits])


def _find_call(handle: Handle, id_value: str, days_hit: list[str]) -> list[StoredCall]:
    try:
        call_id = uuid.UUID(id_value)
    except ValueError:
        return []
    days = days_hit
    if str(call_id) != id_value:
        # Spelled otherwise than in the store: its entry, where it has one, is under the usual spelling.
        days = [place.ingest_day for _, place in _hits(handle, str(call_id))]
    if call_id.version == 7:
        made = datetime.fromtimestamp((call_id.int >> 80) / 1000, UTC).date()
        days = days + [(made + timedelta(days=shift)).isoformat() for shift in (-1, 0, 1)]
    return read_by_id(handle, [str(call_id)], days, with_bodies=True) if days else []


def _hits(handle: Handle, id_value: str) -> list[tuple[str, Place]]:
    rows = handle.query(
        "SELECT kind, toString(call_id), toString(ingest_day), bodies_key FROM llmtrail.ids_data "
        "WHERE id_hash = cityHash64({id:String}) LIMIT 1 BY call_id LIMIT {most:UInt32}",
        {"id": id_value, "most": CALLS_MAX + 1},
    )
    return [(kind, Place(call_id, day, int(bodies_key))) for kind, call_id, day, bodies_key in rows]


def _with_siblings(handle: Handle, stored: list[StoredCall]) -> list[StoredCall]:
    """Add the other calls of the same request, where the id named only one call of it."""
    call = stored[0].call
    root = call.request_id or call.trace_id
    if root is None:
        return stored
    have = {one.call.call_id for one in stored}
    missing = [place for _, place in _hits(handle, root) if place.call_id not in have]
    if not missing:
        return stored
    others = read_places(handle, missing)
    return stored + [one for one in others if root in named_ids(one.call)]


def _document(id_value: str, kind: str, stored: Sequence[StoredCall]) -> RequestDocument:
    shown = stored[:CALLS_MAX]
    costs = [one.cost_nanousd for one in shown if one.cost_nanousd is not None]
    return {
        "id": id_value,
        "found_by": kind,
        "request_id": _first(one.call.request_id for one in shown),
        "trace_id": _first(one.call.trace_id for one in shown),
        "session_id": _first(one.call.session_id for one in shown),
        "tenant": _first(one.tenant or None for one in shown),
        "user_id": _first(one.call.user_id for one in shown),
        "feature": _first(one.call.feature for one in shown),
        "cost_nanousd": sum(costs) if costs else None,
        "unpriced_calls": len(shown) - len(costs),
        "failed_calls": sum(1 for one in shown if one.call.failure_mode is not None),
        "truncated": len(stored) > CALLS_MAX,
        "calls": [_call_document(one) for one in shown],
    }


def _first(values: Iterable[str | None]) -> str | None:
    return next((value for value in values if value is not None), None)


def _call_document(stored: StoredCall) -> dict[str, Any]:
    call = stored.call
    document: dict[str, Any] = {
        name: msgspec.to_builtins(getattr(call, name))
        for name in Call.__struct_fields__
        if name not in _CONTENT and name not in _JSON and name not in {"retrieval", "parser"}
    }
    document |= {name: _value(getattr(call, name)) for name in (*_JSON, *_CONTENT)}
    if call.retrieval is not None:
        document["retrieval"] = {
            "status": call.retrieval.status,
            "latency_ms": call.retrieval.latency_ms,
            "query": _value(call.retrieval.query),
            "documents": _value(call.retrieval.documents),
        }
    if call.parser is not None:
        document["parser"] = {
            "status": call.parser.status,
            "value": _value(call.parser.value),
            "error": call.parser.error,
        }
    return document | {
        "started_at_ns": stored.started_at_ns,
        "cost_nanousd": stored.cost_nanousd,
        "cost_source": stored.cost_source,
        "price_id": stored.price_id,
        "unpriced_reason": stored.unpriced_reason,
        "clock_skew": stored.clock_skew,
        "prompt_fingerprint": stored.prompt_fingerprint or call.prompt_fingerprint,
        "first_ingested_at_ns": stored.first_ingested_at_ns,
        "ingested_at_ns": stored.ingested_at_ns,
        "ingest_day": stored.ingest_day,
    }


def _value(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw) if raw else None
