"""What budgets and alarms said of a request, for its page. Knows the document's shape only; decides nothing."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.wording import plain
from llmtrail.core.scope import parse_scope
from llmtrail_alerts.amount import amount
from llmtrail_alerts.compose import scope_name
from llmtrail_alerts.model import Unit

_NAME_WIDTH = 120
_STYLES = {"critical": "red", "error": "red", "warning": "yellow", "info": "cyan"}

Decision = Mapping[str, Any]


def decisions_table(document: Mapping[str, Any]) -> Table | None:
    """Return the decisions that concern a request, the first one first; None where there are none."""
    listed = [
        one
        for name in ("budget_decisions", "alerts")
        for one in document.get(name) or ()
        if isinstance(one, Mapping) and one.get("decided_at")
    ]
    if not listed:
        return None
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(style="bold", overflow="fold", max_width=24)
    table.add_column(overflow="fold", ratio=1)
    for one in sorted(listed, key=lambda one: plain(one["decided_at"])):
        lines = Text("\n").join([_what(one), Text(_consequence(one), style="dim")])
        table.add_row(_clock(plain(one["decided_at"])), safe_line(plain(one.get("rule") or ""), _NAME_WIDTH), lines)
    return table


def _what(one: Decision) -> Text:
    said = Text(safe_line(f"{_scope(one)}: {_how_bad(one)}", 400))
    level = safe_line(plain(one.get("level") or one.get("reason") or ""), _NAME_WIDTH)
    return said.append(f"  {level}", style=_STYLES.get(plain(one.get("severity") or ""), "default"))


def _how_bad(one: Decision) -> str:
    unit = _unit(plain(one.get("unit") or ""))
    if one.get("amount") is not None:
        of_limit = f" of {amount(one['amount_limit'], unit)}" if one.get("amount_limit") is not None else ""
        period = f" in {plain(one['period'])}" if one.get("period") and one["period"] != "total" else ""
        return f"{amount(one['amount'], unit)}{of_limit}{period}"
    if one.get("value") is None:
        return "no value"
    threshold = f" (tells from {amount(one['threshold'], unit)})" if one.get("threshold") is not None else ""
    return f"{amount(one['value'], unit)}{threshold}"


def _consequence(one: Decision) -> str:
    """Return how it concerns the request, what it did, and who heard of it."""
    said = ["names this request" if one.get("concerns") == "names_it" else "held when this was asked"]
    said += ["calls are stopped from here on"] if one.get("hard") else []
    channels = _listed(one.get("channels"))
    if one.get("told"):
        owner = plain(one.get("owner") or "")
        said.append(f"told{f' {owner}' if owner else ''}{f' by {channels}' if channels else ''}")
    elif one.get("suppressed_by"):
        said.append(f"told nobody: {plain(one['suppressed_by'])} kept it quiet")
    else:
        said.append("told nobody")
    return safe_line(" · ".join(said), 400)


def _scope(one: Decision) -> str:
    try:
        return scope_name(parse_scope(plain(one.get("scope") or "")))
    except ValueError:
        return plain(one.get("scope") or "")


def _unit(name: str) -> Unit:
    return Unit(name) if name in set(Unit) else Unit.COUNT


def _listed(names: object) -> str:
    return (
        ", ".join(plain(name) for name in names) if isinstance(names, Iterable) and not isinstance(names, str) else ""
    )


def _clock(moment: str) -> str:
    """Return the time of day of an RFC 3339 time; the date is the request's, or a day or some before it."""
    return safe_line(moment.replace("T", " ").split(".")[0], 19)
