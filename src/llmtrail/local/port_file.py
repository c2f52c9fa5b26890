"""Tell other commands where the running process answers: a small file in the data folder."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from llmtrail import private_files

NAME = "llmtrail.port.json"


@dataclass(frozen=True, slots=True)
class Running:
    """Where a running llmtrail answers."""

    pid: int
    http: str
    sql: str
    grpc_port: int | None = None


def write(folder: Path, running: Running) -> None:
    """Write the port file in one step, so that no reader ever sees half of it."""
    private_files.write_file(folder / NAME, json.dumps(asdict(running)))


def read(folder: Path) -> Running | None:
    """Return where the process of this folder answers, or None when none is running."""
    try:
        told = json.loads((folder / NAME).read_text())
        grpc_port = told.get("grpc_port")
        running = Running(
            int(told["pid"]), str(told["http"]), str(told["sql"]), None if grpc_port is None else int(grpc_port)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return running if _alive(running.pid) else None


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
