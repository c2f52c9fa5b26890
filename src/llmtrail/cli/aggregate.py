"""`llmtrail aggregate`: the rolling statistics as a process of their own, over Kafka."""

from typing import Annotated

import typer

from llmtrail.cli.options import ConfigOption, DataOption, KafkaOption, example, settings
from llmtrail.cli.serving import serving

EXAMPLE = example("LLMTRAIL_KAFKA=127.0.0.1:9092 llmtrail aggregate", "llmtrail aggregate --config aggregate.toml")


def command(
    config: ConfigOption = None,
    data: DataOption = None,
    kafka: KafkaOption = None,
    host: Annotated[str | None, typer.Option(help="Address to bind. Default: 127.0.0.1.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Health. Default: 4318; 0: any.", show_default=False)] = None,
) -> None:
    """Fold partial statistics into rolling windows; start as many as are needed."""
    loaded = settings(config, data, {"kafka.bootstrap_servers": kafka}, host=host, port=port).config
    with serving(loaded, "aggregate") as process:
        from llmtrail.roles.aggregate import start

        start(loaded, process)
