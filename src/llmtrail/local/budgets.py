"""What is told of alerts and budgets: decisions from a store, spending from a board by a folder of rules. Composes."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from starlette.routing import Route

from llmtrail.access.gate import Gate
from llmtrail.clock import Clock
from llmtrail.core.board import Board
from llmtrail.core.model_identity import ModelTable
from llmtrail.store.alert_reads import AlertDocument, AlertQuestion, find_decisions, find_firing
from llmtrail.store.handle import Handle
from llmtrail_alerts.board_statistics import BoardStatistics
from llmtrail_alerts.fill import Stored, wants_of
from llmtrail_alerts.filling import Filling
from llmtrail_alerts.reload import RulesFolder
from llmtrail_alerts.rules import Rules, RulesError
from llmtrail_alerts.spent import budget_documents
from llmtrail_web.alerts import alert_routes, budget_routes

_NS = 1_000_000_000


class RulesInForce:
    """The rules of a folder as they stand now; broken files leave the former ones. Safe from several threads."""

    def __init__(self, folder: Path | None, models: ModelTable | None = None) -> None:
        self._folder = None if folder is None else RulesFolder(folder, models=models)
        self._rules: Rules | None = None
        self._lock = threading.Lock()
        self.failure = ""

    def rules(self, now_ns: int) -> Rules | None:
        """Return the rules; None where no folder is named, or where it has not been readable yet."""
        if self._folder is None:
            return None
        with self._lock:
            try:
                told = self._folder.open(now_ns) if self._rules is None else self._folder.poll(now_ns)
            except RulesError as error:
                self.failure = f"the rules cannot be used: {error}"
                return None
            if told is not None:
                self._rules = told.rules
            self.failure = ""
            return self._rules


class StoredAlerts:
    """Decisions in a store."""

    def __init__(self, reader: Handle, rules: RulesInForce) -> None:
        self._reader = reader
        self._rules = rules

    def decisions(self, question: AlertQuestion) -> list[AlertDocument]:
        """Return decisions since a time, the latest first; raises StoreError."""
        return find_decisions(self._reader, question)

    def firing(self, question: AlertQuestion) -> list[AlertDocument]:
        """Return what holds now, the latest first; raises StoreError. What a rule said that is gone holds no more."""
        found = find_firing(self._reader, question)
        rules = self._rules.rules(question.now_ns)
        return found if rules is None else [one for one in found if rules.rule(one["rule"]) is not None]


class SpentBudgets:
    """How far budgets are spent, as a board knows it."""

    def __init__(self, board: Board, rules: RulesInForce, stored: Stored | None) -> None:
        self._board = board
        self._rules = rules
        self._filling = None if stored is None else Filling(stored, BoardStatistics(board).frozen)
        self._lock = threading.Lock()

    def _fill(self, rules: Rules, now_s: int) -> None:
        """Have the store asked what the statistics lack of the budgets: at the first question, and for other rules."""
        if self._filling is not None:
            with self._lock:
                self._filling.want(wants_of(rules.budgets, now_s))
                self._filling.ask(now_s)

    def __call__(self, rule: str | None, tenant: str | None, limit: int, now_ns: int) -> list[dict[str, Any]]:
        """Return the documents of one budget, or of all, with so many scopes each."""
        rules = self._rules.rules(now_ns)
        if rules is None:
            return []
        self._fill(rules, now_ns // _NS)
        budgets = [budget for budget in rules.budgets if rule in {None, budget.name}]
        return budget_documents(budgets, rules, (self._board, self._filling), tenant, limit, now_ns)


def told_routes(
    reader: Handle,
    board: tuple[Board, Stored | None],
    rules: RulesInForce,
    clock: Clock,
    gate: Gate,
    not_ready: Callable[[], str] = lambda: "",
) -> list[Route]:
    """Return `GET /v1/alerts` and `GET /v1/budgets`.

    `board` has the statistics, and the store that has what they lack; `not_ready` says why it cannot answer yet.
    """
    return [
        *alert_routes(StoredAlerts(reader, rules), clock.now_ns, gate),
        *budget_routes(
            SpentBudgets(board[0], rules, board[1]), clock.now_ns, gate, lambda: not_ready() or rules.failure
        ),
    ]
