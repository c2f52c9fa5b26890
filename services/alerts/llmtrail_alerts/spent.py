"""How far budgets are spent now, as a document. Pure: statistics and time are arguments."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from llmtrail.core.limit import LimitLevel
from llmtrail.core.scope import parse_scope
from llmtrail_alerts.forecast import PACE_S, forecast_ns
from llmtrail_alerts.model import Budget, Unit
from llmtrail_alerts.periods import period_of
from llmtrail_alerts.rules import Rules
from llmtrail_alerts.watch import Statistics, amount_of, is_meant

_NS = 1_000_000_000


def budget_documents(
    budgets: Iterable[Budget], rules: Rules, statistics: Statistics, tenant: str | None, limit: int, now_ns: int
) -> list[dict[str, Any]]:
    """Return each budget with its `limit` most spent scopes (of one tenant, or of all: None).

    What it says holds now, whatever was decided: a decision may be a moment behind.
    """
    now_s = now_ns // _NS
    return [_document(budget, rules, statistics, tenant, limit, now_s) for budget in budgets]


def _document(
    budget: Budget, rules: Rules, statistics: Statistics, tenant: str | None, limit: int, now_s: int
) -> dict[str, Any]:
    period = period_of(budget, now_s)
    texts = _scopes(budget, statistics, tenant, period.start_s, now_s)
    spent = []
    for text in texts:
        cell = statistics.figures(text, period.start_s, now_s + 1)
        spent.append((amount_of(budget, cell), text, cell))
    spent.sort(key=lambda one: (-one[0], one[1]))
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
        "scopes": [
            {
                "scope": text,
                "tenant": parse_scope(text).tenant,
                "values": list(parse_scope(text).values),
                "owner": owner.name if (owner := rules.owner_of(budget, text)) else None,
                "spent": amount,
                "limit": budget.limit,
                # Thousandths, rounded down: a limit is never shown as reached before it is.
                "share": amount * 1_000 // budget.limit / 1_000 if budget.limit else None,
                "state": _state(budget, amount),
                "calls": cell.calls,
                "unpriced": cell.unpriced if budget.unit is Unit.NANOUSD else None,
                "reaches_limit_at": _forecast(budget, statistics, text, amount, now_s),
            }
            for amount, text, cell in spent[:limit]
        ],
    }


def _scopes(budget: Budget, statistics: Statistics, tenant: str | None, start_s: int, now_s: int) -> Sequence[str]:
    found = []
    for text in statistics.scopes(budget.target.kind, start_s, now_s + 1):
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


def _forecast(budget: Budget, statistics: Statistics, text: str, amount: int, now_s: int) -> str | None:
    """Return when the limit is reached at the pace of late; None where it is not in this period, or is already."""
    period = period_of(budget, now_s)
    lately_s = min(PACE_S[budget.period], max(now_s - period.start_s, 1))
    start_s = (now_s - lately_s) // 10 * 10
    lately = amount_of(budget, statistics.figures(text, start_s, now_s + 1))
    at_ns = forecast_ns(amount, budget.limit, lately, now_s + 1 - start_s, now_s * _NS, period.end_s * _NS)
    return None if at_ns is None else _rfc3339(at_ns // _NS)


def _rfc3339(at_s: int) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return "9999-12-31T23:59:59Z"
