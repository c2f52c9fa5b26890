"""Tell other commands where the running process answers: a small file in the data folder."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from llmtrail import private_files
from llmtrail.core import json_decode

NAME = "llmtrail.port.json"


@dataclass(frozen=True, slots=True)
class Running:
    """Where a running llmtrail answers."""

    pid: Annotated[int, msgspec.Meta(gt=0, lt=2**31)]
    http: str
    sql: str
    grpc_port: int | None = None
    # Where the certificate stands that it answers with: commands on this machine take exactly that one.
    certificate: str = ""


def running(urls: Sequence[str], grpc_port: int | None, certificate: Path | None) -> Running:
    """Return where this process answers, HTTP and SQL, and with which certificate."""
    sql = urls[1] if len(urls) > 1 else ""
    return Running(os.getpid(), urls[0], sql, grpc_port, str(certificate.resolve()) if certificate is not None else "")


def write(folder: Path, running: Running) -> None:
    """Write the port file in one step, so that no reader ever sees half of it."""
    private_files.write_file(folder / NAME, msgspec.json.encode(running).decode())


def read(folder: Path) -> Running | None:
    """Return where the process of this folder answers, or None when none is running.

    Commands send their token there, so what another user wrote says nothing.
    """
    try:
        known = json_decode.decode(private_files.read_file(folder / NAME), type=Running)
    except (OSError, msgspec.DecodeError):
        return None
    return known if _alive(known.pid) else None


def remove(folder: Path, pid: int) -> None:
    """Remove the port file if it is this process's own."""
    running = read(folder)
    if running is not None and running.pid == pid:
        (folder / NAME).unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
