"""`llmtrail ingest`: the gateway and the writers as a process of their own, over Kafka and ClickHouse."""

from typing import Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, KafkaOption, example, settings
from llmtrail.cli.serving import serving

EXAMPLE = example(
    "LLMTRAIL_KAFKA=127.0.0.1:9092 LLMTRAIL_STORE__URL=http://127.0.0.1:8123 llmtrail ingest",
    "llmtrail ingest --roles rows --config writers.toml",
    "LLMTRAIL_KAFKA=127.0.0.1:9092 llmtrail ingest --roles gateway,rows,statistics,web",
)


def command(
    config: ConfigOption = None,
    data: DataOption = None,
    roles: Annotated[
        str,
        typer.Option(
            help="Any of gateway (takes events), rows (fills ClickHouse), statistics (feeds aggregate), "
            "web (look-up and SQL; without a store.url over ClickHouse's engine in this process)."
        ),
    ] = "gateway,rows,statistics",
    kafka: KafkaOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Gateway. Default: 4318; 0: any.", show_default=False)] = None,
    sql_port: Annotated[int | None, typer.Option(help="SQL. Default: 8123; 0: any.", show_default=False)] = None,
) -> None:
    """Take events onto Kafka and carry them into ClickHouse; start as many as are needed."""
    said = {"kafka.bootstrap_servers": kafka}
    loaded = settings(config, data, said, host=host, port=port, sql_port=sql_port).config
    with serving(loaded, "ingest") as process:
        from llmtrail.roles.ingest import Part, start

        try:
            parts = frozenset(Part(name.strip()) for name in roles.split(","))
        except ValueError as error:
            raise CommandError(Exit.WRONG_USE, f"--roles: {error}; known here: {', '.join(Part)}.") from error
        start(loaded, parts, process)
