"""The data folder of a process: its user's alone, temporary files included. Knows names in it, not what they mean."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from llmtrail import private_files
from llmtrail.local import moved_file, port_file, slot_file

_LOG = logging.getLogger(__name__)

TEMPORARY = "tmp"
_PREFIX = "process-"
# How the names begin that llmtrail gives in a data folder; what SQLite puts beside a file begins as the file does.
_OURS = (
    "log",
    "store",
    "gpu-spool",
    "alerts.db",
    "demo-",
    "kafka-demo",
    "tokens.toml",
    TEMPORARY,
    slot_file.FILE_NAME,
    port_file.NAME,
    moved_file.FILE_NAME,
)


class DataFolderError(ValueError):
    """The data folder cannot be used; the text says what to do."""


def open_data_folder(folder: Path) -> None:
    """Make the folder for its user alone, or take from others what an older umask let them have, and report it.

    Raises DataFolderError where it cannot be made, or where others may put files into it.
    """
    try:
        private_files.make_folder(folder)
        entries = list(folder.iterdir())
        ours = [entry for entry in entries if _is_ours(entry)]
        _check_owner(folder, entries)
    except OSError as cause:
        raise _unusable(folder, cause) from cause
    # A folder with other things in it, a home for example, keeps its own mode: only what is ours is closed.
    restricted = private_files.restrict(ours if len(ours) < len(entries) else [folder])
    if restricted:
        _LOG.warning(
            "%s: %d files and folders were open to other users; now they are its user's alone", folder, restricted
        )


def _is_ours(entry: Path) -> bool:
    return entry.name.removeprefix(".").startswith(_OURS) and not private_files.is_foreign(entry)


def _check_owner(folder: Path, entries: Sequence[Path]) -> None:
    """Raise DataFolderError where another user could put a file of his in the place of ours.

    A folder that root made for us to write to, as a container's volume, is fine.
    """
    if private_files.is_foreign(folder.resolve()):
        raise DataFolderError(f"{folder} belongs to another user: choose a folder of your own, with --data DIR.")
    if private_files.is_shared(folder) and not all(private_files.is_own(entry) for entry in entries):
        raise DataFolderError(f"{folder} is shared by all users: choose a folder of your own, with --data DIR.")


def _unusable(folder: Path, cause: OSError) -> DataFolderError:
    return DataFolderError(
        f"cannot start in {folder}: {cause}. Check that its disk has room and that it may be written to."
    )


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Let this process's temporary files lie in its data folder: they hold what is stored, and a kill leaves some.

    Raises DataFolderError where the folder cannot be used.
    """
    open_data_folder(folder)
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(private_files.scratch_folder(folder / TEMPORARY, _PREFIX))
        except OSError as cause:
            raise _unusable(folder, cause) from cause
        before, tempfile.tempdir = tempfile.tempdir, str(scratch)
        try:
            yield
        finally:
            tempfile.tempdir = before
