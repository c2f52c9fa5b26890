"""What says in a data folder that it is being moved, or was: read before anything is started on it."""

import json
from pathlib import Path
from typing import Any

import msgspec

from llmtrail import private_files
from llmtrail.core import json_decode

FILE_NAME = "llmtrail.move.json"


class MovedError(ValueError):
    """The folder's data are on their way elsewhere, or there already; the text says where and what to do."""


def read(folder: Path) -> dict[str, Any]:
    """Return what is said of a move, {} where there is none; raises MovedError where it cannot be read."""
    try:
        found = json_decode.decode(private_files.read_file(folder / FILE_NAME))
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as cause:
        raise MovedError(f"{folder / FILE_NAME} cannot be read: {cause}.") from cause
    return found if isinstance(found, dict) else {}


def write(folder: Path, told: dict[str, Any]) -> None:
    """Say it, in one step."""
    private_files.write_file(folder / FILE_NAME, json.dumps(told, indent=2))


def check_at_home(folder: Path) -> None:
    """Raise MovedError where the folder is being moved, or was: what it took now would be nowhere else."""
    if told := read(folder):
        where, when = told.get("clickhouse", "another place"), told.get("finished_at")
        state = f"was moved to {where} at {when}" if when else f"is being moved to {where}: run `llmtrail move` again"
        raise MovedError(f"{folder} {state}. To use it here all the same, remove {folder / FILE_NAME}.")
