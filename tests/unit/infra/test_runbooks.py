"""Runbooks are whole, and the commands that they tell are commands of services and roles that there are."""

import re
import shlex
from pathlib import Path

import pytest

from infra_files import INFRA, ROOT, command_faults, documents
from llmtrail.core.outcome import RejectReason
from llmtrail.metrics import METRICS
from llmtrail_alerts.gpu_words import runbook_of
from llmtrail_alerts.model import GpuCondition

FOLDER = ROOT / "docs/runbooks"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
OF_GPUS = [path for path in RUNBOOKS if path.name.startswith("gpu-")]
OF_ROLES = [path for path in RUNBOOKS if path not in OF_GPUS]
HEADINGS = ["What you see", "What it means", "Look", "Act", "It is over when"]
_FENCE = re.compile(r"^ *```console\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def _commands(path: Path) -> list[list[str]]:
    """Return the words of every command that a page tells."""
    blocks = "\n".join(_FENCE.findall(path.read_text(encoding="utf-8"))).replace("\\\n", " ")
    return [shlex.split(line.strip().removeprefix("$ ")) for line in blocks.splitlines() if line.strip()]


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_tells_all_that_is_needed_at_night(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == HEADINGS
    for heading in ("Look", "Act"):
        section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert "```" in section, f"{heading} tells no command"


def test_the_list_of_runbooks_names_each_with_its_alerts() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    (rules,) = documents(INFRA / "prometheus/rules.yml")
    alerts = [rule for group in rules["groups"] for rule in group["rules"] if "alert" in rule]
    for alert in alerts:
        name = Path(alert["annotations"]["runbook"]).name
        assert re.search(rf"\({name}\) \|[^\n]*\b{alert['alert']}\b", index), alert["alert"]
    assert {path.name for path in OF_ROLES} == {Path(alert["annotations"]["runbook"]).name for alert in alerts}


def test_every_condition_of_a_gpu_has_its_runbook_and_no_other_is_there() -> None:
    index = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert {ROOT / runbook_of(condition) for condition in GpuCondition} == set(OF_GPUS)
    for condition in GpuCondition:
        path = ROOT / runbook_of(condition)
        assert f'`gpu_condition = "{condition}"`' in path.read_text(encoding="utf-8"), path
        assert re.search(rf"\({path.name}\) \| `{condition}` \|", index), condition


@pytest.mark.parametrize("path", OF_GPUS, ids=lambda path: path.stem)
def test_commands_of_a_gpus_runbook_are_ours_or_of_tools_that_nodes_have(path: Path) -> None:
    commands = _commands(path)
    assert {words[0] for words in commands} <= {"llmtrail", "kubectl", "nvidia-smi", "dmesg", "dcgmi"}
    assert [fault for words in commands if words[0] == "llmtrail" for fault in command_faults(_named(words[1:]))] == []


def _named(words: list[str]) -> list[str]:
    """Return the words of a command of ours up to what it is about: REQUEST in `llmtrail show REQUEST`."""
    return [word for word in words if not word.isupper()]


@pytest.mark.parametrize("path", [*OF_ROLES, FOLDER / "README.md"], ids=lambda path: path.stem)
def test_commands_of_a_runbook_are_about_services_and_commands_that_there_are(path: Path) -> None:
    (compose,) = documents(INFRA / "compose/compose.yaml")
    commands = [words for words in _commands(path) if words[:2] == ["docker", "compose"]]
    assert commands
    for words in commands:
        named = set(compose["services"]) & set(words)
        verb = words[2]
        if verb in {"exec", "restart", "run", "logs", "kill"}:
            assert named, words
        if verb == "exec" and words[4] == "llmtrail":
            assert list(command_faults(words[5:])) == []
        if verb == "exec" and "kafka" in named:
            listener = words[words.index("--bootstrap-server") + 1] if "--bootstrap-server" in words else "kafka:19092"
            assert f"INSIDE://{listener}," in compose["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_names_of_metrics_reasons_and_groups_are_right() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md"))
    shown = {metric.name for metric in METRICS} | {metric.shown_name for metric in METRICS}
    assert set(re.findall(r"\b(?:llmtrail_[a-z_]+|kafka_consumergroup_lag)\b", text)) <= shown
    table = (FOLDER / "dead-letters-rising.md").read_text(encoding="utf-8").partition("| --- |")[2]
    told = {
        reason for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for reason in re.findall(r"`(\w+)`", row)
    }
    assert told == {reason.value for reason in RejectReason}
    code = [path for folder in ("src", "services") for path in (ROOT / folder).rglob("*.py")]
    sources = "\n".join(path.read_text(encoding="utf-8") for path in code)
    groups = set(re.findall(r"`(llmtrail\.[a-z-]+)`", text))
    assert groups
    assert {group for group in groups if f'"{group}"' not in sources} == set()


def test_words_of_the_log_that_a_runbook_searches_for_are_said_there() -> None:
    source = (ROOT / "src/llmtrail/log/kafka/group.py").read_text(encoding="utf-8")
    assert "made anew: its old records are gone; reading starts over" in source
    assert "records are lost to it" in source
    assert "docs/runbooks" in source
