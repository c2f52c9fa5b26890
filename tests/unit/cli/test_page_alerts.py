"""What budgets and alarms said of a request stands above its calls, in words."""

import io
from typing import Any

from rich.console import Console

from llmtrail.cli.page_alerts import decisions_table

HARD: dict[str, Any] = {
    "alert_id": "a",
    "decided_at": "2026-11-21T12:44:28.000000000Z",
    "rule": "search-day",
    "rule_kind": "budget",
    "scope": '["","feature","search"]',
    "reason": "level_changed",
    "level": "hard limit",
    "severity": "critical",
    "hard": True,
    "told": True,
    "owner": "search-team",
    "channels": ["slack", "pager"],
    "unit": "nanousd",
    "amount": 1_200_000_000,
    "amount_limit": 1_000_000_000,
    "period": "2026-11-21",
    "concerns": "held",
}
QUIET: dict[str, Any] = {
    **HARD,
    "decided_at": "2026-11-21T12:40:00.000000000Z",
    "rule": "slow",
    "rule_kind": "alarm",
    "hard": False,
    "told": False,
    "suppressed_by": "re-index",
    "unit": "ms",
    "amount": None,
    "value": 4_200.0,
    "threshold": 4_000.0,
    "concerns": "names_it",
}


def shown(document: dict[str, Any]) -> str:
    written = io.StringIO()
    screen = Console(file=written, width=160, markup=False)
    table = decisions_table(document)
    assert table is not None
    screen.print(table)
    return written.getvalue()


def test_a_decision_says_how_bad_what_it_did_and_who_heard() -> None:
    text = shown({"budget_decisions": [HARD], "alerts": [QUIET]})
    assert text.index("slow") < text.index("search-day"), "the earlier one first"
    assert "feature search: $1.20 of $1.00 in 2026-11-21  hard limit" in text
    assert "held when this was asked · calls are stopped from here on · told search-team by slack, pager" in text
    assert "4.2 s (tells from 4 s)" in text
    assert "names this request · told nobody: re-index kept it quiet" in text


def test_a_name_that_attacks_the_terminal_is_spelled_out() -> None:
    text = shown({"alerts": [{**QUIET, "rule": "\x1b[2Jx", "scope": '["","user","[red]\\u202eu"]'}]})
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[red]" in text


def test_where_nothing_was_decided_nothing_is_shown() -> None:
    assert decisions_table({"budget_decisions": [], "alerts": []}) is None
    assert decisions_table({}) is None
