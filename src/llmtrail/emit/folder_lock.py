"""Says which spool folders belong to living processes. Knows nothing of what is in them."""

import os
import sys
from pathlib import Path
from typing import Final

LOCK_NAME: Final = "lock"
_MODE: Final = 0o600

if sys.platform == "win32":
    # No flock there: a folder's owner cannot be seen to be dead, so no folder is ever adopted.
    CAN_ADOPT: Final = False

    def _try_flock(_descriptor: int) -> bool:
        return True

else:
    import fcntl

    CAN_ADOPT: Final = True

    def _try_flock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def lock_new(folder: Path) -> int | None:
    """Make the lock of a folder just made and hold it; return its descriptor, or None where another was faster.

    Raises OSError when the disk refuses.
    """
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except (FileExistsError, FileNotFoundError):
        return None
    return _held_or_closed(descriptor)


def lock_orphan(folder: Path) -> int | None:
    """Take the lock of a folder whose owner is gone; return its descriptor, or None while the owner lives."""
    if not CAN_ADOPT:
        return None
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    return _held_or_closed(descriptor)


def _held_or_closed(descriptor: int) -> int | None:
    try:
        held = _try_flock(descriptor)
    except OSError:
        held = False  # A file system without flock: treat every folder as owned by a living process.
    if held:
        return descriptor
    os.close(descriptor)
    return None
