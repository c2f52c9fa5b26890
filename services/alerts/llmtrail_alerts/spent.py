"""How far budgets are spent now, as a document. Pure: statistics and time are arguments."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from llmtrail.core.cell import Cell
from llmtrail.core.limit import LimitLevel
from llmtrail.core.scope import ScopeKind, parse_scope
from llmtrail_alerts.forecast import PACE_S, forecast_ns
from llmtrail_alerts.model import Budget, Unit
from llmtrail_alerts.periods import period_of
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.targets import is_meant
from llmtrail_alerts.watch import amount_of

_NS = 1_000_000_000
# Sums of so many scopes are held at once, however many a budget has.
SCOPES_AT_ONCE = 2_000


class Sums(Protocol):
    """Where statistics are summed; `core.board.Board` is one."""

    def since(self, scopes: Sequence[str], start_s: int, end_s: int) -> Mapping[str, Cell]:
        """Return the sums of some scopes over the slots that begin in [start_s, end_s)."""

    def scopes_since(self, kind: ScopeKind, start_s: int, end_s: int) -> Sequence[str]:
        """Return the scopes of a kind that have calls in these slots."""


class _Spent(NamedTuple):
    minus_amount: int  # sorts the most spent first
    scope: str
    calls: int
    unpriced: int


def budget_documents(
    budgets: Iterable[Budget], rules: Rules, statistics: Sums, tenant: str | None, limit: int, now_ns: int
) -> list[dict[str, Any]]:
    """Return each budget with its `limit` most spent scopes (of one tenant, or of all: None).

    What it says holds now, whatever was decided: a decision may be a moment behind.
    """
    now_s = now_ns // _NS
    return [_document(budget, rules, statistics, tenant, limit, now_s) for budget in budgets]


def _document(
    budget: Budget, rules: Rules, statistics: Sums, tenant: str | None, limit: int, now_s: int
) -> dict[str, Any]:
    period = period_of(budget, now_s)
    texts = _scopes(budget, statistics, tenant, period.start_s, now_s)
    spent = sorted(_all_spent(budget, statistics, texts, period.start_s, now_s))
    return {
        "rule": budget.name,
        "kind": budget.target.kind,
        "unit": budget.unit,
        "limit": budget.limit,
        "per": budget.period,
        "zone": budget.zone,
        "period": period.name,
        "resets_at": _rfc3339(period.end_s) if period.end_s else None,
        "levels": [{"label": one.label, "at": one.at, "hard": one.hard} for one in budget.levels],
        "behaviour": budget.hard.behaviour if budget.hard else None,
        "found": len(spent),
        "scopes": [_scope_document(budget, rules, statistics, one, now_s) for one in spent[:limit]],
    }


def _scope_document(budget: Budget, rules: Rules, statistics: Sums, spent: _Spent, now_s: int) -> dict[str, Any]:
    scope, amount = parse_scope(spent.scope), -spent.minus_amount
    owner = rules.owner_of(budget, spent.scope)
    return {
        "scope": spent.scope,
        "tenant": scope.tenant,
        "values": list(scope.values),
        "owner": owner.name if owner else None,
        "spent": amount,
        "limit": budget.limit,
        # Thousandths, rounded down: a limit is never shown as reached before it is.
        "share": amount * 1_000 // budget.limit / 1_000 if budget.limit else None,
        "state": _state(budget, amount),
        "calls": spent.calls,
        "unpriced": spent.unpriced if budget.unit is Unit.NANOUSD else None,
        "reaches_limit_at": _forecast(budget, statistics, spent.scope, amount, now_s),
    }


def _all_spent(budget: Budget, statistics: Sums, texts: Sequence[str], start_s: int, now_s: int) -> Iterator[_Spent]:
    for first in range(0, len(texts), SCOPES_AT_ONCE):
        for text, cell in statistics.since(texts[first : first + SCOPES_AT_ONCE], start_s, now_s + 1).items():
            yield _Spent(-amount_of(budget, cell), text, cell.calls, cell.unpriced)


def _scopes(budget: Budget, statistics: Sums, tenant: str | None, start_s: int, now_s: int) -> Sequence[str]:
    found = []
    for text in statistics.scopes_since(budget.target.kind, start_s, now_s + 1):
        scope = parse_scope(text)
        if is_meant(budget.target, scope) and tenant in {None, scope.tenant}:
            found.append(text)
    return found


def _state(budget: Budget, amount: int) -> LimitLevel:
    """Return how far it has gone, by thresholds alone."""
    reached = [level for level in budget.levels if amount >= level.at]
    if not reached:
        return LimitLevel.OPEN
    return LimitLevel.HARD if any(level.hard for level in reached) else LimitLevel.SOFT


def _forecast(budget: Budget, statistics: Sums, text: str, amount: int, now_s: int) -> str | None:
    """Return when the limit is reached at the pace of late; None where it is not in this period, or is already."""
    period = period_of(budget, now_s)
    lately_s = min(PACE_S[budget.period], max(now_s - period.start_s, 1))
    start_s = (now_s - lately_s) // 10 * 10
    lately = amount_of(budget, statistics.since([text], start_s, now_s + 1).get(text) or Cell())
    at_ns = forecast_ns(amount, budget.limit, lately, now_s + 1 - start_s, now_s * _NS, period.end_s * _NS)
    return None if at_ns is None else _rfc3339(at_ns // _NS)


def _rfc3339(at_s: int) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "9999-12-31T23:59:59Z"
