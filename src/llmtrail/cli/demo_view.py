"""What the demo prints: progress, what happened, where to look. Decides nothing."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from llmtrail.cli.demo_place import Place
from llmtrail.cli.demo_scenario import Phase
from llmtrail.cli.safe_text import safe_line
from llmtrail.cli.wording import count, duration, money
from llmtrail.config import Config
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.core.xid import xid_of
from llmtrail_alerts.compose import scope_name

_PHASES = {
    Phase.CALM: ("green", "business as usual"),
    Phase.INCIDENT: ("red", "the provider has an outage: errors, rate limits, silence, cut streams"),
    Phase.RECOVERED: ("cyan", "the provider is back; prompt v13 and release 2026.11.2 are live"),
}
_PIPE_WIDTH = 110
_WORDS_MAX = 300
_ALERTS = "SELECT decided_at, rule, scope, reason, level, told, owner FROM alerts ORDER BY decided_at"

Row = Mapping[str, Any]
Show = Callable[[int, Phase, Mapping[str, int]], None]


class DemoView:
    """Prints the demo for people; says nothing where a program reads."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(highlight=False, emoji=False, quiet=quiet)
        if not self._console.is_terminal:
            self._console = Console(highlight=False, emoji=False, quiet=quiet, width=_PIPE_WIDTH)

    def say(self, words: str) -> None:
        """Tell what is done now, where it takes a while."""
        self._console.print(Text(words, style="dim"), soft_wrap=True)

    def started(self, place: Place) -> None:
        """Tell that everything is up."""
        self._console.print(
            f"[bold]llmtrail is up[/bold]: calls at {place.gateway_url}, SQL at {place.sql_url}, data in {place.shown}"
        )
        colour, words = _PHASES[Phase.CALM]
        self._console.print(f"[{colour}]●[/{colour}] the shop opens: {words}")

    def phase(self, phase: Phase, at_s: float) -> None:
        """Tell what changes now."""
        colour, words = _PHASES[phase]
        self._console.print(f"[{colour}]●[/{colour}] after {at_s:.0f} s: {words}")

    @contextmanager
    def progress(self, total: int) -> Iterator[Show]:
        """Show a bar while requests are served."""
        columns = (TextColumn("{task.fields[words]}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        hidden = self._console.quiet or not self._console.is_terminal
        with Progress(*columns, TimeElapsedColumn(), console=self._console, disable=hidden, transient=True) as bar:
            task = bar.add_task("", total=total, words="serving users")

            def show(served: int, _phase: Phase, outcomes: Mapping[str, int]) -> None:
                good = outcomes.get("answered", 0)
                bad = sum(outcomes.values()) - good
                words = f"[green]{good} answered[/green], [red]{bad} with trouble[/red]"
                bar.update(task, completed=served, words=words)

            yield show

    def summary(self, summary: Row, failures: Sequence[Row], features: Sequence[Row]) -> None:
        """Tell what happened, as the store knows it."""
        unpriced = f", {summary['unpriced']} calls unpriced ({summary['why']})" if summary["unpriced"] else ""
        self._console.print()
        self._console.print(
            f"[bold]What happened[/bold]: {summary['requests']} requests of {summary['users']} users made "
            f"{summary['calls']} calls in {summary['attempts']} attempts; {summary['failed']} calls failed; "
            f"{money(summary['cost_nanousd'])} spent{unpriced}; "
            f"latency p50 {duration(summary['p50_ms'])}, p95 {duration(summary['p95_ms'])}."
        )
        self._console.print()
        self._console.print(_features_table(features))
        if failures:
            self._console.print(_failures_table(failures))

    def heard(self, who: str, words: str) -> None:
        """Tell what an owner was told; from any thread."""
        self._console.print(
            Text(f"  {who}: ", style="bold yellow").append(safe_line(words, _WORDS_MAX), style="default")
        )

    def stopped(self, words: str) -> None:
        """Tell why a call was not made; from any thread."""
        self._console.print(Text("  BudgetExceeded: ", style="bold red").append(safe_line(words, _WORDS_MAX)))

    def alerts(self, rows: Sequence[Row]) -> None:
        """Tell what budgets and alarms came to."""
        told = sum(1 for row in rows if row["told"])
        lines = [f"{count(len(rows), 'decision')}, {told} of them told to somebody", *map(_decision, rows)]
        self._console.print(Text("Budgets and alarms", style="bold").append(": " + "\n  ".join(lines), style="default"))

    def node(self, row: Row | None) -> None:
        """Tell what happened on the shop's own GPUs."""
        if row is None:
            return
        told = [f"{row['host']}, {row['gpus']} {row['gpu_name']}"]
        if row["throttled"]:
            numbers = ", ".join(map(str, row["throttled"]))
            told.append(f"GPU {numbers} was held down by {', '.join(row['reasons'])}")
        for number, code in row["xids"]:
            known = xid_of(code)
            told.append(f"GPU {number}: XID {code}, {known.meaning}. {known.advice}")
        lines = [safe_line(line, _WORDS_MAX) for line in told]
        self._console.print(Text("Own GPUs", style="bold").append(": " + "\n  ".join(lines), style="default"))

    def where_to_look(
        self, worth_and_lost: tuple[Row | None, str | None], alerts: Sequence[Row], place: Place, *, stays: bool
    ) -> None:
        """Tell a request id worth a look, and the commands; over HTTP only where something stays up to answer."""
        worth, lost = worth_and_lost
        data = place.data_up if stays else place.data_down
        me, folder = program(), "" if data == Config().server.data else f" --data {data}"
        if worth is None:
            return
        retries = {0: "never retried", 1: "retried once"}.get(
            worth["retry_count"] or 0, f"retried {worth['retry_count']} times"
        )
        handled = f", then handled by {worth['handled_by']}" if worth["handled_by"] else ""
        self._console.print(
            f"\n[bold]Worth a look[/bold]: request [bold cyan]{worth['request_id']}[/bold cyan] was {retries}{handled}."
        )
        statement = "SELECT feature, failure_mode, count() FROM calls GROUP BY ALL ORDER BY 3 DESC"
        commands = [f"{me} show {worth['request_id']}{folder}", f'{me} sql "{statement}"{folder}']
        # What the GPUs did around the call that lost one.
        commands += [f"{me} show {lost}{folder}"] if lost is not None else []
        stopped = next((row["request_ids"][0] for row in alerts if row["hard"] and row["request_ids"]), None)
        commands += [f"{me} show {stopped}{folder}"] if stopped is not None else []
        commands.append(f'{me} sql "{_ALERTS}"{folder}')
        if stays or place.data_up == place.data_down:
            commands.append(f"{me} stats --by feature{folder}")
        if stays:
            commands.append(f"curl {place.lookup_url}/v1/requests/{worth['request_id']}")
            commands.append(f"curl '{place.lookup_url}/v1/alerts?firing=true'")
            commands.append(f"curl {place.lookup_url}/v1/budgets")
        for command in commands:
            self._console.print(Text(f"  {command}", style="cyan"), soft_wrap=True)

    def staying(self) -> None:
        """Tell that everything stays up."""
        self._console.print("\nllmtrail stays up, so that you can look from another terminal; Ctrl-C stops it.")


def _decision(row: Row) -> str:
    name = scope_name(Scope(row["tenant"], ScopeKind(row["scope_kind"]), tuple(row["scope"])))
    said = f"{name} reached {row['level']}" if row["level"] else f"{name}: {row['reason']}"
    return safe_line(f"{row['rule']}: {said}", _WORDS_MAX)


def program() -> str:
    """Return how the user starts this program: by name where it is on the path, else by its place."""
    here = Path(sys.argv[0])
    if shutil.which("llmtrail"):
        return "llmtrail"
    try:
        return str(here.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return str(here)


def _features_table(features: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("feature")
    for name in ("calls", "failed", "retries", "p95", "cost"):
        table.add_column(name, justify="right")
    for row in features:
        failed = Text(str(row["failed"]), style="red" if row["failed"] else "dim")
        retries = "unknown" if row["retries"] is None else str(row["retries"])
        table.add_row(
            Text(row["feature"] or "-"),
            str(row["calls"]),
            failed,
            retries,
            duration(row["p95_ms"]),
            money(row["cost_nanousd"]),
        )
    return table


def _failures_table(failures: Sequence[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("failure mode", "calls", "mostly handled by", "in"):
        table.add_column(name, justify="right" if name == "calls" else "left")
    for row in failures:
        features = ", ".join(sorted(feature or "-" for feature in row["features"]))
        table.add_row(
            Text(row["failure_mode"], style="red"), str(row["calls"]), Text(row["mostly_handled_by"]), Text(features)
        )
    return table
