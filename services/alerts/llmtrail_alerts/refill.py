"""Ask the store again what budgets lack, once stored costs were corrected: in a thread of its own. Decides nothing.

A month of calls may be looked through, and no limit may wait for that. What came is taken up by who decides.
"""

import logging
import queue
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmtrail.core.cell import Cell
from llmtrail.store.spent import Spent
from llmtrail_alerts.fill import LONG, SETTLED_S, Figures, Fills, Stored, beyond, tells_more
from llmtrail_alerts.model import Budget, Rule, Unit
from llmtrail_alerts.periods import Bounds, period_of

_LOG = logging.getLogger(__name__)

# Whether anything was corrected is a look at two days of corrections; what it came to, one at all calls of a period. So
# long a budget may count former costs.
LOOK_EVERY_S = 300
_NS = 1_000_000_000


class Corrected(Stored, Protocol):
    """What is stored, and when it was last corrected."""

    def corrected_ns(self, since_ns: int) -> int | None:
        """Return when a cost was last corrected since a time; 0: never; None where the store is away."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the calls of a budget's present period came to, those that began before a second."""

    rule: str
    period: Bounds
    until_s: int
    spent: Sequence[Spent]


_Answers = queue.SimpleQueue[tuple[int, list[Answer]]]


class Refill:
    """One question at a time, in a thread of its own. To be used by one thread."""

    def __init__(self, stored: Corrected) -> None:
        self._stored = stored
        self._answers = _Answers()
        self._thread: threading.Thread | None = None
        self._looked_s = 0
        # When costs were last corrected, of all that is taken up; None: nobody knows.
        self._known_ns: int | None = None

    @property
    def is_asking(self) -> bool:
        """Say whether a question is under way."""
        return self._thread is not None and self._thread.is_alive()

    def begin(self, now_s: int) -> None:
        """Take note that all that is corrected by now is about to be asked for."""
        self._looked_s = now_s
        # What was asked before is of former rules, whose names may stand for something else now.
        self._answers = _Answers()
        self._known_ns = self._stored.corrected_ns(_since_ns(now_s))

    def ask(self, rules: Iterable[Rule], now_s: int) -> None:
        """Look whether anything was corrected, where it is time to; what it came to can be taken later."""
        if now_s < self._looked_s + LOOK_EVERY_S or self.is_asking:
            return
        self._looked_s = now_s
        asked = [(rule, period_of(rule, now_s)) for rule in rules if isinstance(rule, Budget) and _is_filled(rule)]
        args = (asked, self._known_ns, now_s, self._answers)
        self._thread = threading.Thread(target=self._run, args=args, name="llmtrail-refill", daemon=True)
        self._thread.start()

    def take(self) -> list[Answer]:
        """Return what came since this was last asked."""
        try:
            self._known_ns, answers = self._answers.get_nowait()
        except queue.Empty:
            return []
        return answers

    def _run(
        self, asked: Sequence[tuple[Budget, Bounds]], known_ns: int | None, now_s: int, answered: _Answers
    ) -> None:
        try:
            corrected_ns = self._stored.corrected_ns(_since_ns(now_s))
            if corrected_ns is None or corrected_ns <= (known_ns or 0):
                return
            until_s = (now_s - SETTLED_S) // 10 * 10
            answers = []
            for budget, period in asked:
                if period.start_s < until_s:
                    target = budget.target
                    spent = self._stored.spent(target.kind, target.values, period.start_s * _NS, until_s * _NS)
                    answers.append(Answer(budget.name, period, until_s, list(spent)))
            answered.put((corrected_ns, answers))
        except Exception:  # noqa: BLE001 - the thread's edge: the former costs count until it is looked for again.
            _LOG.exception("corrected costs are not counted by budgets yet; looked for again in %d s", LOOK_EVERY_S)


def refilled(former: Fills, answers: Iterable[Answer], statistics: Figures) -> dict[tuple[str, str], dict[str, Cell]]:
    """Return what the statistics lack of the budgets that were asked for, by all that is known now.

    A scope of which the statistics know more calls than the store keeps what it had; so do all where nothing is stored.
    """
    found: dict[tuple[str, str], dict[str, Cell]] = {}
    for answer in answers:
        if not answer.spent:
            continue
        key = answer.rule, answer.period.name
        had: Mapping[str, Cell] = former.get(key, {})
        now = found[key] = dict[str, Cell]()
        for one in answer.spent:
            text = one.scope.text()
            if not one.corrected and text not in had:
                continue  # Nothing is new of it, and there may be ten thousand others.
            lack = beyond(statistics.figures(text, answer.period.start_s, answer.until_s), one)
            if lack.calls < 0:
                lack = had.get(text, Cell())
            elif not tells_more(lack, one):
                continue
            if not lack.is_zero:
                now[text] = lack
    return found


def _is_filled(budget: Budget) -> bool:
    # Of tokens and calls nothing is ever corrected.
    return budget.period in LONG and budget.unit is Unit.NANOUSD


def _since_ns(now_s: int) -> int:
    """Return since when corrections are looked at: what is older was known when it was last looked."""
    return (now_s - 86_400) * _NS
