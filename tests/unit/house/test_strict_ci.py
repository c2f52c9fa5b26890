"""In CI a test that skips itself fails, unless its reason is on the list."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]


def _run(folder: Path, reason: str, *, in_ci: bool) -> "subprocess.CompletedProcess[str]":
    shutil.copy(TESTS / "conftest.py", folder)
    (folder / "test_a.py").write_text(f"import pytest\n\ndef test_a():\n    pytest.skip({reason!r})\n")
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | (
        {"CI": "true"} if in_ci else {}
    )
    environment["PYTHONPATH"] = str(TESTS)  # where conftest.py finds the modules beside it
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "."]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder, env=environment)


@pytest.mark.parametrize(
    ("reason", "in_ci", "passes"),
    [
        ("no such client here", True, False),
        ("no such client here", False, True),
        ("needs a loop device", True, True),
    ],
)
def test_a_skip_counts_as_ci_says(tmp_path: Path, reason: str, in_ci: bool, passes: bool) -> None:
    done = _run(tmp_path, reason, in_ci=in_ci)
    assert (done.returncode == 0) == passes, done.stdout
    assert ("CI takes no skip" in done.stdout) != passes


def test_a_whole_module_that_skips_itself_fails_too(tmp_path: Path) -> None:
    (tmp_path / "test_b.py").write_text("import pytest\n\npytest.importorskip('no_such_module')\n")
    done = _run(tmp_path, "needs a loop device", in_ci=True)
    assert done.returncode != 0, done.stdout
    assert "CI takes no skip" in done.stdout
