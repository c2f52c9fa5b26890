"""The table of attacks says "yes" only where every case of an attack was tried and held."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[2]
_CASES = """
import pytest

@pytest.mark.attack("H2", "held in both cases")
@pytest.mark.parametrize("case", [1, 2])
def test_a(case): pass

@pytest.mark.attack("C10", "held in one case")
@pytest.mark.parametrize("case", [1, 2])
def test_b(case): assert case == 1

@pytest.mark.attack("C9", "not tried")
def test_c(): pytest.skip("no such thing here")

@pytest.fixture
def broken():
    yield
    raise ValueError

@pytest.mark.attack("C1", "held, but its end failed")
def test_d(broken): pass
"""
_PYPROJECT = '[tool.pytest.ini_options]\nmarkers = ["attack(finding, what): one"]\naddopts = ["--strict-markers"]\n'


def _run(folder: Path, cases: str) -> "subprocess.CompletedProcess[str]":
    (folder / "pyproject.toml").write_text(_PYPROJECT)
    attacks = folder / "attacks"
    attacks.mkdir()
    shutil.copy(TESTS / "attacks" / "conftest.py", attacks)
    (attacks / "test_cases.py").write_text(cases)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "attacks"]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder, env=environment)


def test_an_attack_held_only_where_each_of_its_cases_did(tmp_path: Path) -> None:
    lines = [line for line in _run(tmp_path, _CASES).stdout.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in line.strip("│").split("│")] for line in lines] == [
        ["C1", "held, but its end failed", "NO, 0 of 1 cases"],
        ["C9", "not tried", "not tried"],
        ["C10", "held in one case", "NO, 1 of 2 cases"],
        ["H2", "held in both cases", "yes, 2 cases"],
    ]


def test_a_test_that_names_no_attack_is_refused(tmp_path: Path) -> None:
    done = _run(tmp_path, "def test_a(): pass\n")
    assert done.returncode == 4
    assert "mark it with @pytest.mark.attack(" in done.stderr + done.stdout
