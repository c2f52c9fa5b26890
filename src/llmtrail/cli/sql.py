"""`llmtrail sql`: read-only SQL over what is stored. Asks a house, else opens the folder itself."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from llmtrail.cli.client import SqlResult, ask_sql
from llmtrail.cli.csv_cells import is_csv, without_formulas
from llmtrail.cli.door import AddressOption, CaOption, Door, SqlAddressOption, house_at
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.terminal import print_bytes

EXAMPLE = example(
    'llmtrail sql "SELECT feature, count() FROM calls GROUP BY feature"',
    'llmtrail sql --format CSVWithNames "SELECT * FROM calls LIMIT 10" > calls.csv',
    'llmtrail sql --address http://10.0.0.7:4318 "SELECT count() FROM calls"',
)
_FOR_PEOPLE = "PrettyCompact"
_FOR_PROGRAMS = "TabSeparatedWithNames"


def command(
    statement: Annotated[str, typer.Argument(help="One statement; `-` reads it from standard input.")],
    output_format: Annotated[
        str, typer.Option("--format", help="As ClickHouse names them. Default: a table, or tabs when piped.")
    ] = "",
    as_json: JsonOption = False,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="CSV for programs: cells that would be formulas stay as they are."),
    ] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
    ca: CaOption = None,
) -> None:
    """Run one read-only statement and print its result.

    A terminal shows what others wrote and obeys none of it. In CSV, which people open in spreadsheets, a text that
    would be a formula there has a single quote before it; every other format into a pipe is byte for byte as stored.
    """
    loaded = settings(config, data, {"client.ca": ca}).config
    door = Door(token, address, sql_address, loaded.client)
    text = sys.stdin.read() if statement == "-" else statement
    result = ask(loaded.server.data, text, _format(output_format, as_json=as_json), door)
    guarded = is_csv(result.output_format) and not exact
    print_bytes(without_formulas(result.pieces) if guarded else result.pieces)


def run(folder: Path, statement: str, output_format: str, door: Door) -> Iterator[bytes]:
    """Yield the statement's result, for programs, from the house that is asked, or from the folder where none runs."""
    yield from ask(folder, statement, output_format, door).pieces


def ask(folder: Path, statement: str, output_format: str, door: Door) -> SqlResult:
    """Return the statement's result from the house that is asked, or from the folder where none runs."""
    house = house_at(folder, door)
    if house is not None:
        return ask_sql(house, statement, output_format)
    return SqlResult(output_format, _of_folder(folder, statement, output_format))


def _of_folder(folder: Path, statement: str, output_format: str) -> Iterator[bytes]:
    from llmtrail.cli.folder import opened, sql_result

    with opened(folder) as store:
        yield sql_result(store, statement, output_format)


def _format(asked: str, *, as_json: bool) -> str:
    if asked:
        return asked
    if as_json:
        return "JSON"
    return _FOR_PEOPLE if sys.stdout.isatty() else _FOR_PROGRAMS
