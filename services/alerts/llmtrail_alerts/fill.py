"""Fill budgets from what is stored, where the rolling statistics began later than the budget's period. Acts once.

A rule that is added in the middle of a month counts the whole month: statistics are kept of every scope anyway. Only
those of a time zone, or of a feature's users, that were not kept before lack what came before, and all of them where
the statistics themselves are younger than the calls. What is missing is asked of the store once, and added since then.
So is what corrections of stored costs came to, of which no statistics tell.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from llmtrail.core.cell import Cell
from llmtrail.core.scope import ScopeKind
from llmtrail.store.spent import Spent
from llmtrail_alerts.model import Budget, Period, Rule
from llmtrail_alerts.periods import Bounds, period_of

_LOG = logging.getLogger(__name__)

# Both sides have counted what is older than this; what is younger they count alike from then on.
SETTLED_S = 60
_NS = 1_000_000_000
# Shorter periods are over before anything is corrected.
LONG = frozenset({Period.DAY, Period.MONTH})

# (rule, period's name) -> scope -> what the statistics lack.
Fills = Mapping[tuple[str, str], Mapping[str, Cell]]


class Figures(Protocol):
    """The rolling statistics, as far as they are used here."""

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        """Return the sums of a scope over the slots that begin in [start_s, end_s)."""


class Stored(Protocol):
    """What is stored. Both return nothing where the store is away: then nothing is filled."""

    def spent(self, kind: ScopeKind, values: tuple[str, ...], since_ns: int, until_ns: int) -> Iterable[Spent]:
        """Return what each scope used of calls that began between two times."""


def fills_of(rules: Iterable[Rule], statistics: Figures, stored: Stored, now_s: int) -> Fills:
    """Return what the statistics lack of the present days and months of all budgets."""
    until_s = (now_s - SETTLED_S) // 10 * 10
    complete: dict[int, bool] = {}
    found: dict[tuple[str, str], dict[str, Cell]] = {}
    for rule in rules:
        if not isinstance(rule, Budget) or rule.period not in LONG:
            continue
        period = period_of(rule, now_s)
        if period.start_s >= until_s:
            continue
        if period.start_s not in complete:
            tenants = stored.spent(ScopeKind.TENANT, (), period.start_s * _NS, until_s * _NS)
            complete[period.start_s] = not _missing(tenants, statistics, period.start_s, until_s)
        if complete[period.start_s] and rule.target.kind is not ScopeKind.FEATURE_USER:
            continue
        spent = stored.spent(rule.target.kind, rule.target.values, period.start_s * _NS, until_s * _NS)
        missing = _missing(spent, statistics, period.start_s, until_s)
        if missing:
            _LOG.info("budget %s: %d scopes are filled from stored calls of %s", rule.name, len(missing), period.name)
            found[rule.name, period.name] = missing
    return found


def past_of(rules: Iterable[Rule], past: Mapping[str, Bounds], stored: Stored) -> Fills:
    """Return what is stored of past days and months, whole: the statistics keep the beginning of none."""
    asked: dict[tuple[ScopeKind, tuple[str, ...], Bounds], dict[str, Cell]] = {}
    found: dict[tuple[str, str], dict[str, Cell]] = {}
    for rule in rules:
        if not isinstance(rule, Budget) or rule.period not in LONG or rule.name not in past:
            continue
        kind, values, period = rule.target.kind, rule.target.values, past[rule.name]
        key = kind, values, period
        if key not in asked:
            spent = stored.spent(kind, values, period.start_s * _NS, period.end_s * _NS)
            asked[key] = {one.scope.text(): beyond(Cell(), one) for one in spent}
        found[rule.name, period.name] = asked[key]
    return found


def _missing(spent: Iterable[Spent], statistics: Figures, start_s: int, until_s: int) -> dict[str, Cell]:
    found = {}
    for one in spent:
        text = one.scope.text()
        lack = beyond(statistics.figures(text, start_s, until_s), one)
        if tells_more(lack, one):
            found[text] = lack
    return found


def tells_more(lack: Cell, spent: Spent) -> bool:
    """Say whether the store is right where it differs: it has more calls, or costs that were corrected since."""
    # Where both know the same calls, the statistics have their costs as they were written.
    return lack.calls > 0 or (lack.calls == 0 and spent.corrected > 0 and bool(lack.cost_nanousd or lack.unpriced))


def beyond(cell: Cell, spent: Spent) -> Cell:
    """Return what budgets count of what is stored, and a cell lacks."""
    return Cell(
        calls=spent.calls - cell.calls,
        cost_nanousd=spent.cost_nanousd - cell.cost_nanousd,
        unpriced=spent.unpriced - cell.unpriced,
        input_tokens=spent.input_tokens - cell.input_tokens,
        output_tokens=spent.output_tokens - cell.output_tokens,
        failures={"budget_refused": spent.refused - cell.failures.get("budget_refused", 0)},
    )
