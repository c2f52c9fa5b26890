"""Read decisions on budgets and alarms: those asked for, those that hold now, those that concern a request.

Knows nothing of rules: what holds is what was decided last of each group.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.handle import Handle

AlertDocument = dict[str, Any]

# The longest period of a budget is a month: what was decided longer ago than this and not since holds no more.
HELD_DAYS = 32
ALERTS_MAX = 1_000
# What stands beside a request. More is a query.
OF_REQUEST_MAX = 20
# A request of many calls has many scopes; beyond these, the later calls add only what the first ones had.
SCOPES_MAX = 60
_NS = 1_000_000_000
_NS_PER_DAY = 86_400 * _NS
_SEPARATOR = "\x1f"

_TIMES = ("decided_at", "period_start", "period_end", "forecast_at")
_COLUMNS = (
    *("alert_id", "decided_at", "incident", "rule", "rule_kind", "tenant", "scope_kind", "scope", "reason", "told"),
    *("suppressed_by", "channels", "owner", "level", "severity", "hard", "crossing", "unit", "value", "threshold"),
    *("amount", "amount_limit", "period", "period_start", "period_end", "calls", "unpriced", "forecast_at"),
    *("baseline", "request_ids", "detail"),
)
_LINE = msgspec.json.Decoder(dict[str, Any])
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
    handle: Handle, request_ids: Iterable[str], scopes: Iterable[Scope], made_ns: tuple[int, int]
) -> list[AlertDocument]:
    """Return what concerns a request: decisions that name it as a proof, and what held for its scopes meanwhile.

    `made_ns` is when its calls began, the first and the last. Each has `concerns`: `names_it` or `held`.
    """
    first_ns, last_ns = made_ns
    ids = ", ".join(map(_quoted, dict.fromkeys(request_ids))) or "''"
    keys = ", ".join(_quoted(_SEPARATOR.join((one.tenant, one.kind, *one.values))) for one in _some(scopes)) or "''"
    days = (
        f"decided_day BETWEEN toDate({max(first_ns // _NS_PER_DAY - HELD_DAYS, 0)}) "
        f"AND toDate({max(last_ns // _NS_PER_DAY + 1, 0)})"
    )
    of_scope = f"concat(tenant, '\\x1F', scope_kind, '\\x1F', arrayStringConcat(scope, '\\x1F')) IN ({keys})"
    before = f"decided_at <= fromUnixTimestamp64Nano({max(last_ns, 0)})"
    held = f"level != '' AND (period_end IS NULL OR period_end > fromUnixTimestamp64Nano({max(first_ns, 0)}))"
    names = ", ".join(_COLUMNS)
    # Nothing is bound: it costs more than it brings, and as hexadecimal digits an id is safe in the text itself.
    statement = f"""SELECT * FROM (
        SELECT {names}, 'names_it' AS concerns FROM llmtrail.alerts_data
        WHERE {days} AND hasAny(request_ids, [{ids}]) AND reason != 'resolved'
        ORDER BY decided_at LIMIT 1 BY alert_id LIMIT {OF_REQUEST_MAX}
        UNION ALL
        SELECT {names}, 'held' AS concerns FROM ({_latest_sql(f"{days} AND {before} AND {of_scope}")})
        WHERE {held} ORDER BY decided_at LIMIT {OF_REQUEST_MAX}
        ) ORDER BY decided_at, concerns = 'held' LIMIT 1 BY alert_id LIMIT {OF_REQUEST_MAX}"""  # noqa: S608
    return [_document(line) for line in handle.query_bytes(statement, "JSONEachRow").splitlines()]


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


def _some(scopes: Iterable[Scope]) -> Sequence[Scope]:
    return list(dict.fromkeys(scopes))[:SCOPES_MAX]


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
    return datetime.fromtimestamp(ns // _NS, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ns % _NS:09d}Z"
