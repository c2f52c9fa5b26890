"""What calls came to since a time, by scope: what budgets are filled from. Knows no rules."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmtrail.core.pattern import EVERY, is_pattern, regex_of
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.handle import Handle
from llmtrail.store.proof import COLUMNS

# Scopes of one answer, those that used most: who comes behind ten thousand others is far from any limit.
SCOPES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What one scope used."""

    scope: Scope
    calls: int
    refused: int
    cost_nanousd: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    corrected: int = 0  # calls whose cost is another now than when they were written


def spent_by_scope(handle: Handle, kind: ScopeKind, values: Sequence[str], since_ns: int, until_ns: int) -> list[Spent]:
    """Return what each scope of a kind used of calls that count in [since_ns, until_ns); raises StoreError.

    `values` are the scope's names or patterns of them.
    """
    columns = COLUMNS[kind]
    conditions = ["counted_at >= fromUnixTimestamp64Nano({since:Int64})"]
    conditions.append("counted_at < fromUnixTimestamp64Nano({until:Int64})")
    # A call is stored on the day on which it first arrived, which is none before it counts.
    conditions.append("ingest_day >= toDate({day:UInt32})")
    told: dict[str, object] = {"since": since_ns, "until": until_ns, "day": since_ns // 86_400_000_000_000}
    for number, (column, value) in enumerate(zip(columns, values, strict=False)):
        if value == EVERY:
            conditions.append(f"notEmpty(coalesce({column}, ''))" if column == "model" else f"{column} IS NOT NULL")
        elif is_pattern(value):
            conditions.append(f"match(assumeNotNull({column}), {{v{number}:String}}) AND {column} IS NOT NULL")
            told[f"v{number}"] = regex_of(value)
        else:
            conditions.append(f"{column} = {{v{number}:String}}")
            told[f"v{number}"] = value
    names = ", ".join(["tenant", *columns])
    rows = handle.query(
        f"SELECT {names}, count(), countIf(failure_mode = 'budget_refused'), sum(cost_nanousd), "  # noqa: S608 - ours
        "countIf(cost_nanousd IS NULL), sum(coalesce(input_tokens, estimated_input_tokens)), "
        "sum(coalesce(output_tokens, estimated_output_tokens)), countIf(cost_corrected_at IS NOT NULL) "
        f"FROM llmtrail.calls WHERE {' AND '.join(conditions)} GROUP BY {names} "
        f"ORDER BY sum(cost_nanousd) DESC, count() DESC LIMIT {SCOPES_MAX}",
        told,
    )
    found = []
    for tenant, *rest in rows:
        parts, sums = rest[: len(columns)], [int(value or 0) for value in rest[len(columns) :]]
        found.append(Spent(Scope(str(tenant), kind, tuple(str(part) for part in parts)), *sums))
    return found


def last_corrected_ns(handle: Handle, since_ns: int) -> int:
    """Return when a stored cost was last corrected, of days since a time; 0: never since then. Raises StoreError."""
    rows = handle.query(
        "SELECT toUnixTimestamp64Nano(max(toDateTime64(corrected_at, 9, 'UTC'))) FROM llmtrail.price_corrections "
        "WHERE corrected_day >= toDate({day:UInt32})",
        {"day": since_ns // 86_400_000_000_000},
    )
    return int(rows[0][0])
