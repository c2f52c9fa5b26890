"""The whole tree keeps the rules of the house, and the rules speak clearly."""

from pathlib import Path

import pytest

import tidy

ROOT = Path(__file__).parents[3]

_LONG_FUNCTION = "def long() -> None:\n" + "    print()\n" * 60
# One case a rule: (file, text, what must be said of it).
CASES = {
    "a file too long": (
        "src/a.py",
        "x = 1\n" * 501,
        "src/a.py:501: 501 lines, over 500; split it by what changes together.",
    ),
    "a function too long": (
        "tests/a.py",
        _LONG_FUNCTION,
        "tests/a.py:1: long has 61 lines, over 60; give its parts names of their own.",
    ),
    "a direct clock": (
        "src/a.py",
        "import time\nnow = time.time_ns()\n",
        "src/a.py:2: time.time_ns away from the edge; take now_ns as an argument, or a Clock.",
    ),
    "a clock by another name": (
        "services/a.py",
        "from datetime import datetime as when\n\nx = when.now()\n",
        "services/a.py:3: datetime.datetime.now away from the edge; take now_ns as an argument, or a Clock.",
    ),
    "randomness": (
        "src/a.py",
        "import random\nx = random.random()\n",
        "src/a.py:2: random.random away from the edge; take a seeded random.Random as an argument.",
    ),
    "the environment": (
        "src/a.py",
        "import os\nx = os.environ['HOME']\n",
        "src/a.py:2: os.environ away from the edge; take a setting as an argument; config_load.py reads it.",
    ),
    "an id out of nowhere": (
        "src/a.py",
        "from uuid import uuid4\nx = uuid4()\n",
        (
            "src/a.py:2: uuid.uuid4 away from the edge; "
            "take the id as an argument; core.ids makes it from time and random bytes."
        ),
    ),
    "a broad except": (
        "bench/a.py",
        "try:\n    pass\nexcept Exception:  # noqa: BLE001\n    pass\n",
        "bench/a.py:3: a broad except without its reason; name the errors, or say why beside it.",
    ),
    "a bare ignore": (
        "src/a.py",
        "x = 1  # type" + ": ignore\n",
        "src/a.py:1: a bare type: ignore; name the error in brackets, with the reason.",
    ),
    "a decoder that raises more than one kind": (
        "src/a.py",
        "import msgspec\n\nx = msgspec.json.decode(b'')\n",
        "src/a.py:3: msgspec.json.decode by itself; use core.json_decode, whose every failure is msgspec.DecodeError.",
    ),
    "sleep in a test": (
        "tests/a.py",
        "from time import sleep\nsleep(1)\n",
        "tests/a.py:2: time.sleep in a test; wait for a level with eventually(predicate, timeout_s).",
    ),
    "a path of one machine": (
        "docs/a.md",
        "see /ho" + "me/alice/notes\n",
        "docs/a.md:1: a path of somebody's machine; make it relative to the checkout.",
    ),
    "a registry": (
        "docs/a.md",
        "from crates" + ".io\n",
        "docs/a.md:1: the registry host crates" + ".io; name the package, not its host.",
    ),
}


def test_the_whole_tree_keeps_the_rules_of_the_house() -> None:
    findings = tidy.check_tree(ROOT)
    assert not findings, "\n" + "\n".join(str(finding) for finding in findings)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_each_breach_is_told_with_its_place_and_cure(case: tuple[str, str, str]) -> None:
    name, text, expected = case
    findings = tidy.check_text(name, text)
    if name.endswith(".py"):
        findings += tidy.check_python(name, text)
    assert [str(finding) for finding in findings] == [expected]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("src/llmtrail/clock.py", "import time\nnow = time.time_ns()\n"),
        ("src/a.py", "import time\nnow_ns = time.time_ns  # tidy: bound once at the SDK's edge\n"),
        ("src/a.py", "import random\nx = random.Random(7)\n"),
        ("src/a.py", "try:\n    pass\nexcept Exception:  # noqa: BLE001 - a loop's edge must go on\n    pass\n"),
        ("src/a.py", "try:\n    pass\nexcept BaseException:\n    print()\n    raise\n"),
        ("src/a.py", "def time() -> int:\n    return 1\n\n\nx = time()\n"),
        ("tests/eventually.py", "import time\ntime.sleep(0.01)\n"),
    ],
)
def test_what_the_rules_allow_is_not_told(name: str, text: str) -> None:
    assert tidy.check_python(name, text) == []


def test_a_tree_is_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("import os\nx = os.getenv('A')\n")
    (tmp_path / "tests" / "__pycache__").mkdir(parents=True)
    (tmp_path / "tests" / "__pycache__" / "b.py").write_text("import time\ntime.sleep(1)\n")
    assert [finding.path for finding in tidy.check_tree(tmp_path)] == ["src/a.py"]
