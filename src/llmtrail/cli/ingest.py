"""`llmtrail ingest`: the gateway and the writers as a process of their own, over Kafka and ClickHouse."""

import signal
import threading
from typing import Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, KafkaOption, example, settings

EXAMPLE = example(
    "LLMTRAIL_KAFKA=127.0.0.1:9092 LLMTRAIL_STORE__URL=http://127.0.0.1:8123 llmtrail ingest",
    "llmtrail ingest --roles rows --config writers.toml",
)


def command(
    config: ConfigOption = None,
    data: DataOption = None,
    roles: Annotated[
        str, typer.Option(help="Any of gateway (takes events), rows (fills ClickHouse), statistics (feeds aggregate).")
    ] = "gateway,rows,statistics",
    kafka: KafkaOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Gateway. Default: 4318; 0: any.", show_default=False)] = None,
) -> None:
    """Take events onto Kafka and carry them into ClickHouse; start as many as are needed."""
    said = {"kafka.bootstrap_servers": kafka}
    loaded = settings(config, data, said, host=host, port=port).config
    from llmtrail.cli.tuning import leave_pandas_out, tune

    leave_pandas_out()
    from llmtrail.clock import SystemClock
    from llmtrail.config import ConfigError
    from llmtrail.local.servers import PortTakenError
    from llmtrail.roles.ingest import Part, start
    from llmtrail.roles.process import RoleError, RoleProcess

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        parts = frozenset(Part(name.strip()) for name in roles.split(","))
    except ValueError as error:
        raise CommandError(Exit.WRONG_USE, f"--roles: {error}; known here: {', '.join(Part)}.") from error
    try:
        with RoleProcess(loaded.server, SystemClock()) as process:
            start(loaded, parts, process)
            tune()
            print(f"llmtrail ingest is up: {process.http_url} ({', '.join(sorted(parts))})", flush=True)
            stop.wait()
            print("stopping: storing what is in flight …", flush=True)
    except (RoleError, ConfigError, PortTakenError, ValueError) as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
