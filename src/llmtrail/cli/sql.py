"""`llmtrail sql`: read-only SQL over what is stored. Asks a house, else opens the folder itself."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from llmtrail.cli.client import stream_sql
from llmtrail.cli.door import AddressOption, Door, SqlAddressOption, house_at
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings

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
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    sql_address: SqlAddressOption = "",
) -> None:
    """Run one read-only statement and print its result."""
    folder = settings(config, data).config.server.data
    text = sys.stdin.read() if statement == "-" else statement
    for piece in run(folder, text, _format(output_format, as_json=as_json), Door(token, address, sql_address)):
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def run(folder: Path, statement: str, output_format: str, door: Door) -> Iterator[bytes]:
    """Yield the statement's result from the house that is asked, or from the folder where none runs."""
    house = house_at(folder, door)
    if house is not None:
        yield from stream_sql(house, statement, output_format)
        return
    from llmtrail.cli.folder import opened, sql_result

    with opened(folder) as store:
        yield sql_result(store, statement, output_format)


def _format(asked: str, *, as_json: bool) -> str:
    if asked:
        return asked
    if as_json:
        return "JSON"
    return _FOR_PEOPLE if sys.stdout.isatty() else _FOR_PROGRAMS
