"""Find the requests that prove an alert: the dearest, the slowest, or the latest that failed. Knows no rules."""

from collections.abc import Sequence
from enum import StrEnum

from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.handle import Handle

REQUESTS_MAX = 5
# Which columns a scope's values stand in.
COLUMNS = {
    ScopeKind.TENANT: (),
    ScopeKind.FEATURE: ("feature",),
    ScopeKind.USER: ("user_id",),
    ScopeKind.MODEL: ("model",),
    ScopeKind.VERSION: ("prompt_name", "prompt_version"),
    ScopeKind.FEATURE_MODEL: ("feature", "model"),
    ScopeKind.FEATURE_USER: ("feature", "user_id"),
    ScopeKind.REQUEST: ("request_id",),
    ScopeKind.SESSION: ("session_id",),
    ScopeKind.PROMPT: ("prompt_fingerprint",),
}


class Worst(StrEnum):
    """Which requests prove it."""

    DEAREST = "dearest"
    SLOWEST = "slowest"
    FAILED = "failed"
    UNPRICED = "unpriced"
    RETRIED = "retried"


_ORDER = {
    Worst.DEAREST: "sum(cost_nanousd) DESC",
    Worst.SLOWEST: "max(latency_ms) DESC",
    Worst.FAILED: "max(counted_at) DESC",
    Worst.UNPRICED: "max(counted_at) DESC",
    Worst.RETRIED: "sum(coalesce(retry_count, 0)) DESC",
}
_ONLY = {Worst.FAILED: " AND failure_mode IS NOT NULL", Worst.UNPRICED: " AND cost_nanousd IS NULL"}


def requests_of(
    handle: Handle, scope: Scope, since_ns: int, worst: Worst, modes: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the ids of up to five requests of a scope since a time, the worst first; raises StoreError.

    Only stored calls are seen: the last quarter of a second may not be.
    """
    conditions = ["tenant = {tenant:String}", "request_id IS NOT NULL"]
    conditions += ["counted_at >= fromUnixTimestamp64Nano({since:Int64})", "ingest_day >= toDate({day:UInt32})"]
    values: dict[str, object] = {"tenant": scope.tenant, "since": since_ns, "day": since_ns // 86_400_000_000_000}
    for number, (column, value) in enumerate(zip(COLUMNS[scope.kind], scope.values, strict=False)):
        conditions.append(f"{column} = {{v{number}:String}}")
        values[f"v{number}"] = value
    only = _ONLY.get(worst, "")
    if worst is Worst.FAILED and modes:
        only = " AND failure_mode IN ({modes:Array(String)})"
        values["modes"] = list(modes)
    rows = handle.query(
        f"SELECT request_id FROM llmtrail.calls WHERE {' AND '.join(conditions)}{only} "  # noqa: S608 - our own words
        f"GROUP BY request_id ORDER BY {_ORDER[worst]}, request_id LIMIT {REQUESTS_MAX}",
        values,
    )
    return tuple(str(row[0]) for row in rows)
