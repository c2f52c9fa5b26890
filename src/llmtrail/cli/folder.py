"""Open a data folder where no process runs, for commands that only read or that mend. Knows the store's door only."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmtrail.cli.client import find_house
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.config import Config, ServerConfig, store_tls, store_url

try:
    from llmtrail.store.errors import StoreError
    from llmtrail.store.handle import Handle, Limits, open_chdb, open_http
    from llmtrail.store.lookup import find_request, quick_reader
    from llmtrail_web.sql_box import runner_of
    from llmtrail_web.sql_run import Asked
    from llmtrail_web.sql_settings import RefusedSettingError, Settings
    from llmtrail_web.sql_viewer import Viewer
    from llmtrail_web.sql_wall import RefusedSqlError
except ImportError as error:
    raise CommandError(Exit.WRONG_USE, str(error)) from error


@contextmanager
def opened(folder: Path) -> Iterator[Handle]:
    """Open the store of a data folder; raise CommandError where there is none or another process has it."""
    store = ServerConfig(data=folder).store_folder
    if not store.is_dir():
        raise CommandError(Exit.UNREACHABLE, f"no llmtrail runs on {folder}, and nothing is stored there: llmtrail up")
    try:
        handle = open_chdb(store)
    except StoreError as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    try:
        yield handle
    except StoreError as error:
        raise CommandError(Exit.NEGATIVE, str(error)) from error
    finally:
        handle.close()


@contextmanager
def writable(config: Config) -> Iterator[Handle]:
    """Open the store of the settings to mend what it holds; raise CommandError where another process alone may."""
    url = store_url(config.store)
    if not url and find_house(config.server.data):
        raise CommandError(Exit.UNREACHABLE, "llmtrail runs on this folder and alone may write to it; stop it first.")
    try:
        handle = (
            open_http(url, replicated=bool(config.store.cluster), tls=store_tls(config))
            if url
            else open_chdb(config.server.store_folder)
        )
    except (StoreError, OSError) as error:
        raise CommandError(Exit.UNREACHABLE, str(error)) from error
    try:
        yield handle
    except StoreError as error:
        raise CommandError(Exit.NEGATIVE, str(error)) from error
    finally:
        handle.close()


def request_document(handle: Handle, id_value: str) -> dict[str, Any] | None:
    """Return the document of everything known by this id, or None."""
    return find_request(quick_reader(handle, Limits()), id_value)


def sql_result(handle: Handle, statement: str, output_format: str) -> bytes:
    """Return the result of one read-only statement in a ClickHouse format, judged and boxed as on the SQL port."""
    limits = Limits()
    runner = runner_of(handle, limits, 1)
    try:
        asked = Asked(statement, output_format, {}, Settings(limits), Viewer(None))
        with runner.run(asked).body as body:
            return body.read()
    except (RefusedSqlError, RefusedSettingError) as error:
        raise CommandError(Exit.NEGATIVE, str(error)) from error
    finally:
        runner.close()
