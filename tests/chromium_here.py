"""A real Chromium without a window, for tests of what a page may do. No driver: pages report to the test's server."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]
# Where .ci/run unpacks the distribution's packages.
_UNPACKED = _ROOT / ".cache" / "chromium"
_PROGRAMS = ("chromium-headless-shell", "chromium")
STOP_S_MAX = 10


def chromium() -> Path:
    """Return the browser; skip the test where there is none."""
    for program in _PROGRAMS:
        for found in (_UNPACKED / "usr/lib/chromium" / program, shutil.which(program)):
            if found and Path(found).is_file():
                return Path(found)
    pytest.skip("needs chromium: the distribution's package could not be had; see .ci/run")


@contextmanager
def browsing(url: str, profile: Path, flags: Sequence[str] = ()) -> Iterator[None]:
    """Have a browser of its own open `url` until the block ends."""
    program = chromium()
    libraries = os.pathsep.join(sorted({str(file.parent) for file in _UNPACKED.glob("usr/lib/*-linux-gnu*/**/*.so*")}))
    command = [str(program), "--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server"]
    command += ["--disable-dev-shm-usage", f"--user-data-dir={profile}", "--remote-debugging-port=0", *flags, url]
    with (profile.parent / f"{profile.name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "LD_LIBRARY_PATH": libraries})
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
