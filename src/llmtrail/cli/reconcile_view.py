"""What `reconcile` prints: a table of days and models that differ, what explains them, and sums. Decides nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from llmtrail.cli.safe_text import safe_line

if TYPE_CHECKING:
    from llmtrail_ingest.bill.compare import Bill, Compared, Tolerance

# Below this many columns the counts of requests are left out.
_WIDE = 100
_NAME = 120


def print_report(bill: "Bill", rows: Sequence["Compared"], tolerance: "Tolerance", *, every: bool) -> None:
    """Print the comparison for people."""
    console = Console(highlight=False, soft_wrap=False)
    shown = [row for row in rows if every or not row.within]
    if shown:
        console.print(_table(shown, is_wide=console.width >= _WIDE))
        console.print()
    for row in shown:
        for one in row.why:
            head = f"{row.day} {safe_line(row.model, _NAME)}: "
            console.print(Text(head, style="bold").append(safe_line(one.text, 400), style="not bold"))
    for (day, item), amount in sorted(bill.fees.items()):
        if every:
            console.print(Text(f"{day} fee, {safe_line(item, _NAME)}: {_money(amount)}"))
    console.print(Text(_sums(bill, rows, tolerance)))


def _sums(bill: "Bill", rows: Sequence["Compared"], tolerance: "Tolerance") -> str:
    agree = f"{sum(row.within for row in rows):,} of {len(rows):,} days and models agree"
    fees = sum(bill.fees.values())
    amounts = [one.amount_nanousd for one in bill.by_model.values() if one.amount_nanousd is not None]
    if not amounts and not bill.fees:
        return f"{agree} in requests and tokens; the export has no amounts."
    billed = _money(sum(amounts) + fees) + (f", {_money(fees)} of it fees" if fees else "")
    ours = _money(sum(row.ours.cost_nanousd for row in rows))
    return f"{agree} within {tolerance.share * 100:.4g} % or {_money(tolerance.nanousd)}. Billed {billed}; here {ours}."


def _table(rows: Sequence["Compared"], *, is_wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("day", no_wrap=True)
    table.add_column("model", overflow="fold", ratio=1)
    for name in ("billed", "here", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("requests", justify="right", no_wrap=True)
        table.add_column("calls here", justify="right", no_wrap=True)
    for row in rows:
        amount, difference = row.billed.amount_nanousd, row.difference_nanousd
        cells: list[str | Text] = [
            row.day,
            Text(safe_line(row.model, _NAME)),
            "-" if amount is None else _money(amount),
            _money(row.ours.cost_nanousd),
            "-" if difference is None else Text(_signed(difference), style="" if row.within else "red"),
        ]
        if is_wide:
            cells += ["-" if row.billed.requests is None else f"{row.billed.requests:,}", f"{row.ours.calls:,}"]
        table.add_row(*cells)
    return table


def _money(nanousd: int) -> str:
    sign = "-" if nanousd < 0 else ""
    return f"{sign}${abs(nanousd) / 1e9:,.2f}"


def _signed(nanousd: int) -> str:
    return ("+" if nanousd > 0 else "") + _money(nanousd)
