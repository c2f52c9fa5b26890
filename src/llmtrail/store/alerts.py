"""Insert what was decided of budgets and alarms, who changed rules, and who asked for what. Decides nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from llmtrail.core.audit import AuditRow
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store import arrow
from llmtrail.store.handle import Handle

_TEXT = pa.string()
_TEXTS = pa.list_(_TEXT)
# The reason of a decision that something is well again: a request cannot prove it.
RESOLVED = "resolved"
_AMOUNT_MAX = 2**63 - 1
# Columns by type, under the names that the rows have.
_ALERT_TEXTS = (
    *("alert_id", "incident", "rule", "rule_kind", "tenant", "scope_kind", "reason", "suppressed_by", "owner"),
    *("level", "severity", "unit", "period"),
)
_AUDIT_TEXTS = (
    *("audit_id", "actor", "action", "kind", "name", "before", "after", "detail"),
    *("secret_id", "tenant", "address", "route", "reason"),
)
_LISTS = ("scope", "channels", "request_ids")
_COUNTS = ("crossing", "calls", "unpriced")
_NUMBERS = ("value", "threshold", "baseline")
_AMOUNTS = ("amount", "amount_limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRow:
    """A row of `alerts`; the columns' comments tell what each is."""

    alert_id: str
    decided_at_ns: int
    incident: str
    rule: str
    rule_kind: str
    tenant: str
    scope_kind: str
    scope: Sequence[str]
    reason: str
    told: bool
    suppressed_by: str = ""
    channels: Sequence[str] = ()
    owner: str = ""
    level: str = ""
    severity: str = ""
    hard: bool = False
    crossing: int = 0
    unit: str = ""
    value: float | None = None
    threshold: float | None = None
    amount: int | None = None
    amount_limit: int | None = None
    period: str = ""
    period_start_ns: int | None = None
    period_end_ns: int | None = None
    calls: int = 0
    unpriced: int = 0
    forecast_at_ns: int | None = None
    baseline: float | None = None
    request_ids: Sequence[str] = ()
    detail: Mapping[str, str] = field(default_factory=dict)


def insert_alerts(handle: Handle, rows: Sequence[AlertRow], token: str) -> None:
    """Insert decisions; the same ones again, with the same token or ids, are stored once."""
    if not rows:
        return
    # What finds a decision is there before the decision is.
    _insert_refs(handle, rows, token)
    decided = [row.decided_at_ns for row in rows]
    columns = {
        "decided_day": arrow.days(decided),
        "decided_at": arrow.times(decided),
        **{name: pa.array([getattr(row, name) for row in rows], _TEXT) for name in _ALERT_TEXTS},
        **{name: pa.array([list(getattr(row, name)) for row in rows], _TEXTS) for name in _LISTS},
        **{name: pa.array([getattr(row, name) for row in rows], pa.bool_()) for name in ("told", "hard")},
        **{name: pa.array([getattr(row, name) for row in rows], pa.int64()) for name in _COUNTS},
        **{name: pa.array([getattr(row, name) for row in rows], pa.float64()) for name in _NUMBERS},
        **{name: pa.array([_bounded(getattr(row, name)) for row in rows], pa.int64()) for name in _AMOUNTS},
        "period_start": arrow.optional_times([row.period_start_ns for row in rows]),
        "period_end": arrow.optional_times([row.period_end_ns for row in rows]),
        "forecast_at": arrow.optional_times([row.forecast_at_ns for row in rows]),
        "detail": pa.array([list(row.detail.items()) for row in rows], pa.map_(_TEXT, _TEXT)),
    }
    handle.insert_arrow("llmtrail.alerts_data", pa.table(columns), f"{token}:alerts")


def scope_ref(scope: Scope) -> str:
    """Return what a decision on a scope is found by."""
    return scope.text()


def request_ref(tenant: str, request_id: str) -> str:
    """Return what a decision of a tenant ("": of none) that names a request is found by. No scope reads like it."""
    return f"request {json.dumps([tenant, request_id])}"


def _insert_refs(handle: Handle, rows: Sequence[AlertRow], token: str) -> None:
    refs = [(row, scope_ref(Scope(row.tenant, ScopeKind(row.scope_kind), tuple(row.scope))), False) for row in rows]
    refs += [
        (row, request_ref(row.tenant, name), True) for row in rows if row.reason != RESOLVED for name in row.request_ids
    ]
    columns = {
        "ref": pa.array([ref for _, ref, _ in refs], _TEXT),
        "named": pa.array([named for _, _, named in refs], pa.bool_()),
        "decided_at": arrow.times([row.decided_at_ns for row, _, _ in refs]),
        "decided_day": arrow.days([row.decided_at_ns for row, _, _ in refs]),
        "rule": pa.array([row.rule for row, _, _ in refs], _TEXT),
        "alert_id": pa.array([row.alert_id for row, _, _ in refs], _TEXT),
        "crossing": pa.array([row.crossing for row, _, _ in refs], pa.int64()),
        "held": pa.array([bool(row.level) for row, _, _ in refs], pa.bool_()),
        "period_end": arrow.optional_times([row.period_end_ns for row, _, _ in refs]),
    }
    handle.insert_arrow("llmtrail.alert_refs_data", pa.table(columns), f"{token}:refs")


def insert_audit(handle: Handle, rows: Sequence[AuditRow], token: str) -> None:
    """Insert changes and uses; the same ones again, with the same token or ids, are stored once."""
    if not rows:
        return
    changed = [row.changed_at_ns for row in rows]
    columns = {
        "changed_day": arrow.days(changed),
        "changed_at": arrow.times(changed),
        **{name: pa.array([getattr(row, name) for row in rows], _TEXT) for name in _AUDIT_TEXTS},
        "times": pa.array([row.times for row in rows], pa.uint64()),
        "last_at": arrow.times([row.last_at_ns or row.changed_at_ns for row in rows]),
    }
    handle.insert_arrow("llmtrail.audit_data", pa.table(columns), f"{token}:audit")


def _bounded(amount: int | None) -> int | None:
    """Return what the column can hold: nine billion dollars are shown as the most there is."""
    return None if amount is None else max(-_AMOUNT_MAX, min(amount, _AMOUNT_MAX))
