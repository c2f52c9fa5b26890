"""`llmtrail migrate`: bring the store's tables to this version; changes nothing when they are."""

from typing import Annotated

import typer

from llmtrail.cli.client import find_house
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.cli.options import ConfigOption, DataOption, JsonOption, example, settings
from llmtrail.cli.terminal import print_json, print_text
from llmtrail.config import store_tls, store_url

EXAMPLE = example("llmtrail migrate", "LLMTRAIL_STORE__URL=http://clickhouse:8123 llmtrail migrate")


def command(
    as_json: JsonOption = False,
    data: DataOption = None,
    config: ConfigOption = None,
    cluster: Annotated[str | None, typer.Option(help="Replicate every table over this cluster.")] = None,
) -> None:
    """Apply the migrations that the store does not have yet. `llmtrail up` does so by itself."""
    loaded = settings(config, data, {"store.cluster": cluster}).config
    if find_house(loaded.server.data):
        raise CommandError(Exit.UNREACHABLE, "llmtrail runs on this folder and migrated it when it started.")
    from llmtrail.store.errors import StoreError
    from llmtrail.store.handle import open_chdb, open_http
    from llmtrail.store.migrate import migrate

    url = store_url(loaded.store)
    try:
        handle = open_http(url, tls=store_tls(loaded)) if url else open_chdb(loaded.server.store_folder)
        try:
            applied = list(migrate(handle, cluster=loaded.store.cluster))
        finally:
            handle.close()
    except StoreError as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    if as_json:
        print_json({"applied": applied})
    else:
        print_text("\n".join(f"applied {name}" for name in applied) or "nothing to do: the tables are of this version")
