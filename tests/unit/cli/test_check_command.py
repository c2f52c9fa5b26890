"""`llmtrail check` says what is wrong with settings and rules, and whether the tests beside them pass."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llmtrail.cli.app import build
from llmtrail.cli.exits import CommandError, Exit
from llmtrail_alerts.rules import FILES

KAFKA = '[kafka]\nbootstrap_servers = "kafka:9092"\n'
EXAMPLES = Path(__file__).parents[3] / "infra" / "rules"
COMPOSE = EXAMPLES.parent / "compose" / "llmtrail.toml"
SETTINGS = """
[alerts]
folder = "rules"
[stats]
zones = ["UTC", "Europe/Berlin"]
feature_users = ["summarize"]
"""


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with settings and the example rules, where commands run."""
    shutil.copytree(EXAMPLES, tmp_path / "rules")
    (tmp_path / "llmtrail.toml").write_text(SETTINGS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(*words: str) -> tuple[int, str, str]:
    """Return the exit code, what is printed, and the last word."""
    said = CliRunner().invoke(build(), ["check", *words])
    if isinstance(said.exception, CommandError):
        return int(said.exception.code), said.stdout, str(said.exception)
    assert said.exception is None, said.exception
    return said.exit_code, said.stdout, ""


def edit(house: Path, name: str, former: str, later: str) -> None:
    """Change one thing in a file."""
    text = (house / name).read_text(encoding="utf-8")
    assert former in text
    (house / name).write_text(text.replace(former, later, 1), encoding="utf-8")


def document(*words: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the JSON."""
    code, said, _ = check("--json", *words)
    return code, json.loads(said)


def test_the_examples_are_good_and_their_tests_pass(house: Path) -> None:
    code, said, _ = check()
    assert code == Exit.DONE, said
    text = "".join((EXAMPLES / name).read_text(encoding="utf-8") for name in FILES)
    written = {table: text.count(f"\n[[{table}]]\n") for table in ("test", "budget", "alarm")}
    assert min(written.values()) > 0
    assert said.count("passed   ") == written["test"]
    assert f"{written['budget']} budgets, {written['alarm']} alarms, 2 owners, 2 features, 4 channels" in said


def test_secrets_that_are_not_here_are_odd_but_no_error(house: Path) -> None:
    code, found = document()
    assert (code, found["ok"]) == (Exit.DONE, True)
    assert {problem["gravity"] for problem in found["problems"]} == {"warning"}
    assert "variable SLACK_SEARCH_URL is not set" in str(found["problems"])


def test_mistakes_are_told_with_file_and_line_and_the_exit_code_is_one(house: Path) -> None:
    edit(house, "rules/rules.toml", 'measure = "error_rate"', 'measure = "eror_rate"')
    edit(house, "rules/budgets.toml", 'feature = "search"', 'feature = "serach"')
    code, said, last = check()
    assert code == Exit.NEGATIVE
    assert "did you mean 'error_rate'?" in said
    assert "feature 'serach' has no owner" in said
    assert "see above" in last


def test_a_test_that_fails_is_told_with_what_came_instead(house: Path) -> None:
    edit(house, "rules/budgets.toml", 'limit_usd = "50.00"', 'limit_usd = "500.00"')
    code, said, last = check()
    assert code == Exit.NEGATIVE
    assert "FAILED   budgets.toml:" in said
    assert "wanted search-day, first, 50 %, between 10:01:05 and 10:01:15" in said
    assert last == "1 failed test; see above."


def test_what_rules_need_is_kept_because_they_say_so(house: Path) -> None:
    for kafka in ("", KAFKA):
        (house / "llmtrail.toml").write_text('[alerts]\nfolder = "rules"\n' + kafka, encoding="utf-8")
        code, found = document()
        assert (code, [one for one in found["problems"] if one["gravity"] == "error"]) == (Exit.DONE, [])


def test_users_of_a_feature_that_nobody_owns_are_odd_and_no_error(house: Path) -> None:
    (house / "llmtrail.toml").write_text('[alerts]\nfolder = "rules"\n[stats]\nfeature_users = ["chat"]\n')
    code, found = document()
    assert (code, "feature 'chat' has no owner" in str(found["problems"])) == (Exit.DONE, True)


def test_another_folder_may_be_named(house: Path) -> None:
    shutil.move(house / "rules", house / "others")
    assert check("--rules", "others")[0] == Exit.DONE
    code, _, last = check()
    assert code == Exit.WRONG_USE
    assert "rules is no folder" in last


@pytest.mark.parametrize("settings", [(), ("--config", str(COMPOSE))], ids=["beside them", "of compose"])
def test_the_examples_are_good_where_they_stand(
    settings: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said, _ = check("--rules", str(EXAMPLES), *settings)
    assert (code, "error   " in said) == (Exit.DONE, False), said


def test_settings_that_are_named_come_before_those_beside_the_rules(house: Path) -> None:
    (house / "other.toml").write_text('[stats]\nfeature_users = ["chat"]\n', encoding="utf-8")
    assert "feature 'chat' has no owner" not in check("--rules", "rules")[1]
    code, said, _ = check("--rules", "rules", "--config", "other.toml")
    assert (code, "feature 'chat' has no owner" in said) == (Exit.DONE, True)


def test_without_rules_the_settings_alone_are_checked(house: Path) -> None:
    (house / "llmtrail.toml").write_text("")
    code, said, _ = check()
    assert (code, "rules: none" in said) == (Exit.DONE, True)
    (house / "llmtrail.toml").write_text("[alrts]\n")
    assert check()[0] == Exit.WRONG_USE


def test_wrong_prices_are_an_error(house: Path) -> None:
    (house / "prices.toml").write_text("[[prize]]\n")
    (house / "llmtrail.toml").write_text(SETTINGS + '[pricing]\noverrides = "prices.toml"\n')
    code, said, _ = check()
    assert code == Exit.NEGATIVE
    assert "unknown key 'prize'" in said


def test_text_from_files_cannot_command_the_terminal(house: Path) -> None:
    edit(house, "rules/budgets.toml", 'name = "search-day"', 'name = "search-\\u001b[2Jday"')
    assert "\x1b" not in check()[1]
