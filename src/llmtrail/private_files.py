"""Folders 0700 and files 0600, whatever the umask: what llmtrail stores is its user's alone."""

import errno
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
# What engines and libraries make by themselves follows the umask of the process.
UMASK: Final = 0o077
_OTHERS: Final = 0o077
_OTHERS_WRITE: Final = 0o022


def restrict_umask() -> None:
    """Let every file that this process makes be its user's alone. For processes of our own, never in an application."""
    os.umask(UMASK)


def make_folder(folder: Path) -> None:
    """Make the folder, for its user alone; one that is there already is left as it is."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)


def make_file(file: Path) -> None:
    """Make the file, for its user alone, where it is missing; what SQLite puts beside a file has the file's mode."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
    try:
        _restrict(descriptor)
    finally:
        os.close(descriptor)


def read_file(file: Path) -> bytes:
    """Read a file that we or root wrote; raises OSError, also for one that another user put there, or a link to it."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as open_file:
        owner = os.fstat(descriptor).st_uid
        if owner not in {0, os.geteuid()} and os.geteuid() != 0:
            raise PermissionError(errno.EPERM, "belongs to another user", str(file))
        return open_file.read()


def write_file(file: Path, text: str) -> None:
    """Put a file in place in one step, for its user alone; a reader never sees half of it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    # Not through a link that somebody else put there.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "w", encoding="utf-8") as open_file:
        open_file.write(text)
    draft.replace(file)


def is_foreign(path: Path) -> bool:
    """Whether another user than we and root owns it, who may do with it what he likes. To root nobody is foreign."""
    return path.lstat().st_uid not in {0, os.geteuid()} and os.geteuid() != 0


def is_own(path: Path) -> bool:
    """Whether we made it."""
    return path.lstat().st_uid == os.geteuid()


def is_shared(folder: Path) -> bool:
    """Whether every user may put files into the folder, each his own, as into /tmp."""
    mode = folder.stat().st_mode
    return bool(mode & stat.S_ISVTX and mode & _OTHERS_WRITE)


def restrict(paths: Iterable[Path]) -> int:
    """Take the rights of others from files and folders of ours, and all that is in them; the number that had some."""
    return sum(_restrict_tree(path) for path in paths)


def _restrict_tree(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0  # gone meanwhile: engines merge and drop files all the time
    if stat.S_ISLNK(found.st_mode):
        return 0
    # The folder first: nobody can then reach what is in it, nor swap it for a link.
    changed = _restrict_path(path, found)
    if stat.S_ISDIR(found.st_mode):
        with suppress(OSError), os.scandir(path) as entries:
            changed += sum(_restrict_tree(Path(entry.path)) for entry in entries if not entry.is_symlink())
    return changed


def _restrict_path(path: Path, found: os.stat_result) -> int:
    if not found.st_mode & _OTHERS or found.st_uid != os.geteuid():
        return 0
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return _restrict(descriptor)
    finally:
        os.close(descriptor)


def _restrict(descriptor: int) -> int:
    found = os.fstat(descriptor)
    if not found.st_mode & _OTHERS or found.st_uid != os.geteuid():
        return 0
    os.fchmod(descriptor, stat.S_IMODE(found.st_mode) & ~_OTHERS)
    return 1


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Give a folder for temporary files below `parent`; remove it in the end, and those that killed processes left."""
    make_folder(parent)
    _sweep(parent, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = _locked(folder)
    try:
        yield folder
    finally:
        if lock is not None:
            os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(parent: Path, prefix: str) -> None:
    for path in parent.glob(f"{prefix}*"):
        lock = _locked(path)
        if lock is None:
            continue
        try:
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A descriptor that locks a folder of ours, or None where it is a living process's or another user's."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise BlockingIOError(errno.EACCES, "another user's")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def file_owner(file: Path) -> str:
    """Return the name of a file's owner, or its number where it has no name here; "" where nobody can tell."""
    try:
        number = file.stat().st_uid
    except OSError:
        return ""
    try:
        return file.owner()
    except (KeyError, OSError, NotImplementedError):
        return f"uid {number}"
