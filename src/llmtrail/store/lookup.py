"""Find a whole request by any id that a user may hold. Every read is bounded by day and key, so it stays flat."""

import uuid
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import Call
from llmtrail.core.gpu_map import Deployment
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.alert_reads import find_of_request
from llmtrail.store.arrow import TIME_MAX_NS
from llmtrail.store.cityhash import city_hash64
from llmtrail.store.errors import StoreError
from llmtrail.store.gpu_join import GpuDocument, gpus_of_calls
from llmtrail.store.gpu_places import stored_deployments
from llmtrail.store.handle import Handle, Limits
from llmtrail.store.ids import named_ids
from llmtrail.store.records import (
    Bodies,
    Place,
    StoredCall,
    joined,
    meanwhile,
    read_bodies,
    read_by_id,
    read_places,
    text_sql,
)

# A session may hold thousands of calls; more than this is a query, not a page.
CALLS_MAX = 200
# Entries of one id, repeats that no merge has dropped yet included.
HITS_MAX = 4 * CALLS_MAX

RequestDocument = dict[str, Any]

# An id of one of these kinds names the request itself, so every call that bears it belongs to the answer.
_WHOLE = frozenset({"request", "trace", "session", "ticket"})
# More rows, bytes or memory than one read may take.
_OVER_LIMITS = frozenset({158, 241, 307, 396})
_TOO_LONG = (
    "the texts of these calls are too long to be read at once: look up one call by its own call id, "
    "or ask for its texts in SQL (SELECT * FROM bodies WHERE call_id = '...')"
)
_CONTENT = ("input", "messages", "prompt", "output", "tool_calls")
_JSON = ("parameters", "attributes")
# A time in an id beyond the year 2262 is no time.
_UUID7_MS_MAX = TIME_MAX_NS // 1_000_000
_PLACE = json_decode.Decoder(tuple[str, str, int, str])

# A keyed read is spared threads of its own for formatting: they took 0.2 ms of the two or three that it takes.
_QUICK = {"output_format_parallel_formatting": 0}


def quick_reader(handle: Handle, limits: Limits) -> Handle:
    """Return a read-only handle for look-ups: of many small reads, each on one thread."""
    return handle.reader(replace(limits, threads=1), _QUICK)


def find_request(handle: Handle, id_value: str, tenant: str | None = None) -> RequestDocument | None:
    """Return the request that `id_value` belongs to with all its calls, ready to become JSON; None if unknown.

    `id_value` may be a request, call, trace, session, provider request or ticket id. With `tenant`, calls of any
    other tenant do not exist.
    """
    reader = _Reader(handle, tenant)
    # Needs nothing of the calls, so it is there when they are.
    deployments = meanwhile(reader.deployments)
    begun = _find(reader, id_value)
    if begun is None:
        return None
    # What else is known of these calls is read while the rest of the request is still looked for: few have a rest.
    beside = _beside(reader, _in_order(begun.calls), deployments.result())
    texts = _Texts()
    stored = _in_order(texts.of(begun.calls, begun.bodies))
    if siblings := begun.siblings(reader, texts):
        stored = _in_order((*stored, *siblings))
        beside = _beside(reader, stored, deployments.result())
    document = _document(id_value, begun.kind, stored) | beside.decisions | texts.absent
    for call, gpu in zip(document["calls"], beside.gpus.result(), strict=True):
        call["gpu"] = gpu
    return document


@dataclass(frozen=True, slots=True)
class _Reader:
    """Where a look-up reads, and for whom: a tenant (None: whoever may see all), for whom no other's rows exist."""

    handle: Handle
    tenant: str | None

    def deployments(self) -> Collection[Deployment]:
        """Return the deployments that GPUs are found by; none for a tenant, since GPUs serve all."""
        return stored_deployments(self.handle) if self.tenant is None else ()


@dataclass(slots=True)
class _Texts:
    """The texts of calls, as far as they may be read at once: a request has 200 calls of 8 MB at most."""

    absent: dict[str, str] = field(default_factory=dict)

    def of(self, calls: Iterable[StoredCall], bodies: Future[Bodies]) -> list[StoredCall]:
        """Return calls with their texts, or without where those are over the limits of a read. Raises StoreError."""
        try:
            return joined(calls, bodies.result())
        except StoreError as error:
            if error.code not in _OVER_LIMITS:
                raise
            self.absent = {"content_absent": _TOO_LONG}
            return list(calls)


@dataclass(frozen=True, slots=True)
class _Begun:
    """The calls that an id led to, and what is being read of them: their content, other calls of their request."""

    kind: str
    calls: Sequence[StoredCall]
    bodies: Future[Bodies]
    root: str | None = None
    hits: Future[list[Place]] | None = None

    def siblings(self, reader: _Reader, texts: _Texts) -> list[StoredCall]:
        """Read the other calls of the request: those of its own tenant."""
        if self.hits is None:
            return []
        have = {one.place.name for one in self.calls}
        missing = [place for place in self.hits.result() if place.name not in have]
        if not missing:
            return []
        bodies = meanwhile(lambda: read_bodies(reader.handle, missing))
        found = [one for one in read_places(reader.handle, missing).calls if self.root in named_ids(one.call)]
        return texts.of(found, bodies)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What stands beside calls: decisions on budgets and alarms, and GPUs, still being read."""

    decisions: RequestDocument
    gpus: Future[list[GpuDocument | None]]


def _beside(reader: _Reader, stored: Sequence[StoredCall], deployments: Collection[Deployment]) -> _Beside:
    shown = stored[:CALLS_MAX]
    if reader.tenant is None:
        gpus = meanwhile(lambda: gpus_of_calls(reader.handle, shown, deployments))
    else:
        # A node serves every tenant, and a call may say that it ran on any: what a node did tells of the others.
        gpus = Future()
        gpus.set_result([None] * len(shown))
    return _Beside(_concerned(reader, stored), gpus)


def _in_order(calls: Iterable[StoredCall]) -> list[StoredCall]:
    """Return the calls by time."""
    return sorted(calls, key=lambda one: (one.started_at_ns, one.call.call_id or "", one.tenant))


def _concerned(reader: _Reader, stored: Sequence[StoredCall]) -> RequestDocument:
    """Return decisions on budgets and alarms that name the request, or held for its feature, user, ... meanwhile.

    Those of its own tenant; and who may see all is told of those that are of no tenant: of GPUs.
    """
    owners = ((one.tenant, "") if reader.tenant is None else (one.tenant,) for one in stored[:CALLS_MAX])
    names = [
        (owner, name)
        for one, tenants in zip(stored, owners, strict=False)
        for name in (one.call.request_id, one.call.call_id)
        if name
        for owner in tenants
    ]
    scopes = (scope for one in stored[:CALLS_MAX] for scope in _scopes(one))
    made_ns = (min(one.started_at_ns for one in stored), max(one.started_at_ns for one in stored))
    found = find_of_request(reader.handle, names, scopes, made_ns)
    return {
        "budget_decisions": [one for one in found if one["rule_kind"] == "budget"],
        "alerts": [one for one in found if one["rule_kind"] != "budget"],
    }


def _scopes(stored: StoredCall) -> Iterable[Scope]:
    """Return what a call was counted under, as far as it says so."""
    call = stored.call
    model = stored.model or None
    versions = call.versions
    values: dict[ScopeKind, tuple[str | None, ...]] = {
        ScopeKind.TENANT: (),
        ScopeKind.FEATURE: (call.feature,),
        ScopeKind.USER: (call.user_id,),
        ScopeKind.MODEL: (model,),
        ScopeKind.VERSION: (versions.prompt_name, versions.prompt) if versions else (None,),
        ScopeKind.FEATURE_MODEL: (call.feature, model),
        ScopeKind.FEATURE_USER: (call.feature, call.user_id),
        ScopeKind.REQUEST: (call.request_id,),
        ScopeKind.SESSION: (call.session_id,),
        ScopeKind.PROMPT: (stored.prompt_fingerprint or call.prompt_fingerprint,),
    }
    for kind, names in values.items():
        named = tuple(name for name in names if name)
        if len(named) == len(names):
            yield Scope(stored.tenant, kind, named)


def _find(reader: _Reader, id_value: str) -> _Begun | None:
    call_id = _as_uuid(id_value)
    if call_id is not None and call_id.version == 7 and call_id.int >> 80 < _UUID7_MS_MAX:
        # A call id of this kind has no entry: it tells its day itself. (A trace id may look like one.)
        calls = read_by_id(reader.handle, [str(call_id)], _days_about(call_id), tenant=reader.tenant).calls
        if calls:
            bodies = meanwhile(lambda: read_bodies(reader.handle, [one.place for one in calls]))
            return _begun(reader, "call", calls, bodies)
    begun = _find_entry(reader, id_value)
    if begun is None and call_id is not None and str(call_id) != id_value:
        return _find_entry(reader, str(call_id))
    return begun


def _find_entry(reader: _Reader, id_value: str) -> _Begun | None:
    hits = _hits(reader, id_value)
    if not hits:
        return None
    # The entries tell where content lies too, so calls and content are read at once.
    bodies = meanwhile(lambda: read_bodies(reader.handle, hits))
    calls = read_places(reader.handle, hits).calls
    # Two ids may share a hash: only a call that really bears the id is part of the answer.
    named = [(kind, one) for one in calls if (kind := _kinds(one.call).get(id_value)) is not None]
    return _begun(reader, named[0][0], [one for _, one in named], bodies) if named else None


def _begun(reader: _Reader, kind: str, calls: Sequence[StoredCall], bodies: Future[Bodies]) -> _Begun:
    first = calls[0]
    root = first.call.request_id or first.call.trace_id
    if kind in _WHOLE or root is None:
        return _Begun(kind, calls, bodies)
    # A request is its tenant's, whoever else uses its id.
    own = _Reader(reader.handle, first.tenant)
    return _Begun(kind, calls, bodies, root, meanwhile(lambda: _hits(own, root)))


def _kinds(call: Call) -> dict[str, str]:
    return named_ids(call) | {str(call.call_id): "call"}


def _as_uuid(id_value: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(id_value)
    except ValueError:
        return None


def _days_about(call_id: uuid.UUID) -> list[str]:
    made = datetime.fromtimestamp((call_id.int >> 80) / 1000, UTC).date()
    return [(made + timedelta(days=shift)).isoformat() for shift in (-1, 0, 1)]


def _hits(reader: _Reader, id_value: str) -> list[Place]:
    # Digits are safe in the text itself, and so is the literal.
    mine = "" if reader.tenant is None else f"AND tenant = {text_sql(reader.tenant)} "
    lines = reader.handle.query_bytes(
        "SELECT call_id, ingest_day, bodies_key, tenant FROM llmtrail.ids_data "  # noqa: S608 - as above.
        f"WHERE id_hash = {city_hash64(id_value.encode('utf-8', 'surrogatepass'))} {mine}LIMIT {HITS_MAX}",
        "JSONCompactEachRow",
    )
    hits = {place.name: place for place in (Place(*_PLACE.decode(line)) for line in lines.splitlines())}
    return list(hits.values())[: CALLS_MAX + 1]


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
        "tenants": sorted({one.tenant for one in shown}),
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
        "tenant": stored.tenant or None,
        "model": stored.model or None,
        "estimated_input_tokens": stored.estimated_input_tokens,
        "estimated_output_tokens": stored.estimated_output_tokens,
        "started_at_ns": stored.started_at_ns,
        "cost_nanousd": stored.cost_nanousd,
        "cost_source": stored.cost_source,
        "price_id": stored.price_id,
        "unpriced_reason": stored.unpriced_reason,
        "clock_skew": stored.clock_skew,
        "prompt_fingerprint": stored.prompt_fingerprint or call.prompt_fingerprint,
        "first_ingested_at_ns": stored.first_ingested_at_ns,
        "ingested_at_ns": stored.ingested_at_ns,
        "ingest_day": stored.place.ingest_day,
    }


def _value(raw: msgspec.Raw) -> Any:
    return json_decode.decode(raw) if raw else None
