"""The rules of dependency hold, and each of them catches a breach."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# A line that must not stand in a file, and the rule that says so.
BREACHES = {
    "a decision reads the clock": ("src/llmtrail/core/ids.py", "import time", "The core is pure"),
    "the core knows the store": ("src/llmtrail/core/ids.py", "import llmtrail.store.rows", "The house, top to bottom"),
    "a service knows another": (
        "services/ingest/llmtrail_ingest/tally.py",
        "import llmtrail_web.requests",
        "The house, top to bottom",
    ),
    "a service speaks ClickHouse": (
        "services/web/llmtrail_web/requests.py",
        "import clickhouse_connect",
        "ClickHouse is spoken in one room",
    ),
    "a service speaks Kafka": (
        "services/ingest/llmtrail_ingest/tally.py",
        "import confluent_kafka",
        "Kafka is spoken in one room",
    ),
    "the SDK needs an extra": ("src/llmtrail/emit/tally.py", "import pyarrow", "The SDK needs no extra"),
    "two rooms know each other": ("src/llmtrail/clock.py", "import llmtrail.log.local", "No cycles"),
}


def _lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    # The installed package is an editable one, so the copy has to come first on the path.
    code = (
        "import sys; sys.path[:0] = ['src', 'services/ingest', 'services/web'];"
        "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, cwd=folder
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    for name in ("src", "services"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_house_keeps_its_rules(copy: Path) -> None:
    done = _lint(copy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_caught_by_its_rule(copy: Path, name: str) -> None:
    path, line, rule = BREACHES[name]
    file = copy / path
    before = file.read_text()
    file.write_text(f"{before}\n{line}\n")
    try:
        done = _lint(copy)
    finally:
        file.write_text(before)
    assert done.returncode != 0
    broken = [found for found in done.stdout.splitlines() if found.endswith("BROKEN")]
    assert any(found.startswith(rule) for found in broken), done.stdout
