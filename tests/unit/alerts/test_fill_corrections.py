"""Budgets count what corrections of stored costs came to, of which the rolling statistics do not know."""

from collections.abc import Iterable

import pytest

from llmtrail.core.cell import Cell
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.spent import Spent
from llmtrail_alerts.fill import fills_of
from llmtrail_alerts.model import Budget, Level, Period, Severity, Target, Unit

NOW_S = 1_795_000_000  # 2026-11-18, 10:26
USER = Scope("", ScopeKind.USER, ("u-1",)).text()
DAILY = Budget(
    name="daily",
    target=Target(ScopeKind.USER, ("*",)),
    unit=Unit.NANOUSD,
    limit=100,
    period=Period.DAY,
    levels=(Level("hard limit", 100, 100, Severity.CRITICAL, hard=True),),
    owner="team",
)


class Counted:
    """What the statistics have counted of everybody."""

    def figures(self, scope_text: str, start_s: int, end_s: int) -> Cell:
        return Cell(calls=10, cost_nanousd=500, unpriced=2, input_tokens=30)


class Stored:
    """What is stored of everybody."""

    def __init__(self, calls: int, cost_nanousd: int, unpriced: int, corrected: int) -> None:
        self._told = calls, 0, cost_nanousd, unpriced, 30, 0, corrected

    def spent(self, kind: ScopeKind, values: tuple[str, ...], since_ns: int, until_ns: int) -> Iterable[Spent]:
        return [Spent(Scope("", kind, ("u-1",) if values else ()), *self._told)]


def _lack(stored: Stored) -> Cell | None:
    return fills_of([DAILY], Counted(), stored, NOW_S).get(("daily", "2026-11-18"), {}).get(USER)


@pytest.mark.parametrize(
    ("stored", "nanousd", "unpriced"),
    [
        (Stored(10, 620, 0, corrected=4), 120, -2),  # dearer, and priced now
        (Stored(10, 450, 2, corrected=1), -50, 0),  # cheaper
        (Stored(12, 600, 2, corrected=0), 100, 0),  # the statistics began later
    ],
)
def test_what_the_store_knows_better_is_added(stored: Stored, nanousd: int, unpriced: int) -> None:
    lack = _lack(stored)
    assert lack is not None
    assert (lack.cost_nanousd, lack.unpriced) == (nanousd, unpriced)


@pytest.mark.parametrize(
    "stored",
    [
        Stored(10, 500, 2, corrected=4),  # corrected, to the same sum
        Stored(10, 620, 2, corrected=0),  # other costs of as many calls: nobody knows why
        Stored(9, 620, 2, corrected=4),  # the store is behind
    ],
)
def test_what_it_does_not_know_better_is_left_to_the_statistics(stored: Stored) -> None:
    assert _lack(stored) is None
