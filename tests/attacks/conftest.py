"""The table of attacks: every test here says which finding it tries and what the attacker does, and whether it held."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from attack_table import MARKER, attack_of, attack_rows

_HERE = Path(__file__).parent
_WIDTH = 130


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each attack's name travel with its report, from a worker too."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.user_properties.append((MARKER, attack_of(item)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    outcomes = ("passed", "failed", "error", "skipped")
    reports = (report for outcome in outcomes for report in terminalreporter.stats.get(outcome, []))
    rows = attack_rows(report for report in reports if isinstance(report, pytest.TestReport))
    if not rows:
        return
    table = Table("finding", "attack", "held")
    for row in rows:
        table.add_row(*row)
    console = Console(width=_WIDTH, no_color=True)
    with console.capture() as printed:
        console.print(table)
    terminalreporter.section("attacks")
    terminalreporter.write(printed.get())
