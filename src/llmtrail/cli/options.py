"""Options that several commands share, and the settings they lead to. Knows no command."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.terminal import print_text
from llmtrail.config import ConfigError
from llmtrail.config_load import Loaded, load_config

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data folder. Default: llmtrail-data.", show_default=False)
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Settings. Default: ./llmtrail.toml if it exists.", show_default=False)
]
TokenOption = Annotated[
    str, typer.Option("--token", envvar="LLMTRAIL_TOKEN", help="Token that may read, where tokens are set.")
]
KafkaOption = Annotated[
    str | None, typer.Option("--kafka", help="Kafka's addresses, host:port. Default: [kafka] bootstrap_servers.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def settings(
    config: Path | None, data: Path | None = None, overrides: Mapping[str, object] | None = None, **server: object
) -> Loaded:
    """Return the settings in force; `server` are [server] settings of the command line, `overrides` dotted others.

    Raises CommandError.
    """
    said = {"server.data": data, **{f"server.{name}": value for name, value in server.items()}, **(overrides or {})}
    try:
        loaded = load_config(config, os.environ, said, here=Path.cwd())
    except ConfigError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    for warning in loaded.warnings:
        print_text(f"warning: {warning}", to=sys.stderr)
    return loaded


def example(*lines: str) -> str:
    """Return the epilog of a command's help: its examples, one a line."""
    return "[bold]Example:[/bold]\n\n" + "\n\n".join(f"[cyan]$ {line}[/cyan]" for line in lines)
