"""`llmtrail up`: run everything in one process until told to stop. Composes nothing itself: `llmtrail.local` does."""

import os
import signal
import threading
from typing import Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, example, settings
from llmtrail.cli.terminal import print_text

EXAMPLE = example("llmtrail up", "llmtrail up --data /var/lib/llmtrail --port 4318")


def command(
    data: DataOption = None,
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Gateway. Default: 4318; 0: any.", show_default=False)] = None,
    sql_port: Annotated[int | None, typer.Option(help="SQL. Default: 8123; 0: any.", show_default=False)] = None,
) -> None:
    """Start the gateway, the log, the writer, the store and SQL in one process."""
    loaded = settings(config, data, host=host, port=port, sql_port=sql_port)
    from llmtrail.cli.tuning import leave_pandas_out, tune

    leave_pandas_out()
    from llmtrail.local.data_folder import DataFolderError, temporary_files_in
    from llmtrail.local.embedded import Embedded, StartError

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with (
            temporary_files_in(loaded.config.server.data),
            Embedded(loaded.config, environ=os.environ) as house,
        ):
            tune()
            print_text(f"llmtrail is up: calls and OTLP at {house.http_url}, SQL at {house.sql_url}")
            print_text(f"data in {loaded.config.server.data.resolve()}; stop with Ctrl-C")
            stop.wait()
            print_text("stopping: storing what was acknowledged …")
    except (StartError, DataFolderError) as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
