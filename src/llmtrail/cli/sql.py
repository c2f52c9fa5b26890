"""`llmtrail sql`: read-only SQL over what is stored. Asks the running process, else opens the folder itself."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from llmtrail.cli.client import find_house, stream_sql
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings

EXAMPLE = example(
    'llmtrail sql "SELECT feature, count() FROM calls GROUP BY feature"',
    'llmtrail sql --format CSVWithNames "SELECT * FROM calls LIMIT 10" > calls.csv',
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
) -> None:
    """Run one read-only statement and print its result."""
    folder = settings(config, data).config.server.data
    text = sys.stdin.read() if statement == "-" else statement
    for piece in run(folder, text, _format(output_format, as_json=as_json), token):
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()


def run(folder: Path, statement: str, output_format: str, token: str) -> Iterator[bytes]:
    """Yield the statement's result from the running process, or from the folder where none runs."""
    house = find_house(folder, token)
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
