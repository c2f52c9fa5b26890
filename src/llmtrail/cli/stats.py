"""`llmtrail stats`: rolling figures by scope. Asks the running process, else reads the folder itself."""

import json
import sqlite3
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from llmtrail.cli.client import find_house, get_json
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.config import Config

EXAMPLE = example(
    "llmtrail stats --by feature",
    "llmtrail stats --window 5m --by feature,model --order errors",
    "llmtrail stats --window 1d --by user --limit 10 --json | jq .scopes",
    "llmtrail stats --scope feature=search --watch",
)
# Slots are published twice a second; a person reads no faster.
WATCH_EVERY_S = 2.0
_NS_PER_S = 1_000_000_000


def command(
    window: Annotated[str, typer.Option(help="1m, 5m, 1h, 1d, today or month.")] = "1h",
    by: Annotated[
        str,
        typer.Option(
            help="What to tell of: tenant; feature; user; model; version; feature,model; feature,user; "
            "request, session or prompt (the heaviest). Default: tenant, or what --scope names.",
            show_default=False,
        ),
    ] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="Only these, as name=value: feature=search. Repeatable.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.", show_default=False)] = None,
    order: Annotated[
        str, typer.Option(help="cost, calls, errors, attempts, retries or tokens, the most first.")
    ] = "cost",
    limit: Annotated[int, typer.Option(help="How many at most.")] = 20,
    zone: Annotated[str, typer.Option(help="Time zone of today and month.")] = "UTC",
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
) -> None:
    """Print what a window comes to: calls, money, latency percentiles, retries, failure modes."""
    loaded = settings(config, data).config
    asked = {
        "window": window,
        "kind": _kind(by),
        "tenant": tenant,
        "order": order,
        "limit": str(limit),
        "zone": zone,
        **_named(scope or []),
    }
    parameters = {name: value for name, value in asked.items() if value is not None and value != ""}
    if tenant == "":
        parameters["tenant"] = ""
    if not watch:
        _print(ask(loaded, parameters, token), as_json=as_json)
        return
    try:
        _watch(loaded, parameters, token, as_json=as_json)
    except KeyboardInterrupt:
        return


def ask(config: Config, parameters: Mapping[str, str], token: str) -> dict[str, Any]:
    """Return the document of a question from the running process, or from the folder where none runs.

    Raises CommandError.
    """
    from llmtrail.core.board_document import BadQuestionError, question_of

    try:
        question_of(parameters)
    except BadQuestionError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    house = find_house(config.server.data, token)
    if house is None:
        return _from_folder(config, parameters)
    found = get_json(house, f"/v1/stats?{urllib.parse.urlencode(parameters)}")
    if not isinstance(found, dict):
        raise CommandError(Exit.UNREACHABLE, f"{house.http} keeps no statistics; ask `llmtrail up` or `llmtrail web`.")
    return found


def _from_folder(config: Config, parameters: Mapping[str, str]) -> dict[str, Any]:
    from llmtrail.core.board import Board, NotKeptError
    from llmtrail.core.board_document import document, question_of
    from llmtrail.core.calendar import UnknownZoneError
    from llmtrail.local.slot_file import FILE_NAME, read_slots

    file: Path = config.server.data / FILE_NAME
    if not file.is_file():
        raise CommandError(
            Exit.UNREACHABLE, f"no llmtrail runs on {config.server.data}, and no statistics are kept there: llmtrail up"
        )
    board = Board(config.stats.zones)
    try:
        board.put(dict(read_slots(file)))
        return document(board, question_of(parameters), time.time_ns())
    except (NotKeptError, UnknownZoneError) as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    except (sqlite3.Error, ValueError) as error:
        raise CommandError(Exit.UNREACHABLE, f"{file} cannot be read: {error}") from error


def _print(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return
    from llmtrail.cli.stats_view import print_stats

    print_stats(document)


def _watch(config: Config, parameters: Mapping[str, str], token: str, *, as_json: bool) -> None:
    if as_json:
        while True:
            print(json.dumps(ask(config, parameters, token), ensure_ascii=False), flush=True)
            time.sleep(WATCH_EVERY_S)
    from rich.live import Live

    from llmtrail.cli.stats_view import screen, shown

    console = screen()
    with Live(shown(ask(config, parameters, token), console.width), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_EVERY_S)
            live.update(shown(ask(config, parameters, token), console.width), refresh=True)


def _kind(by: str) -> str:
    """Return the kind that --by names: `model,feature` is feature_model."""
    from llmtrail.core.scope import CALL_KINDS

    words = {word.strip() for word in by.split(",") if word.strip()}
    return next((kind for kind in CALL_KINDS if set(kind.split("_")) == words), by)


def _named(scopes: list[str]) -> dict[str, str]:
    named = dict(scope.partition("=")[::2] for scope in scopes)
    if any("=" not in scope for scope in scopes) or len(named) < len(scopes):
        raise CommandError(Exit.WRONG_USE, "--scope takes name=value, each name once: --scope feature=search")
    return named
