"""Read a file that holds a secret, or refuse it and say what to do. Never puts its text into a message."""

import os
import stat
from pathlib import Path

# The longest is a file of 1,000 tokens, of some 300 bytes each.
SECRET_BYTES_MAX = 1024 * 1024
_OTHERS = stat.S_IROTH | stat.S_IWOTH
_GROUP_OR_OTHERS = _OTHERS | stat.S_IRGRP | stat.S_IWGRP


class SecretFileError(ValueError):
    """A file whose secret cannot be used; the text says why and what to do."""


def read_secret_file(file: Path) -> str:
    """Return the text of a private file without blanks around it; raises SecretFileError, also where it is empty.

    A file is private where nobody else may read or write it. One that belongs to another user, as Kubernetes mounts
    secrets (root's, 0440 to the pod's fsGroup), may be read by its group: that is how this process reads it.
    """
    try:
        with file.open("rb") as opened:
            _check(file, os.fstat(opened.fileno()))
            # An editor's byte order mark is no part of a secret.
            text = opened.read(SECRET_BYTES_MAX + 1).decode("utf-8-sig")
    except OSError as cause:
        raise SecretFileError(f"cannot read {file} ({cause.strerror}).") from cause
    except UnicodeDecodeError as cause:
        raise SecretFileError(f"{file} is no UTF-8 text.") from cause
    if len(text) > SECRET_BYTES_MAX:
        raise SecretFileError(f"{file} has over {SECRET_BYTES_MAX} bytes, which no secret has.")
    text = text.strip()
    if not text:
        raise SecretFileError(f"{file} is empty; write the secret into it, or leave the setting out.")
    return text


def _check(file: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SecretFileError(f"{file} is no regular file, so a change of it could not be taken up.")
    mine = found.st_uid == os.geteuid()
    open_to = found.st_mode & (_GROUP_OR_OTHERS if mine else _OTHERS | stat.S_IWGRP)
    if open_to and not _is_mounted(file):
        cure = f"run `chmod 600 {file}`" if mine else f"run `chmod 440 {file}` (Kubernetes: `defaultMode: 0440`)"
        raise SecretFileError(
            f"{file} may be read or written by others (mode {stat.S_IMODE(found.st_mode):04o}); {cure}."
        )


def _is_mounted(file: Path) -> bool:
    """Whether a file is a mount of its own, as container engines make of each secret.

    Its mode is that of the host's file, whose folder keeps others out where nobody here can see it.
    """
    try:
        real = file.resolve(strict=True)
        return real.stat().st_dev != real.parent.stat().st_dev
    except OSError:
        return False
