"""Where a command asks: the house at an address, the process that runs on the data folder, or nobody. Asks nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from llmtrail.cli.client import House, find_house
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.config import SYSTEM_TLS, ClientConfig

# Where `llmtrail up` and `llmtrail web` answer SQL unless they are told otherwise.
SQL_PORT = 8123

AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="LLMTRAIL_ENDPOINT",
        help="Ask the house at this address, http://HOST:4318, instead of the data folder.",
        show_default=False,
    ),
]
SqlAddressOption = Annotated[
    str,
    typer.Option(
        "--sql-address",
        envvar="LLMTRAIL_SQL_ENDPOINT",
        help=f"Where that house answers SQL. Default: port {SQL_PORT} of the same host.",
        show_default=False,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option(
        "--ca",
        envvar="LLMTRAIL_CA",
        help="Authorities in PEM that sign that house's certificate. Default: [client] ca, else the system's.",
        show_default=False,
    ),
]


@dataclass(frozen=True, slots=True)
class Door:
    """What the user said of whom to ask: an address, or nothing for the data folder; and a token."""

    token: str = ""
    address: str = ""
    sql_address: str = ""
    tls: ClientConfig = SYSTEM_TLS


def house_at(folder: Path, door: Door) -> House | None:
    """Return where to ask: at the address, else the process of the data folder, None when none is running there.

    Its `http` is empty where only the address of its SQL is known. Raises CommandError for an address that is none.
    """
    if not door.address and not door.sql_address:
        return find_house(folder, door.token, door.tls)
    http = _base(door.address, "--address") if door.address else ""
    sql = _base(door.sql_address, "--sql-address") if door.sql_address else _sql_beside(http)
    return House(http, sql, door.token, door.tls)


def _base(address: str, option: str) -> str:
    parts = urlsplit(address if "//" in address else f"//{address}", scheme="http")
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _has_port(address):
        raise CommandError(
            Exit.WRONG_USE, f"{option} {address!r} is no address; write http://llmtrail.example.com:4318"
        )
    if "@" in parts.netloc:
        raise CommandError(Exit.WRONG_USE, f"{option} holds a name or password; give a token with --token.")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def _has_port(address: str) -> bool:
    """Say whether the port is a number, or left out."""
    try:
        _ = urlsplit(address if "//" in address else f"//{address}").port
    except ValueError:
        return False
    return True


def _sql_beside(http: str) -> str:
    parts = urlsplit(http)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}:{SQL_PORT}"
