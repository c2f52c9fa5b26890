"""The parts of a call's page: conversation, attempts, versions, tokens and money. Knows the document's shape only.

Everything that senders wrote goes through `safe`, and into `Text`, which reads no markup.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from llmtrail.cli.safe_text import safe, safe_line
from llmtrail.cli.wording import conversation, count, duration, money, plain, tool_call_text
from llmtrail.core.reported import cost_gap_nanousd

# What a person reads before scrolling; `--full` and `--json` have the rest.
LINES_A_TEXT_MAX = 14
CHARACTERS_A_TEXT_MAX = 1_600
MESSAGES_MAX = 8
DOCUMENTS_MAX = 5
_HEAD_MESSAGES = 2
_BAR_WIDTH = 30
_LINE_WIDTH = 400
# What stands before an amount and after it, where a cost's source needs words.
_SOURCE_WORDS = {
    "estimated": ("~", "estimated from what was sent and received"),
    "not_billed": ("", "not billed"),
    "self_hosted": ("", "self-hosted, until its hour is settled"),
    "self_hosted_final": ("", "self-hosted"),
}

# No entry of a price list stands behind these, whatever `price_id` names them by.
_WITHOUT_PRICE = frozenset({"not_billed", "reported"})

_ROLE_STYLES = {"system": "magenta", "developer": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}

Call = Mapping[str, Any]


def label_table() -> Table:
    """Return an empty two-column table: a word, and what it says."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=10)
    table.add_column(ratio=1, overflow="fold")
    return table


def asked(call: Call, *, full: bool) -> Iterator[tuple[str, Text]]:
    """Yield what was asked: variables, then the conversation or the prompt."""
    if call.get("input") is not None:
        yield "input", cut(plain(call["input"]), full=full)
    source = call.get("messages") if call.get("messages") is not None else call.get("prompt")
    messages = conversation(source)
    hidden = 0 if full else max(len(messages) - MESSAGES_MAX, 0)
    shown = messages if not hidden else [*messages[:_HEAD_MESSAGES], *messages[_HEAD_MESSAGES + hidden :]]
    for index, (role, text) in enumerate(shown):
        if hidden and index == _HEAD_MESSAGES:
            yield "", Text(f"… {count(hidden, 'message')} between; --full shows them", style="dim italic")
        yield role or "prompt", cut(text, full=full)


def answered(call: Call, *, full: bool) -> Iterator[tuple[str, Text]]:
    """Yield what was answered: text, tool calls, why it ended."""
    said = conversation(call.get("output"))
    for role, text in said:
        if text:
            yield role or "assistant", cut(text, full=full)
    calls = call.get("tool_calls")
    for made in calls if isinstance(calls, list) else []:
        told = tool_call_text(made)
        # Clients put tool calls into the message too; once is enough.
        if not any(told in text for _, text in said):
            yield "tool call", cut(told, full=full)


def retrieval(call: Call, *, full: bool) -> Iterator[Text]:
    """Yield lines about what was looked up before the call."""
    found = call.get("retrieval")
    if not isinstance(found, Mapping):
        return
    head = [plain(found.get("status") or "status unknown")]
    if found.get("latency_ms") is not None:
        head.append(duration(found["latency_ms"]))
    if found.get("query") is not None:
        head.append(f"query: {plain(found['query'])}")
    yield Text(safe_line(" · ".join(head), _LINE_WIDTH))
    documents = found.get("documents")
    listed = documents if isinstance(documents, list) else [] if documents is None else [documents]
    shown = listed if full else listed[:DOCUMENTS_MAX]
    for number, document in enumerate(shown, start=1):
        yield Text(f"{number}. ", style="dim").append(safe_line(plain(document), _LINE_WIDTH if not full else 100_000))
    if len(shown) < len(listed):
        yield Text(f"… {count(len(listed) - len(shown), 'document')} more; --full shows them", style="dim italic")


def attempts_table(call: Call) -> Table | None:
    """Return the attempts as a time line, or None where none were told."""
    attempts = [attempt for attempt in call.get("attempts") or () if isinstance(attempt, Mapping)]
    if not attempts:
        return None
    starts = offsets_ms(call, attempts)
    ends = [start + (attempt.get("latency_ms") or 0.0) for start, attempt in zip(starts, attempts, strict=True)]
    whole = max([call.get("latency_ms") or 0.0, *ends, 0.001])
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    for name in ("#", "starts at", "took", "after wait", "status"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("time line", no_wrap=True, width=_BAR_WIDTH)
    table.add_column("outcome", overflow="fold", ratio=1)
    for start, end, attempt in zip(starts, ends, attempts, strict=True):
        style = "green" if _succeeded(attempt) else "red"
        waited = attempt.get("backoff_ms")
        table.add_row(
            str(attempt.get("number", "?")),
            f"+{duration(start)}" if start else "0",
            duration(attempt.get("latency_ms")),
            duration(waited) if waited else "-",
            Text(str(attempt.get("http_status") or "-"), style=style),
            bar(start / whole, end / whole, style),
            Text(attempt_outcome(attempt), style=style),
        )
    return table


def offsets_ms(call: Call, attempts: Sequence[Mapping[str, Any]]) -> list[float]:
    """Return when each attempt began, in milliseconds since the call did.

    Where an attempt does not say, it began when the former ended and its own wait was over.
    """
    offsets: list[float] = []
    free_at = 0.0
    for attempt in attempts:
        own_ns = _epoch_ns(attempt.get("started_at"))
        began = free_at + (attempt.get("backoff_ms") or 0.0)
        if own_ns is not None and isinstance(call.get("started_at_ns"), int):
            began = max((own_ns - call["started_at_ns"]) / 1e6, 0.0)
        offsets.append(began)
        free_at = began + (attempt.get("latency_ms") or 0.0)
    return offsets


def bar(start: float, end: float, style: str) -> Text:
    """Return a bar between two fractions of the whole; even the shortest can be seen."""
    first = min(int(start * _BAR_WIDTH), _BAR_WIDTH - 1)
    length = max(min(round(end * _BAR_WIDTH), _BAR_WIDTH) - first, 1)
    return Text("·" * first, style="dim").append("━" * length, style=style).append("·" * (_BAR_WIDTH - first - length))


def attempt_outcome(attempt: Mapping[str, Any]) -> str:
    """Return what became of an attempt, with its error and the provider's own id of it."""
    error = attempt.get("error")
    if isinstance(error, Mapping):
        error = ": ".join(plain(part) for part in (error.get("type"), error.get("message")) if part)
    said = [attempt.get("outcome"), error, attempt.get("provider_request_id")]
    return safe_line(" · ".join(plain(part) for part in said if part), _LINE_WIDTH)


def versions_line(call: Call) -> str:
    """Return what was live: prompt, retrieval, parser, model configuration, release."""
    live = call.get("versions") or {}
    named = {"prompt_name": "prompt", "model_config": "model config"}
    told = [(named.get(name, name), live.get(name)) for name in live if name not in {"prompt", "prompt_name"}]
    prompt = " ".join(plain(live[name]) for name in ("prompt_name", "prompt") if live.get(name))
    parts = [f"prompt {prompt}"] if prompt else []
    parts += [f"{name} {plain(value)}" for name, value in told if value]
    return safe_line(" · ".join(parts), _LINE_WIDTH) or "no versions were told"


def tokens_line(call: Call) -> str:
    """Return the tokens by class; `~` marks what is estimated. What nobody knows is unknown, never zero."""
    usage = call.get("usage") or {}
    kinds: dict[str, list[str]] = {"input": [], "output": []}
    other: list[str] = []
    for name, number in usage.items():
        # A class of tokens that was known to be absent is not worth a reader's time.
        if name in {"input_tokens", "output_tokens"} or not number:
            continue
        word = name.removesuffix("_tokens").replace("_", " ")
        owner = "output" if word.startswith(("output", "reasoning")) else "input" if "tokens" in name else ""
        kinds.get(owner, other).append(f"{word.removeprefix(owner).strip()} {number:,}")
    parts = []
    for kind, details in kinds.items():
        detail = f" ({', '.join(details)})" if details else ""
        parts.append(f"{kind} {_tokens(usage.get(f'{kind}_tokens'), call.get(f'estimated_{kind}_tokens'))}{detail}")
    return " · ".join(parts + other)


def served_line(call: Call) -> str:
    """Return how the call was served, as its answer reports it; "" where it reports nothing."""
    served = call.get("served") or {}
    told = [f"{name.replace('_', ' ')} {plain(value)}" for name, value in served.items() if value]
    return safe_line(" · ".join(told), _LINE_WIDTH)


def money_line(call: Call) -> Text:
    """Return the cost and whose price it is, or why there is none."""
    if call.get("cost_nanousd") is None:
        reason = safe_line(plain(call.get("unpriced_reason") or "no reason was stored"), _LINE_WIDTH)
        reported = call.get("reported_cost_nanousd")
        told = f" · reported {money(reported)}" if reported else ""
        return Text(f"unpriced: {reason}{told}", style="yellow")
    source = plain(call.get("cost_source") or "")
    about, words = _SOURCE_WORDS.get(source, ("", source))
    is_priced = call.get("price_id") and source not in _WITHOUT_PRICE
    price = f" by price {plain(call['price_id'])}" if is_priced else ""
    line = Text(safe_line(f"{about}{money(call['cost_nanousd'])} {words}{price}", _LINE_WIDTH))
    gap = cost_gap_nanousd(call["cost_nanousd"], source, call.get("reported_cost_nanousd"))
    if gap:
        line.append(f" · reported {money(call['reported_cost_nanousd'])}, ours {money(call['cost_nanousd'])}", "yellow")
    return line


def cut(text: str, *, full: bool) -> Text:
    """Return untrusted text made safe, and cut with a note unless `full`."""
    clean = safe(text)
    if full:
        return Text(clean)
    kept = "\n".join(clean[:CHARACTERS_A_TEXT_MAX].split("\n")[:LINES_A_TEXT_MAX])
    if len(kept) == len(clean):
        return Text(clean)
    return Text(kept).append(f"\n… {len(clean) - len(kept):,} characters more; --full shows them", style="dim italic")


def role_style(role: str) -> str:
    """Return the colour of a role's name."""
    return _ROLE_STYLES.get(role, "bold")


def ids_line(call: Call, names: Iterable[str]) -> str:
    """Return the call's ids that are known."""
    told = [f"{name.removesuffix('_id').replace('_', ' ')} {plain(call[name])}" for name in names if call.get(name)]
    return safe_line(" · ".join(told), _LINE_WIDTH)


def _succeeded(attempt: Mapping[str, Any]) -> bool:
    outcome = attempt.get("outcome")
    return outcome in {"ok", "success"} if outcome else not attempt.get("error")


def _tokens(reported: int | None, estimated: int | None) -> str:
    if reported is not None:
        return f"{reported:,}"
    return "unknown" if estimated is None else f"~{estimated:,}"


def _epoch_ns(value: object) -> int | None:
    if isinstance(value, int):
        return value
    if not isinstance(value, str):
        return None
    try:
        return int(datetime.fromisoformat(value).timestamp() * 1e9)
    except (ValueError, OverflowError):
        return None
