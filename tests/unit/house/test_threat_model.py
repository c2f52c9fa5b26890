"""The threat model promises nothing that no test holds."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def _functions(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)} | {
        node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.AsyncFunctionDef)
    }


def test_every_test_that_is_named_exists() -> None:
    named = _TEST.findall(TEXT)
    assert named
    missing = [f"{file}::{name}" for file, name in named if name not in _functions(ROOT / file)]
    assert missing == []


def test_every_promise_names_a_test() -> None:
    promises = TEXT.partition("## What is promised")[2].partition("## Out of scope")[0]
    rows = [
        line for line in promises.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| promise"))
    ]
    assert rows
    assert [row for row in rows if not _TEST.search(row)] == []
