"""Lay the record of a request out as a page that a support engineer reads. Knows the document's shape only."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from llmtrail.cli import page_parts as parts
from llmtrail.cli.page_alerts import decisions_table
from llmtrail.cli.page_gpu import gpu_parts
from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.wording import count, duration, moment, money, plain

# Piped output has no width of its own; this is what a terminal usually has.
PIPE_WIDTH = 120
_WIDTH_MIN = 60
_NAME_WIDTH = 120

Document = Mapping[str, Any]


def print_page(document: Document, *, full: bool = False, console: Console | None = None) -> None:
    """Print the page of a request's document."""
    screen = console or Console(highlight=False, markup=False, emoji=False)
    if console is None and (not screen.is_terminal or screen.width < _WIDTH_MIN):
        screen = Console(highlight=False, markup=False, emoji=False, width=PIPE_WIDTH)
    screen.print(page(document, full=full))


def page(document: Document, *, full: bool = False) -> RenderableType:
    """Return the page of a request's document: its head, then each call in the order in which they began."""
    calls = [call for call in document.get("calls") or () if isinstance(call, Mapping)]
    sections: list[RenderableType] = [_head(document, calls)]
    decisions = decisions_table(document)
    if decisions is not None:
        sections += [
            Text(""),
            Rule(Text("Budgets and alarms", style="bold"), align="left", style="yellow"),
            Padding(decisions, (0, 1)),
        ]
    for number, call in enumerate(calls, start=1):
        sections += _call(call, f"Call {number} of {len(calls)}", full=full)
    if absent := document.get("content_absent"):
        sections.append(Text(f"without texts: {absent}", style="yellow"))
    if document.get("truncated"):
        sections.append(
            Text(f"only the first {len(calls)} calls are shown; ask `llmtrail sql` for all", style="yellow")
        )
    return Group(*sections)


def verdict(calls: Iterable[Mapping[str, Any]]) -> tuple[str, str]:
    """Return in words, and in a colour, whether the user was helped: the last call decides."""
    listed = list(calls)
    if not listed:
        return "no calls", "yellow"
    last, failed = listed[-1], [call for call in listed if _failed(call)]
    if not failed:
        return "answered", "green"
    ways = ", ".join(dict.fromkeys(_mode(call) for call in failed))
    handled = next((plain(call["handled_by"]) for call in reversed(failed) if call.get("handled_by")), "")
    if handled in {"", "raised"} and _failed(last):
        return f"failed: {ways}", "red"
    return f"answered, though {ways}" + (f"; handled by {handled}" if handled else ""), "yellow"


def _head(document: Document, calls: list[Mapping[str, Any]]) -> RenderableType:
    words, colour = verdict(calls)
    unpriced = document.get("unpriced_calls") or 0
    facts = [count(len(calls), "call"), money(document.get("cost_nanousd"))]
    facts += [f"{unpriced} unpriced"] if unpriced else []
    facts += [duration(_whole_ms(calls)), moment(calls[0]["started_at_ns"])] if calls else []
    line = Text(safe_line(words, _NAME_WIDTH), style=f"bold {colour}").append(
        " · " + " · ".join(facts), style="default"
    )
    who = parts.ids_line(document, ("feature", "user_id", "tenant", "session_id", "trace_id"))
    name = plain(document.get("request_id") or document.get("id") or "")
    title = Text(" Request ", style="bold").append(safe_line(name, _NAME_WIDTH), style="bold cyan").append(" ")
    found = Text(f" found by its {safe_line(plain(document.get('found_by') or 'id'), 20)} id ", style="dim")
    body = Group(line, Text(who)) if who else line
    return Panel(body, title=title, title_align="left", subtitle=found, subtitle_align="right", border_style=colour)


def _call(call: Mapping[str, Any], title: str, *, full: bool) -> Iterator[RenderableType]:
    colour = "red" if _failed(call) else "green"
    heading = Text(f"{title} ", style="bold").append(safe_line(_what(call), _NAME_WIDTH))
    yield Text("")
    yield Rule(heading, align="left", style=colour)
    table = parts.label_table()
    for role, text in parts.asked(call, full=full):
        table.add_row(Text(safe_line(role, 12), style=parts.role_style(role)), text)
    for index, line in enumerate(parts.retrieval(call, full=full)):
        table.add_row("retrieved" if index == 0 else "", line)
    for role, text in parts.answered(call, full=full):
        table.add_row(Text(f"← {safe_line(role, 12)}", style=parts.role_style(role)), text)
    for label, text in _facts(call, full=full):
        table.add_row(label, text)
    yield Padding(table, (0, 1))
    attempts = parts.attempts_table(call)
    if attempts is not None:
        yield Padding(attempts, (1, 1, 0, 1))
    yield from gpu_parts(call)


def _facts(call: Mapping[str, Any], *, full: bool) -> Iterator[tuple[str, Text]]:
    parser = call.get("parser")
    if isinstance(parser, Mapping):
        status = plain(parser.get("status") or "status unknown")
        said = ": ".join(
            [status, *(plain(parser[name]) for name in ("error", "value") if parser.get(name) is not None)]
        )
        yield "parser", parts.cut(said, full=full).copy() if status != "failed" else _red(said, full=full)
    if _failed(call):
        yield "failed", _red(_failure(call), full=full)
    handled = plain(call.get("handled_by") or "")
    if handled:
        yield "handled by", Text(safe_line(handled, _NAME_WIDTH))
    yield "took", Text(_timing(call))
    if served := parts.served_line(call):
        yield "served", Text(served)
    yield "live", Text(parts.versions_line(call))
    yield "tokens", Text(parts.tokens_line(call))
    yield "money", parts.money_line(call)
    if call.get("parameters"):
        yield "parameters", parts.cut(plain(call["parameters"]), full=full)
    if call.get("attributes"):
        yield "attributes", parts.cut(plain(call["attributes"]), full=full)
    names = ("call_id", "request_id", "provider_request_id", "trace_id", "span_id", "service", "environment", "host")
    yield "ids", Text(parts.ids_line(call, names), style="dim")
    if call.get("content_policy"):
        yield "content", Text(f"kept by policy {safe_line(plain(call['content_policy']), 20)}", style="dim")


def _timing(call: Mapping[str, Any]) -> str:
    said = [duration(call.get("latency_ms"))]
    if call.get("time_to_first_token_ms") is not None:
        said.append(f"first token after {duration(call['time_to_first_token_ms'])}")
    retries = call.get("retry_count")
    said.append("retries unknown" if retries is None else "no retry" if retries == 0 else _retries(retries))
    if call.get("finish_reasons"):
        said.append("ended by " + ", ".join(plain(reason) for reason in call["finish_reasons"]))
    if call.get("clock_skew"):
        said.append("the sender's clock is more than a day off")
    return safe_line(" · ".join(said), 400)


def _retries(number: int) -> str:
    return "1 retry" if number == 1 else f"{number} retries"


def _what(call: Mapping[str, Any]) -> str:
    model = _model(call)
    named = [plain(call[name]) for name in ("operation", "provider") if call.get(name)]
    outcome = f"failed: {_mode(call)}" if _failed(call) else "ok"
    return " · ".join([*named, model, "streamed" if call.get("stream") else "", outcome]).replace(" ·  · ", " · ")


def _model(call: Mapping[str, Any]) -> str:
    """Return the model's one name, with the names that it was asked by and answered under where they differ."""
    asked, came = call.get("request_model"), call.get("response_model")
    model = call.get("model") or asked or came
    if not model:
        return "model unknown"
    ways = (("asked as", asked), ("answered as", came))
    told = ", ".join(f"{way} {plain(name)}" for way, name in ways if name and name != model)
    return f"{plain(model)} ({told})" if told else plain(model)


def _failure(call: Mapping[str, Any]) -> str:
    told = call.get("error")
    error: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    words = [_mode(call), *(plain(error[name]) for name in ("type", "message") if error.get(name))]
    status = f" (HTTP {error['http_status']})" if error.get("http_status") else ""
    return ": ".join(words) + status


def _failed(call: Mapping[str, Any]) -> bool:
    return call.get("failure_mode") is not None or call.get("status") == "error"


def _mode(call: Mapping[str, Any]) -> str:
    return plain(call.get("failure_mode") or "unknown")


def _red(text: str, *, full: bool) -> Text:
    shown = parts.cut(text, full=full)
    shown.stylize("red")
    return shown


def _whole_ms(calls: list[Mapping[str, Any]]) -> float | None:
    """Return the time from the first call's start to the last one's end; None where any end is unknown."""
    if any(call.get("latency_ms") is None for call in calls):
        return None
    start_ns: int = min(call["started_at_ns"] for call in calls)
    ends_ms: list[float] = [(call["started_at_ns"] - start_ns) / 1e6 + call["latency_ms"] for call in calls]
    return max(ends_ms)
