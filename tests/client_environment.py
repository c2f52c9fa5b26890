"""One environment per instrumentation, made from its lock and kept: the instrumentations conflict with each other."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "clients"
ENVIRONMENTS = HERE.parents[1] / ".envs"
# `make setup` puts it beside the interpreter.
UV = str(Path(sys.executable).with_name("uv"))
# A cold cache downloads some 60 MB.
MAKE_S_MAX = 300


def python_of(client: str) -> Path:
    """Return the interpreter of a client's environment, making the environment where there is none yet.

    Safe for several processes: one makes it, the others wait; a half-made one is never used.
    """
    lock = HERE / f"{client}.lock"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(lock.read_bytes() + version.encode()).hexdigest()[:12]
    home = ENVIRONMENTS / f"{client}-{digest}"
    python = home / "bin" / "python"
    if python.exists():
        return python
    ENVIRONMENTS.mkdir(exist_ok=True)
    with (ENVIRONMENTS / f"{client}.making").open("w") as gate:
        fcntl.flock(gate, fcntl.LOCK_EX)
        if not python.exists():
            _make(home, lock)
    return python


def _make(home: Path, lock: Path) -> None:
    making = home.with_name(f"{home.name}.{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    _run(UV, "venv", "-q", "--relocatable", "--python", sys.executable, str(making))
    _run(UV, "pip", "install", "-q", "--python", str(making / "bin" / "python"), "--require-hashes", "-r", str(lock))
    making.rename(home)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAKE_S_MAX, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[-4000:]}"
