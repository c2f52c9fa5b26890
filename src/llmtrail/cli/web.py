"""`llmtrail web`: look-up and SQL as a process of their own, over ClickHouse or a data folder."""

from typing import Annotated

import typer

from llmtrail.cli.options import ConfigOption, DataOption, example, settings
from llmtrail.cli.serving import serving

EXAMPLE = example(
    "LLMTRAIL_STORE__URL=http://127.0.0.1:8123 llmtrail web --sql-port 8124",
    "llmtrail web --data /var/lib/llmtrail --writable --config admin.toml",
)


def command(
    config: ConfigOption = None,
    data: DataOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Look-up. Default: 4318; 0: any.", show_default=False)] = None,
    sql_port: Annotated[int | None, typer.Option(help="SQL. Default: 8123; 0: any.", show_default=False)] = None,
    writable: Annotated[
        bool, typer.Option("--writable", help="Take inserts and DDL from bearers of an admin token, as a server does.")
    ] = False,
) -> None:
    """Answer look-ups and read-only SQL; with --writable, be the ClickHouse of other processes."""
    loaded = settings(config, data, host=host, port=port, sql_port=sql_port).config
    with serving(loaded, "web") as process:
        from llmtrail.roles.web import start

        start(loaded, process, writable=writable)
