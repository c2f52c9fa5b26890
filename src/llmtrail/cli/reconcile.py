"""`llmtrail reconcile`: a provider's own bill beside our calls. Reads files and SQL, compares nothing."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmtrail.cli import sql
from llmtrail.cli.costs import book_of
from llmtrail.cli.door import AddressOption, CaOption, Door, SqlAddressOption
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.terminal import print_json, print_progress

if TYPE_CHECKING:
    from llmtrail.core.model_identity import ModelTable
    from llmtrail_ingest.bill.compare import Bill, Compared, Key, Ours, Tolerance
    from llmtrail_ingest.bill.lines import BillLine

EXAMPLE = example(
    "llmtrail reconcile costs.json usage.json --tolerance 1%",
    "llmtrail reconcile bill.csv --provider openai --from 2026-11-01 --to 2026-11-30 --json",
)
# A person is shown that a long file is being read this often.
_SHOWN_LINES = 20_000
_SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")
_DOLLARS = re.compile(r"\$?(\d{1,9}(?:\.\d{1,9})?)")
_DAYS_MAX = 400

FilesArgument = Annotated[
    list[Path],
    typer.Argument(help="Exports of costs, usage or both: JSON of the API, CSV of the console, or day,model,amount."),
]
ToleranceOption = Annotated[
    list[str],
    typer.Option("--tolerance", help="How far apart counts as equal: 1%, $0.50, or both (the larger holds)."),
]
FromOption = Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day, UTC.")]
ToOption = Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day, UTC.")]


def command(
    files: FilesArgument,
    provider: Annotated[str, typer.Option("--provider", help="Whose bill a plain CSV is, such as openai.")] = "",
    tolerance: ToleranceOption = ["1%", "$0.01"],  # noqa: B006 - typer copies it.
    first: FromOption = None,
    last: ToOption = None,
    every: Annotated[bool, typer.Option("--all", help="Print days and models that agree as well.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
    ca: CaOption = None,
) -> None:
    """Compare a provider's bill with the calls here, and say what explains a difference and what to mend.

    Exit code 1 where a day and model differ by more than the tolerance.
    """
    from llmtrail_ingest.bill.compare import compare

    loaded = settings(config, data, {"client.ca": ca}).config
    within = _tolerance(tolerance)
    models = book_of(loaded).models
    span = (first.date() if first else None, last.date() if last else None)
    bill, providers = _read(files, provider, span, models, quiet=as_json)
    if not bill.days():
        raise CommandError(Exit.NEGATIVE, "the export has no line on these days.")
    days = (date.fromisoformat(min(bill.days())), date.fromisoformat(max(bill.days())))
    if days[1] - days[0] > timedelta(days=_DAYS_MAX):
        raise CommandError(Exit.WRONG_USE, f"the export is of over {_DAYS_MAX} days; say which with --from and --to.")
    door = Door(token, address, sql_address, loaded.client)
    ours = _ours(loaded.server.data, door, days, providers, models)
    rows = compare(bill, ours, within)
    if as_json:
        print_json(_document(bill, rows, days))
    else:
        from llmtrail.cli.reconcile_view import print_report

        print_report(bill, rows, within, every=every)
    if not all(row.within for row in rows):
        raise SystemExit(int(Exit.NEGATIVE))


def _tolerance(texts: Sequence[str]) -> "Tolerance":
    from llmtrail_ingest.bill.compare import Tolerance

    share, nanousd = 0.0, 0
    for text in texts:
        if found := _SHARE.fullmatch(text.strip()):
            share = float(found[1]) / 100
        elif found := _DOLLARS.fullmatch(text.strip()):
            nanousd = round(float(found[1]) * 1e9)
        else:
            raise CommandError(Exit.WRONG_USE, f"--tolerance {text!r} is none; write 1% or $0.50.")
    return Tolerance(share, nanousd)


def _read(
    files: Sequence[Path],
    provider: str,
    span: tuple[date | None, date | None],
    models: "ModelTable",
    *,
    quiet: bool,
) -> tuple["Bill", set[str]]:
    """Return the bill of the files, and whose it is. Raises CommandError."""
    from llmtrail.core.provider_names import provider_id
    from llmtrail_ingest.bill.compare import bill_of
    from llmtrail_ingest.bill.lines import BillError

    providers: set[str] = set()

    def name_of(line: "BillLine") -> str:
        return models.resolve(line.provider or None, _plain(line.model), None).model or line.model

    def meant() -> "Iterator[BillLine]":
        for path in files:
            for line in _lines_of(path, provider, quiet=quiet):
                day = date.fromisoformat(line.day)
                if (span[0] is None or day >= span[0]) and (span[1] is None or day <= span[1]):
                    providers.add(provider_id(line.provider) or line.provider)
                    yield line

    try:
        return bill_of(meant(), name_of), providers - {""}
    except BillError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error


def _lines_of(path: Path, provider: str, *, quiet: bool) -> "Iterator[BillLine]":
    from llmtrail_ingest.bill.files import bill_lines
    from llmtrail_ingest.bill.lines import BillError

    try:
        with ExitStack() as held:
            file = held.enter_context(path.open(encoding="utf-8-sig", newline=""))
            show = held.enter_context(_Shown(path, quiet=quiet))
            for number, line in enumerate(bill_lines(file, provider), 1):
                if number % _SHOWN_LINES == 0:
                    show(number)
                yield line
    except BillError as error:
        raise BillError(f"{path}: {error}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(Exit.UNREACHABLE, f"{path}: cannot be read ({error}).") from error


class _Shown:
    """Show on stderr how far a long file is read, where a person watches."""

    def __init__(self, path: Path, *, quiet: bool) -> None:
        self._path = path
        self._quiet = quiet or not sys.stderr.isatty()

    def __enter__(self) -> Callable[[int], None]:
        return self._show

    def __exit__(self, *_: object) -> None:
        if not self._quiet:
            print_progress("")

    def _show(self, lines: int) -> None:
        if not self._quiet:
            print_progress(f"{self._path.name}: {lines:,} lines read")


def _plain(model: str) -> str:
    """Return a model's name as programs write it: consoles print "Claude Haiku 4.5"."""
    return model.strip().lower().replace(" ", "-").replace(".", "-") if " " in model.strip() else model.strip()


def _ours(
    folder: Path, door: Door, days: tuple[date, date], providers: set[str], models: "ModelTable"
) -> dict["Key", "Ours"]:
    """Return what our calls of these providers come to; every provider's where the bill names none."""
    from llmtrail.core.provider_names import provider_id
    from llmtrail_ingest.bill.compare import Ours

    found: dict[Key, Ours] = {}
    lines = b"".join(sql.run(folder, _statement(days), "JSONEachRow", door)).splitlines()
    for row in (json.loads(line) for line in lines if line):
        identity = models.resolve(row["provider"], row["name"], None)
        seller = provider_id(row["provider"]) or identity.provider or ""
        if not providers or seller in providers:
            calls = Ours(
                **{name: int(row[f"sum_{name}"]) for name in _SUMS},
                price_ids=tuple(row["price_ids"]),
                unpriced_reasons=tuple(row["unpriced_reasons"]),
                emitters=tuple(name for name in row["emitters"] if name),
            )
            found.setdefault((row["day"], identity.model or row["name"]), Ours()).add(calls)
    return found


_SUMS = (
    "calls", "cost_nanousd", "input_tokens", "output_tokens", "unpriced", "estimated", "estimated_nanousd",
    "not_billed", "fee_requests",
)  # fmt: skip


def _statement(days: tuple[date, date]) -> str:
    """Days are those on which calls began: providers count a request when they take it."""
    return f"""
SELECT toString(toDate(started_at)) AS day, provider,
  if(model = '', coalesce(response_model, request_model, ''), model) AS name,
  toString(count()) AS sum_calls,
  toString(sum(toInt128(ifNull(cost_nanousd, 0)))) AS sum_cost_nanousd,
  toString(sum(toInt128(coalesce(input_tokens, estimated_input_tokens, 0)))) AS sum_input_tokens,
  toString(sum(toInt128(coalesce(output_tokens, estimated_output_tokens, 0)))) AS sum_output_tokens,
  toString(countIf(cost_nanousd IS NULL)) AS sum_unpriced,
  toString(countIf(cost_source = 'estimated')) AS sum_estimated,
  toString(sumIf(toInt128(ifNull(cost_nanousd, 0)), cost_source = 'estimated')) AS sum_estimated_nanousd,
  toString(countIf(cost_source = 'not_billed')) AS sum_not_billed,
  toString(countIf(ifNull(web_search_requests, 0) + ifNull(file_search_requests, 0)
    + ifNull(code_interpreter_sessions, 0) > 0)) AS sum_fee_requests,
  groupUniqArrayIf(8)(ifNull(price_id, ''), price_id IS NOT NULL) AS price_ids,
  groupUniqArrayIf(8)(ifNull(unpriced_reason, ''), cost_nanousd IS NULL) AS unpriced_reasons,
  groupUniqArray(8)(coalesce(service, feature, host, '')) AS emitters
FROM llmtrail.calls
WHERE ingest_day >= toDate('{days[0]}') AND started_at >= toDateTime('{days[0]} 00:00:00', 'UTC')
  AND started_at < toDateTime('{days[1] + timedelta(days=1)} 00:00:00', 'UTC')
GROUP BY day, provider, name"""  # noqa: S608 - dates of our own.


def _document(bill: "Bill", rows: Sequence["Compared"], days: tuple[date, date]) -> dict[str, Any]:
    return {
        "from": days[0].isoformat(),
        "to": days[1].isoformat(),
        "lines": bill.lines,
        "within": all(row.within for row in rows),
        "rows": [_row(row) for row in rows],
        "fees": [{"day": day, "item": item, "amount_nanousd": amount} for (day, item), amount in bill.fees.items()],
    }


def _row(row: "Compared") -> dict[str, Any]:
    return {
        "day": row.day,
        "model": row.model,
        "billed": asdict(row.billed),
        "ours": asdict(row.ours),
        "difference_nanousd": row.difference_nanousd,
        "within": row.within,
        "why": [{"cause": one.cause.value, "text": one.text} for one in row.why],
    }
