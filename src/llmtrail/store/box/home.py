"""Folders that go when their owner does, however it ends. Knows nothing of what lies in them."""

import fcntl
import shutil
import tempfile
from pathlib import Path


class Home:
    """Folders that go when their owner does: those of owners that were killed are removed by the next one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for former in folder.iterdir():
            _remove_unowned(former)
        self.folder = Path(tempfile.mkdtemp(prefix="box-", dir=folder))
        self._lock = (self.folder / "owner").open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def new(self, kind: str) -> Path:
        """Make a folder."""
        return Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=self.folder))

    def remove(self) -> None:
        """Remove them all."""
        self._lock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _remove_unowned(folder: Path) -> None:
    try:
        with (folder / "owner").open("rb") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for links in folder.glob("links-*"):
                links.chmod(0o700)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return  # another process has it, or is making it
