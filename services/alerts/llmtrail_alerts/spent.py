"""How far budgets are spent now, as a document. Pure: statistics and time are arguments."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from llmtrail.core.cell import Cell
from llmtrail.core.limit import LimitLevel
from llmtrail.core.pattern import matches
from llmtrail.core.scope import ScopeKind, parse_scope
from llmtrail_alerts.fill import Lack, Want, want_of
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


class Fills(Protocol):
    """What statistics lack of budgets; `filling.Filling` is one."""

    def lack(self, want: Want) -> Lack:
        """Return what the statistics lack, as far as it is known."""

    def is_known(self, want: Want) -> bool:
        """Whether it is known what the statistics lack."""


class _Spent(NamedTuple):
    minus_amount: int  # sorts the most spent first
    scope: str
    calls: int
    unpriced: int


def budget_documents(
    budgets: Iterable[Budget],
    rules: Rules,
    sums: tuple[Sums, Fills | None],
    tenant: str | None,
    limit: int,
    now_ns: int,
) -> list[dict[str, Any]]:
    """Return each budget with its `limit` most spent scopes (of one tenant, or of all: None).

    What it says holds now, whatever was decided: a decision may be a moment behind. It counts what decisions count:
    statistics, and what they lack of the period by what is stored.
    """
    now_s = now_ns // _NS
    # What a rule says of another tenant is that tenant's.
    told = (budget for budget in budgets if tenant is None or matches(budget.target.tenant, tenant))
    return [_document(budget, rules, sums, tenant, limit, now_s) for budget in told]


def _document(
    budget: Budget, rules: Rules, sums: tuple[Sums, Fills | None], tenant: str | None, limit: int, now_s: int
) -> dict[str, Any]:
    statistics, fills = sums
    period, want = period_of(budget, now_s), want_of(budget, now_s)
    lack: Lack = {} if fills is None or want is None else fills.lack(want)
    lack = {text: cell for text, cell in lack.items() if _is_asked_for(budget, tenant, text)}
    texts = dict.fromkeys([*_scopes(budget, statistics, tenant, period.start_s, now_s), *lack])
    spent = sorted(_all_spent(budget, statistics, list(texts), period.start_s, now_s, lack))
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
        # Whether something of the period may be missing that the statistics do not have: the store is being asked.
        "filling": fills is not None and want is not None and not fills.is_known(want),
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


def _all_spent(
    budget: Budget, statistics: Sums, texts: Sequence[str], start_s: int, now_s: int, lack: Lack
) -> Iterator[_Spent]:
    for first in range(0, len(texts), SCOPES_AT_ONCE):
        some = texts[first : first + SCOPES_AT_ONCE]
        counted = statistics.since(some, start_s, now_s + 1)
        for text in some:
            cell = counted.get(text)
            if text in lack:
                cell = Cell() if cell is None else cell.copy()
                cell.add(lack[text])
            if cell is not None:
                yield _Spent(-amount_of(budget, cell), text, cell.calls, cell.unpriced)


def _scopes(budget: Budget, statistics: Sums, tenant: str | None, start_s: int, now_s: int) -> Sequence[str]:
    texts = statistics.scopes_since(budget.target.kind, start_s, now_s + 1)
    return [text for text in texts if _is_asked_for(budget, tenant, text)]


def _is_asked_for(budget: Budget, tenant: str | None, text: str) -> bool:
    scope = parse_scope(text)
    return is_meant(budget.target, scope) and tenant in {None, scope.tenant}


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
