"""What other users of a machine could reach in a folder: for tests that walk everything a process wrote."""

import os
import stat
import subprocess
import sys
from pathlib import Path

_OTHERS = 0o077
NOBODY = 65_534
# Reads as another user; says how many files it could open and which names it could list.
_READ_AS_NOBODY = f"""
import os, sys
os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
read = []
for top in sys.argv[1:]:
    for folder, _, names in os.walk(top):
        for name in names:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    file.read(1)
            except OSError:
                continue
            read.append(os.path.join(folder, name))
print("\\n".join(read))
"""


def open_to_others(folder: Path) -> list[str]:
    """Every file and folder below `folder`, itself included, that others than its user have any right to."""
    found = []
    for path in (folder, *folder.rglob("*")):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue  # an engine merges and drops files all the time
        if not stat.S_ISLNK(mode) and mode & _OTHERS:
            found.append(f"{stat.filemode(mode)} {path.relative_to(folder.parent)}")
    return found


def read_as_another_user(*folders: Path) -> list[str]:
    """The files below the folders that another user can read, asked as that user. Needs root to become one."""
    assert os.geteuid() == 0, "only root can become another user"
    done = subprocess.run(
        [sys.executable, "-I", "-c", _READ_AS_NOBODY, *map(str, folders)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()
