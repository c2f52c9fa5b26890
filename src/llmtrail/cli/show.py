"""`llmtrail show`: everything known of one request. Asks the running process, else opens the folder itself."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from llmtrail.cli.client import find_house, get_request
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings

EXAMPLE = example("llmtrail show r-1042", "llmtrail show r-1042 --full", "llmtrail show r-1042 --json | jq .calls")


def command(
    request_id: Annotated[
        str, typer.Argument(help="Any id you hold: request, call, trace, provider, session, ticket.")
    ],
    as_json: JsonOption = False,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
) -> None:
    """Print the full record of a request: question, answer, attempts, versions, money, failures."""
    folder = settings(config, data).config.server.data
    document = look_up(folder, request_id, token)
    if document is None:
        raise CommandError(
            Exit.NEGATIVE,
            f"nothing is stored under {request_id!r}. A call can be found about a second after it was acknowledged; "
            "`llmtrail dead-letters list` tells what was turned away.",
        )
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
        return
    from llmtrail.cli.page import print_page

    print_page(document, full=full)


def look_up(folder: Path, id_value: str, token: str) -> dict[str, Any] | None:
    """Return the document of this id from the running process, or from the folder where none runs."""
    house = find_house(folder, token)
    if house is not None:
        return get_request(house, id_value)
    from llmtrail.cli.folder import opened, request_document

    with opened(folder) as store:
        return request_document(store, id_value)
