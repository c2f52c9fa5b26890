"""`llmtrail stats`: rolling figures by scope, or of GPUs. Asks a house, else reads the folder itself."""

import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmtrail.cli.client import House, get_json
from llmtrail.cli.door import AddressOption, CaOption, Door, house_at
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.terminal import print_json
from llmtrail.config import Config

EXAMPLE = example(
    "llmtrail stats --by feature",
    "llmtrail stats --window 5m --by feature,model --order errors",
    "llmtrail stats --window 1d --by user --limit 10 --json | jq .scopes",
    "llmtrail stats --scope feature=search --watch",
    "llmtrail stats --gpu --window 5m --host node-a",
)
# Slots are published twice a second; a person reads no faster.
WATCH_EVERY_S = 2.0
_NS_PER_S = 1_000_000_000

if TYPE_CHECKING:
    from rich.console import RenderableType

Document = Mapping[str, Any]
Shown = Callable[[Document, int], "RenderableType"]


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
    gpu: Annotated[bool, typer.Option("--gpu", help="Tell of GPUs and model servers instead of calls.")] = False,
    host: Annotated[str, typer.Option(help="With --gpu: only this node.", show_default=False)] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    ca: CaOption = None,
) -> None:
    """Print what a window comes to: calls, money, latency percentiles, retries, failure modes; or what GPUs did."""
    loaded = settings(config, data, {"client.ca": ca}).config
    door = Door(token, address, tls=loaded.client)
    if gpu:
        if by or scope or tenant is not None:
            raise CommandError(Exit.WRONG_USE, "--gpu tells of nodes, which belong to no scope: --window, --host.")
        _show(lambda: ask_gpus(loaded, window, host, door), _gpus_shown, watch=watch, as_json=as_json)
        return
    if host:
        raise CommandError(Exit.WRONG_USE, "--host is of GPUs: add --gpu. Calls have --scope and --tenant.")
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
    _show(lambda: ask(loaded, parameters, door), _calls_shown, watch=watch, as_json=as_json)


def ask(config: Config, parameters: Mapping[str, str], door: Door) -> dict[str, Any]:
    """Return the document of a question from the house that is asked, or from the folder where none runs.

    Raises CommandError.
    """
    from llmtrail.core.board_document import BadQuestionError, question_of

    try:
        question_of(parameters)
    except BadQuestionError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    house = house_at(config.server.data, door)
    return _from_folder(config, parameters) if house is None else _asked(house, "/v1/stats", parameters)


def ask_gpus(config: Config, window: str, host: str, door: Door) -> dict[str, Any]:
    """Return the document of what GPUs did from the running process. Raises CommandError."""
    from llmtrail.core.board_document import BadQuestionError
    from llmtrail.core.gpu_document import gpu_question_of

    parameters = {"window": window, **({"host": host} if host else {})}
    try:
        gpu_question_of(parameters)
    except BadQuestionError as error:
        raise CommandError(Exit.WRONG_USE, str(error)) from error
    house = house_at(config.server.data, door)
    if house is None:
        # Samples of before it ended say nothing of now.
        raise CommandError(Exit.UNREACHABLE, f"no llmtrail runs on {config.server.data}: llmtrail up, or llmtrail web")
    return _asked(house, "/v1/gpu", parameters)


def _asked(house: House, path: str, parameters: Mapping[str, str]) -> dict[str, Any]:
    found = get_json(house, f"{path}?{urllib.parse.urlencode(parameters)}")
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


def _show(read: Callable[[], Document], shown: Shown, *, watch: bool, as_json: bool) -> None:
    if watch:
        try:
            _watch(read, shown, as_json=as_json)
        except KeyboardInterrupt:
            return
    if as_json:
        print_json(read(), indent=2)
        return
    from llmtrail.cli.stats_view import screen

    console = screen()
    console.print(shown(read(), console.width))


def _calls_shown(document: Document, width: int) -> "RenderableType":
    from llmtrail.cli.stats_view import shown

    return shown(document, width)


def _gpus_shown(document: Document, width: int) -> "RenderableType":
    from llmtrail.cli.gpu_view import shown

    return shown(document, width)


def _watch(read: Callable[[], Document], shown: Shown, *, as_json: bool) -> None:
    if as_json:
        while True:
            print_json(read())
            time.sleep(WATCH_EVERY_S)
    from rich.live import Live

    from llmtrail.cli.stats_view import screen

    console = screen()
    with Live(shown(read(), console.width), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_EVERY_S)
            live.update(shown(read(), console.width), refresh=True)


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
