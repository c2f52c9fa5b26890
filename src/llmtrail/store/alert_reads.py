"""Read decisions on budgets and alarms: those asked for, those that hold now, those that concern a request.

Knows nothing of rules: what holds is what was decided last of each group.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.alerts import request_ref, scope_ref
from llmtrail.store.cityhash import city_hash64
from llmtrail.store.handle import Handle

AlertDocument = dict[str, Any]

# The longest period of a budget is a month: what was decided longer ago than this and not since holds no more.
HELD_DAYS = 32
ALERTS_MAX = 1_000
# What stands beside a request. More is a query.
OF_REQUEST_MAX = 20
# A request of many calls has many scopes; beyond these, the later calls add only what the first ones had.
SCOPES_MAX = 60
# Of these the ones that hold are shown.
PLACES_MAX = 500
_NS = 1_000_000_000
_NS_PER_DAY = 86_400 * _NS

_TIMES = ("decided_at", "period_start", "period_end", "forecast_at")
_COLUMNS = (
    *("alert_id", "decided_at", "incident", "rule", "rule_kind", "tenant", "scope_kind", "scope", "reason", "told"),
    *("suppressed_by", "channels", "owner", "level", "severity", "hard", "crossing", "unit", "value", "threshold"),
    *("amount", "amount_limit", "period", "period_start", "period_end", "calls", "unpriced", "forecast_at"),
    *("baseline", "request_ids", "detail"),
)
# Decisions on a request's scopes, of all time, that are read to find those. Of more, the last one of each scope is
# asked for: what the engine takes to understand that is more than what so few rows take.
REFS_MAX = 500

_LINE = json_decode.Decoder(dict[str, Any])


class _Ref(msgspec.Struct, frozen=True, array_like=True):
    """Where a decision is: a row of `alert_refs_data`."""

    ref_hash: int
    named: bool
    held: bool
    period_end: str | None
    decided_at: str
    decided_day: str
    crossing: int
    rule: str
    alert_id: str

    def told_of(self, made: str) -> bool:
        """Say whether it concerns what was made at this time, as the engine writes times."""
        return self.named or (self.held and (self.period_end is None or self.period_end > made))


_REF = json_decode.Decoder(_Ref)
_GROUP = "rule, tenant, scope_kind, scope"
# Decisions of one moment: the later firing wins, and of one firing what holds.
_LATEST = "decided_at DESC, crossing DESC, level != '' DESC, alert_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertQuestion:
    """Which decisions are asked for; None: any."""

    since_ns: int
    now_ns: int
    rule: str | None = None
    feature: str | None = None
    user: str | None = None
    tenant: str | None = None
    limit: int = 100


def find_decisions(handle: Handle, question: AlertQuestion) -> list[AlertDocument]:
    """Return decisions since a time, the latest first; raises StoreError."""
    conditions, values = _conditions(question)
    conditions += ["decided_day >= toDate({day:UInt32})", "decided_at >= fromUnixTimestamp64Nano({since:Int64})"]
    values |= {"day": question.since_ns // _NS_PER_DAY, "since": question.since_ns}
    # A row may stand there twice until a merge; its id does not.
    return _read(handle, f"WHERE {' AND '.join(conditions)} ORDER BY {_LATEST} LIMIT 1 BY alert_id", question, values)


def find_firing(handle: Handle, question: AlertQuestion) -> list[AlertDocument]:
    """Return, of each group that is at a level now, what was decided last, the latest first; raises StoreError."""
    conditions, values = _conditions(question)
    conditions.append("decided_day >= toDate({day:UInt32})")
    values |= {"day": max(question.now_ns // _NS_PER_DAY - HELD_DAYS, 0), "now": question.now_ns}
    held = "level != '' AND (period_end IS NULL OR period_end > fromUnixTimestamp64Nano({now:Int64}))"
    latest = _latest_sql(" AND ".join(conditions))
    return _read(handle, f"WHERE {held} ORDER BY {_LATEST}", question, values, source=f"({latest})")


def find_of_request(
    handle: Handle, requests: Iterable[tuple[str, str]], scopes: Iterable[Scope], made_ns: tuple[int, int]
) -> list[AlertDocument]:
    """Return what concerns a request: decisions that name it as a proof, and what held for its scopes meanwhile.

    `requests` are the tenants whose decisions are told ("": of no tenant), each with an id that they may name.
    `made_ns` is when its calls began, the first and the last. Each has `concerns`: `names_it` or `held`.
    """
    ids = tuple(dict.fromkeys(requests))[:SCOPES_MAX]
    wanted = tuple(dict.fromkeys(scopes))[:SCOPES_MAX]
    places = _places(handle, [*(request_ref(*one) for one in ids), *map(scope_ref, wanted)], made_ns)
    if not places:
        return []
    days = ", ".join(dict.fromkeys(f"'{place.decided_day}'" for place in places))
    rules = ", ".join(dict.fromkeys(_quoted(place.rule) for place in places))
    alerts = ", ".join(dict.fromkeys(_quoted(place.alert_id) for place in places))
    lines = handle.query_bytes(
        f"SELECT {', '.join(_COLUMNS)} FROM llmtrail.alerts_data "  # noqa: S608 - as below.
        f"PREWHERE decided_day IN ({days}) AND rule IN ({rules}) AND alert_id IN ({alerts})",
        "JSONEachRow",
    )
    # A decision may stand there twice until a merge.
    once = {one["alert_id"]: one for one in map(_document, lines.splitlines())}
    found = sorted(once.values(), key=lambda one: (one["decided_at"], one["alert_id"]))[:OF_REQUEST_MAX]
    # Two names may share a hash: only what really names the request, or is about a scope of it, concerns it.
    about = {scope.text() for scope in wanted}
    named = {
        one["alert_id"]
        for one in found
        if not set(ids).isdisjoint((one["tenant"], name) for name in one["request_ids"])
    }
    concerned = [one for one in found if one["alert_id"] in named or one["scope"] in about]
    return [one | {"concerns": "names_it" if one["alert_id"] in named else "held"} for one in concerned]


def _places(handle: Handle, refs: Sequence[str], made_ns: tuple[int, int]) -> list[_Ref]:
    """Return where the latest decisions are that name a request, or that held for a scope while it was made."""
    first_ns, last_ns = max(made_ns[0], 0), max(made_ns[1], 0)
    made, since = _instant(first_ns), _instant(max(first_ns - HELD_DAYS * _NS_PER_DAY, 0))
    read = _refs(handle, refs, since, _instant(last_ns))
    read.sort(key=lambda ref: (ref.decided_at, ref.crossing, ref.held), reverse=True)
    latest: dict[tuple[int, str, str], _Ref] = {}
    for ref in read:
        # Of a scope what was decided last; of a request all that names it.
        latest.setdefault((ref.ref_hash, ref.rule, ref.alert_id if ref.named else ""), ref)
    return [ref for ref in list(latest.values())[:PLACES_MAX] if ref.told_of(made)][:OF_REQUEST_MAX]


def _refs(handle: Handle, refs: Sequence[str], since: str, until: str) -> list[_Ref]:
    """Return the decisions that name a request, and those on a scope in this time."""
    hashes = ", ".join(str(city_hash64(ref.encode("utf-8", "surrogatepass"))) for ref in refs)
    every = _read_refs(handle, f"PREWHERE ref_hash IN ({hashes}) LIMIT {REFS_MAX + 1}")
    if len(every) <= REFS_MAX:
        return [ref for ref in every if ref.named or since <= ref.decided_at <= until]
    return _read_refs(
        handle,
        f"PREWHERE ref_hash IN ({hashes}) WHERE named OR decided_at BETWEEN '{since}' AND '{until}' "
        # However often one rule decides, what another one decided long ago is not crowded out.
        f"ORDER BY decided_at DESC, crossing DESC, held DESC "
        f"LIMIT 1 BY ref_hash, rule, if(named, alert_id, '') LIMIT {PLACES_MAX}",
    )


def _read_refs(handle: Handle, rest: str) -> list[_Ref]:
    columns = ", ".join(_Ref.__struct_fields__)
    statement = f"SELECT {columns} FROM llmtrail.alert_refs_data {rest}"  # noqa: S608 - our own words and digits.
    return [_REF.decode(line) for line in handle.query_bytes(statement, "JSONCompactEachRow").splitlines()]


def _instant(ns: int) -> str:
    """Return a time as the engine reads and writes it."""
    return datetime.fromtimestamp(ns // _NS, UTC).strftime("%Y-%m-%d %H:%M:%S") + f".{ns % _NS:09d}"


def _latest_sql(condition: str) -> str:
    return (
        f"SELECT {', '.join(_COLUMNS)} FROM llmtrail.alerts_data WHERE {condition} "  # noqa: S608 - our own words.
        f"ORDER BY {_LATEST} LIMIT 1 BY {_GROUP}"
    )


def _read(
    handle: Handle, rest: str, question: AlertQuestion, values: dict[str, Any], source: str = "llmtrail.alerts_data"
) -> list[AlertDocument]:
    limit = max(1, min(question.limit, ALERTS_MAX))
    statement = f"SELECT {', '.join(_COLUMNS)} FROM {source} {rest} LIMIT {limit}"  # noqa: S608 - our own words.
    return [_document(line) for line in handle.query_bytes(statement, "JSONEachRow", values).splitlines()]


def _conditions(question: AlertQuestion) -> tuple[list[str], dict[str, Any]]:
    """Return the conditions of a question but its times, and the values in them."""
    found: dict[str, str] = {
        "rule": "rule = {rule:String}",
        "feature": "scope_kind IN ('feature', 'feature_user', 'feature_model') AND scope[1] = {feature:String}",
        "user": "(scope_kind, scope[if(scope_kind = 'user', 1, 2)]) IN "
        "(('user', {user:String}), ('feature_user', {user:String}))",
        "tenant": "tenant = {tenant:String}",
    }
    values = {name: getattr(question, name) for name in found if getattr(question, name) is not None}
    return [found[name] for name in values] or ["1"], values


def _quoted(text: str) -> str:
    return f"unhex('{text.encode('utf-8', 'surrogatepass').hex()}')"


def _document(line: bytes) -> AlertDocument:
    """Return a decision as JSON tells it: times in RFC 3339, whole numbers as numbers, the scope as names."""
    row = _LINE.decode(line)
    for name in _TIMES:
        row[name] = None if row[name] is None else row[name].replace(" ", "T") + "Z"
    for name in ("amount", "amount_limit", "calls", "unpriced"):
        row[name] = None if row[name] is None else int(row[name])
    kind = ScopeKind(row.pop("scope_kind"))
    scope = Scope(row["tenant"], kind, tuple(row["scope"]))
    return {**row, "kind": kind, "scope": scope.text(), "values": list(scope.values)}


def rfc3339(ns: int) -> str:
    """Return a time as it stands in documents."""
    return _instant(ns).replace(" ", "T") + "Z"
