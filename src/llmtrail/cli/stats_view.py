"""Lay rolling statistics out as a table for a terminal. Knows the document's shape only; decides nothing.

Names are what senders wrote: they go through `safe_line`, and into `Text`, which reads no markup.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.wording import UNKNOWN, count, duration, money

# Piped output has no width of its own; every column has room in this.
PIPE_WIDTH = 140
# What a narrower terminal is not told, in this order, rather than folded numbers.
_FIRST_TO_GO = ("p90", "first token", "out", "tokens in", "p99", "retries", "failures")
_GAP = 2
_NAME_WIDTH = 60
# A name is folded before the figures are, but not to less than this.
_NAME_WIDTH_MIN = 18
# Failure modes of one scope that are told, the most frequent first.
_MODES_MAX = 3
_ALARMING_RATE = 0.05
# A window counts what has arrived; that nothing came for so long may be a standstill.
_OLD_S = 60

WINDOWS = {
    "1m": "Last minute",
    "5m": "Last 5 minutes",
    "1h": "Last hour",
    "1d": "Last 24 hours",
    "today": "Today",
    "month": "This month",
}
# How a kind is said where its name does not say it.
_KINDS = {
    "feature_model": "feature and model",
    "feature_user": "feature and user",
    "version": "prompt version",
    "prompt": "prompt fingerprint",
}
_SHORT = {
    "user_id": "user",
    "prompt_name": "prompt",
    "prompt_version": "version",
    "request_id": "request",
    "session_id": "session",
    "prompt_fingerprint": "prompt",
}
_NAMES = (
    "tenant",
    "feature",
    "user_id",
    "model",
    "prompt_name",
    "prompt_version",
    "request_id",
    "session_id",
    "prompt_fingerprint",
)

Document = Mapping[str, Any]


def screen() -> Console:
    """Return the terminal, or paper of a fixed width where output is piped."""
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)


def shown(document: Document, width: int) -> RenderableType:
    """Return a document as a table with its heading and what is to be said of it."""
    scopes: Sequence[Document] = document["scopes"]
    parts: list[RenderableType] = [_heading(document)]
    if scopes:
        parts.append(_table(scopes, width))
    parts += [Text(note, style="yellow") for note in _notes(document)]
    return Group(*parts)


def _heading(document: Document) -> Text:
    kind, found = document["kind"], document["found"]
    window = WINDOWS.get(document["window"], document["window"])
    zone = f" ({document['zone']})" if document["window"] in {"today", "month"} else ""
    line = Text(f"{window}{zone}", style="bold")
    line.append(f" by {_KINDS.get(kind, kind)}", style="default")
    if not found:
        return line.append(": no calls", style="yellow").append(_counted_to(document))
    if len(document["scopes"]) < found:
        line.append(f": the first {len(document['scopes']):,} of {found:,} by {document['order']}")
    return line.append(_counted_to(document))


def _counted_to(document: Document) -> Text:
    if document["as_of"] is None:
        return Text(" · nothing was counted yet", style="yellow")
    as_of, now = (datetime.fromisoformat(document[name]) for name in ("as_of", "now"))
    age_s = max((now - as_of).total_seconds(), 0.0)
    said = f" · newest call counted {duration(age_s * 1_000)} ago"
    return Text(said, style="yellow" if age_s > _OLD_S else "dim")


def _table(scopes: Sequence[Document], width: int) -> Table:
    rows = [{**_names(scope), **_figures(scope), "failures": _failures(scope)} for scope in scopes]
    names = [name for name in _names(scopes[0]) if name != "tenant" or any(scope["tenant"] for scope in scopes)]
    names = names or ["tenant"]
    told = [name for name in (*_figures(scopes[0]), "failures") if name not in _empty(rows)]
    for name in _FIRST_TO_GO:
        if _width(rows, [*names, *told]) > width and name in told:
            told.remove(name)
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold dim")
    for name in names:
        longest = max(len(row[name]) for row in rows)
        table.add_column(name, overflow="fold", min_width=min(longest, _NAME_WIDTH_MIN), style="cyan")
    for name in told:
        table.add_column(name, justify="left" if name == "failures" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in (*names, *told)))
    return table


def _empty(rows: Sequence[Mapping[str, Text]]) -> set[str]:
    """Return the columns that say nothing of any scope."""
    return {name for name in rows[0] if all(row[name].plain == "-" for row in rows)}


def _width(rows: Sequence[Mapping[str, Text]], columns: Sequence[str]) -> int:
    texts = {name: [name, *(line for row in rows for line in row[name].plain.split("\n"))] for name in columns}
    return sum(max(map(len, lines)) + _GAP for lines in texts.values()) - _GAP


def _names(scope: Document) -> dict[str, Text]:
    """Return what a scope is called, by columns' names."""
    return {
        _SHORT.get(name, name): Text(safe_line(str(scope[name]), _NAME_WIDTH) or "-")
        for name in scope
        if name in _NAMES
    }


def _figures(scope: Document) -> dict[str, Text]:
    """Return what a scope comes to, by columns' names."""
    latency = {name: _duration(scope["latency_ms"][name]) for name in ("p50", "p90", "p95", "p99")}
    return {
        "calls": Text(f"{scope['calls']:,}"),
        "errors": _errors(scope),
        "cost": _cost(scope),
        "tokens in": Text(f"{scope['input_tokens']:,}"),
        "out": Text(f"{scope['output_tokens']:,}"),
        "retries": Text("-" if scope["retries"] is None else f"{scope['retries']:,}"),
        **latency,
        "first token": _duration(scope["time_to_first_token_ms"]["p95"]),
    }


def _errors(scope: Document) -> Text:
    if not scope["errors"]:
        return Text("0", style="dim")
    rate = scope["error_rate"] or 0.0
    return Text(f"{scope['errors']:,} ({rate:.1%})", style="red" if rate >= _ALARMING_RATE else "yellow")


def _cost(scope: Document) -> Text:
    if scope["cost_nanousd"] is None:
        return Text(UNKNOWN, style="yellow")
    # The asterisk is explained below the table.
    return Text(money(scope["cost_nanousd"]) + ("*" if scope["unpriced"] else ""))


def _duration(milliseconds: float | None) -> Text:
    return Text("-", style="dim") if milliseconds is None else Text(duration(milliseconds))


def _failures(scope: Document) -> Text:
    modes = sorted(scope["failures"].items(), key=lambda told: (-told[1], told[0]))
    said = [f"{safe_line(mode, _NAME_WIDTH)} {number:,}" for mode, number in modes[:_MODES_MAX]]
    if len(modes) > _MODES_MAX:
        said.append(f"and {len(modes) - _MODES_MAX} more")
    return Text("\n".join(said) or "-", style="" if said else "dim")


def _notes(document: Document) -> Iterator[str]:
    unpriced = sum(scope["unpriced"] for scope in document["scopes"])
    if unpriced:
        yield f"* without {count(unpriced, 'call')} that no price is known of."
    if document["late"]:
        yield f"{count(document['late'], 'call')} came more than a day after they began: counted here, in no figure."
    if document["skewed"]:
        yield f"{count(document['skewed'], 'call')} began after they arrived: a sender's clock is ahead."
    if document["overflowed"]:
        yield "There are more names than are kept one by one: the rest is counted under (other)."
    let_go = document["let_go"]
    if let_go and let_go["scopes"]:
        yield (
            f"Only the heaviest are kept: {let_go['scopes']:,} were let go, of at most "
            f"{count(let_go['attempts_max'], 'attempt')} or {money(let_go['cost_nanousd_max'])} each."
        )
