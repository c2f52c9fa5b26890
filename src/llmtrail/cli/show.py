"""`llmtrail show`: everything known of one request. Asks a house, else opens the folder itself."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmtrail.cli.client import get_request
from llmtrail.cli.door import AddressOption, CaOption, Door, house_at
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, TokenOption, example, settings
from llmtrail.cli.terminal import print_json

EXAMPLE = example(
    "llmtrail show r-1042",
    "llmtrail show r-1042 --full",
    "llmtrail show r-1042 --json | jq .calls",
    "llmtrail show r-1042 --address https://llmtrail.example.com",
)


def command(
    request_id: Annotated[
        str, typer.Argument(help="Any id you hold: request, call, trace, provider, session, ticket.")
    ],
    as_json: JsonOption = False,
    full: Annotated[bool, typer.Option("--full", help="Show long texts whole.")] = False,
    data: DataOption = None,
    config: ConfigOption = None,
    token: TokenOption = "",
    address: AddressOption = "",
    ca: CaOption = None,
) -> None:
    """Print the full record of a request: question, answer, attempts, versions, money, failures."""
    loaded = settings(config, data, {"client.ca": ca}).config
    document = look_up(loaded.server.data, request_id, Door(token, address, tls=loaded.client))
    if document is None:
        raise CommandError(
            Exit.NEGATIVE,
            f"nothing is stored under {request_id!r}. A call can be found about a second after it was acknowledged; "
            "`llmtrail dead-letters list` tells what was turned away.",
        )
    if as_json:
        print_json(document, indent=2)
        return
    from llmtrail.cli.page import print_page

    print_page(document, full=full)


def look_up(folder: Path, id_value: str, door: Door) -> dict[str, Any] | None:
    """Return the document of this id from the house that is asked, or from the folder where none runs."""
    house = house_at(folder, door)
    if house is not None:
        return get_request(house, id_value)
    from llmtrail.cli.folder import opened, request_document

    with opened(folder) as store:
        return request_document(store, id_value)
