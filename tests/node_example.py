"""The Node example of the guide, installed once in the caches and run there. Knows nothing of Kafka."""

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "guide" / "kafka-node"
_INSTALL_S_MAX = 300.0
_RUN_S_MAX = 120.0


def installed() -> Path:
    """Return a folder with what the example needs installed; skip the test where Node or its packages are missing."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("NO NODE HERE: install Node 18 or newer, with npm.")
    manifest = SOURCE / "package.json"
    folder = ROOT / ".cache" / "kafka-node" / hashlib.sha256(manifest.read_bytes()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").is_file():
            shutil.copy(manifest, folder)
            asked = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                asked, cwd=folder, capture_output=True, text=True, check=False, timeout=_INSTALL_S_MAX
            )
            if done.returncode != 0:
                pytest.skip(f"NO NODE PACKAGES HERE: {done.stderr[-300:]}")
            (folder / "complete").touch()
    return folder


def run_node(folder: Path, script: str, environment: Mapping[str, str]) -> str:
    """Run `script`, a file in `folder`, and return what it printed."""
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, script],
        cwd=folder,
        env=dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=_RUN_S_MAX,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def placed(tmp_path: Path) -> Path:
    """Return a folder of the test's own with the example as it stands now, beside its packages."""
    folder = tmp_path / "node"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(installed() / "node_modules", target_is_directory=True)
    return folder
