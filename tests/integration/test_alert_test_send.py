"""`llmtrail alert test-send` sends a marked message through real channels and tells what each answered."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmtrail.cli.app import build
from llmtrail.cli.exits import CommandError, Exit
from llmtrail.testing import recorders
from llmtrail.testing.recorders import Fault, Recorder, open_incidents

Run = Callable[..., tuple[str, BaseException | None]]


@pytest.fixture
def run(tmp_path: Path, slack: Recorder, pagerduty: Recorder, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "owners.toml").write_text(
        f"""
[channel.talk]
kind = "slack_webhook"
url = "env:TALK_URL"
[channel.pager]
kind = "pagerduty"
url = "{pagerduty.url}/v2/enqueue"
secret = "env:PAGER_KEY"
[owner.search-team]
channels = ["talk"]
critical = ["pager"]
[owner.chat-team]
channels = ["talk"]
"""
    )
    monkeypatch.setenv("TALK_URL", f"{slack.url}/T/B/secret-path")
    monkeypatch.setenv("PAGER_KEY", "a-routing-key")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[str, BaseException | None]:
        result = CliRunner().invoke(build(), ["alert", "test-send", "--rules", str(tmp_path), *words])
        return result.stdout, result.exception

    return run


@pytest.fixture
def slack() -> Iterator[Recorder]:
    with recorders.slack_webhook() as recorder:
        yield recorder


@pytest.fixture
def pagerduty() -> Iterator[Recorder]:
    with recorders.pagerduty() as recorder:
        yield recorder


def test_every_channel_gets_a_test_that_says_so_and_leaves_no_incident_open(
    run: Run, slack: Recorder, pagerduty: Recorder
) -> None:
    out, error = run()
    assert error is None
    assert out.splitlines()[0] == "talk (slack_webhook): trigger: delivered: 200 ok"
    assert slack.breaches == pagerduty.breaches == []
    assert "TEST: llmtrail reaches channel talk" in slack.bodies()[0]["text"]
    assert [event["event_action"] for event in pagerduty.bodies()] == ["trigger", "resolve"]
    assert list(open_incidents(pagerduty).values()) == [1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--channel", "pager"], {"pager"}),
        (["--owner", "search-team"], {"talk", "pager"}),
        (["--owner", "chat-team"], {"talk"}),
    ],
)
def test_only_the_channels_that_were_asked_for_are_told(run: Run, words: list[str], told: set[str]) -> None:
    out, error = run("--json", *words)
    assert error is None
    assert {one["channel"] for one in json.loads(out)} == told


def test_a_channel_that_refuses_is_told_with_its_words_but_not_with_its_address(run: Run, slack: Recorder) -> None:
    slack.always = Fault.REFUSE
    out, error = run("--channel", "talk")
    assert out == "talk (slack_webhook): trigger: refused: 400 invalid_payload\n"
    assert isinstance(error, CommandError)
    assert error.code is Exit.NEGATIVE
    assert "secret-path" not in out


def test_a_secret_that_is_not_there_is_told_and_the_others_are_tried(
    run: Run, pagerduty: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TALK_URL")
    out, error = run()
    assert "the variable TALK_URL is not set" in out
    assert len(pagerduty.received) == 2
    assert isinstance(error, CommandError)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--channel", "nobody"], "owners.toml names no channel 'nobody'; it has talk, pager."),
        (["--owner", "nobody"], "owners.toml names no owner 'nobody'; it has search-team, chat-team."),
        (["--owner", "chat-team", "--channel", "talk"], "Give --channel or --owner, not both."),
    ],
)
def test_what_cannot_be_meant_is_said(run: Run, words: list[str], said: str) -> None:
    _, error = run(*words)
    assert isinstance(error, CommandError)
    assert str(error) == said
    assert error.code is Exit.WRONG_USE
