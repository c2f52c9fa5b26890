"""What users are told is true: examples run, every name has its heading, generated pages are fresh."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

import reference_pages
from llmtrail.cli.app import build
from llmtrail.core.failure import FailureMode
from llmtrail_alerts.rule_tests import run_cases
from llmtrail_alerts.rules import FILES
from llmtrail_alerts.rules_file import parse_rules
from llmtrail_ingest.gpu_prices import parse_gpu_prices, parse_own_gpus

ROOT = Path(__file__).parents[3]
DOCS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")
_FREE_VERBS = {
    "pip", "curl", "docker", "git", "cd", "cp", "jq", "export", "node", ".venv/bin/uv",
    "kubectl", "nvidia-smi", "dmesg", "dcgmi",
}  # fmt: skip


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(ROOT)}#{number}", block)
        for path in DOCS
        for number, (found, block) in enumerate(_FENCE.findall(path.read_text()))
        if found == language
    ]


def _commands() -> list[tuple[str, str]]:
    return [
        (place, line.removeprefix("$ ").partition("  #")[0])
        for place, block in _blocks("console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


@pytest.mark.parametrize("name", reference_pages.pages())
def test_the_reference_is_what_the_code_says(name: str) -> None:
    assert (reference_pages.FOLDER / name).read_text() == reference_pages.pages()[name], "run `make docs`"


def test_every_setting_says_what_it_is_for() -> None:
    page = reference_pages.config_page()
    undocumented = re.findall(r"^### (\S+)\n\n Default", page, re.MULTILINE)
    assert undocumented == []


def test_every_failure_mode_has_a_heading() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "docs/guide/failures.md").read_text(), re.MULTILINE)
    assert headings == [mode.value for mode in FailureMode]


@pytest.mark.parametrize(("place", "code"), _blocks("python"))
def test_python_in_the_docs_compiles(place: str, code: str) -> None:
    compile(code, place, "exec")


def _rules_file(text: str) -> str:
    """Return which file of the rules a block is of; "" where it is of llmtrail.toml."""
    name = text.partition("\n")[0].removeprefix("# ")
    return name if name in FILES else ""


def _is_prices(text: str) -> bool:
    return text.startswith("# prices.toml\n")


@pytest.mark.parametrize(("place", "text"), [block for block in _blocks("toml") if _is_prices(block[1])])
def test_prices_in_the_docs_can_be_used(place: str, text: str) -> None:
    prices = parse_gpu_prices(text, place)
    assert prices
    assert len(parse_own_gpus(text, place, prices)) == text.count("[[own_gpu]]")


_SETTINGS = [block for block in _blocks("toml") if not _rules_file(block[1]) and not _is_prices(block[1])]


@pytest.mark.parametrize(("place", "text"), _SETTINGS)
def test_settings_in_the_docs_are_known(place: str, text: str, tmp_path: Path) -> None:
    from llmtrail.config_load import load_config  # noqa: PLC0415 - only here.

    assert tomllib.loads(text), place
    file = tmp_path / "llmtrail.toml"
    file.write_text(text)
    load_config(file, {}, here=tmp_path)


def test_rules_in_the_docs_are_good_and_their_tests_pass() -> None:
    texts = dict.fromkeys(FILES, "")
    blocks = [block for _, block in _blocks("toml") if _rules_file(block)]
    # What stands before the first table of a file belongs to no table: it comes first where pages are put together.
    for block in sorted(blocks, key=lambda one: re.search(r"^[^#\s]", one, re.MULTILINE)[0] == "["):  # type: ignore[index]  # a block holds something
        texts[_rules_file(block)] += block
    loaded = parse_rules(texts)
    assert loaded.cases
    results = run_cases(loaded.rules, loaded.cases)
    assert [result.differences for result in results if not result.passed] == []


@pytest.mark.parametrize(("place", "line"), _commands())
def test_commands_in_the_docs_exist_with_their_options(place: str, line: str) -> None:
    words = shlex.split(line)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    verb = words[0]
    if verb == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), f"{place}: no such verb: {line}"
    elif verb in {"llmtrail", ".venv/bin/llmtrail"}:
        _check_command(place, words[1:])
    else:
        assert verb in _FREE_VERBS, f"{place}: nobody checks {verb!r}; add it to the verbs that need no check"


def _check_command(place: str, words: list[str]) -> None:
    command = typer.main.get_command(build())
    words = words[: words.index("|")] if "|" in words else words
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"{place}: no such command: {words[0]}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    asked = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert asked <= known, f"{place}: no such option: {asked - known}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_in_the_docs_lead_somewhere(path: Path) -> None:
    for target in _LINK.findall(path.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (path.parent / target).exists(), f"{path.name}: {target} is missing"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_the_docs_name_exist(path: Path) -> None:
    named = set(re.findall(r"`((?:src|services|tests|bench|schemas|docs)/[\w/.]*)`", path.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()
