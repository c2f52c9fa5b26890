"""What each channel is sent, as files to read: a change of a message is seen before anybody is woken by it."""

import json

import pytest

import alert_messages
from alert_messages import CASES, GOLDEN
from llmtrail.testing.channel_contracts import check_alertmanager, check_pagerduty, check_slack
from llmtrail_alerts.channels.port import Sending

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("name", CASES)
def test_each_channel_is_sent_what_stands_in_the_golden_file(name: str) -> None:
    made = alert_messages.text(alert_messages.rendered(CASES[name]))
    assert made == (GOLDEN / f"{name}.json").read_text(), "look at it, then run `python tests/alert_messages.py`"


def test_several_that_waited_become_the_digest_of_the_golden_file() -> None:
    made = alert_messages.text({"slack": alert_messages.digest()})
    assert made == (GOLDEN / "digest.json").read_text(), "look at it, then run `python tests/alert_messages.py`"


def test_there_is_no_golden_file_of_nothing() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == {*CASES, "digest"}


@pytest.mark.parametrize("sending", CASES.values(), ids=CASES)
def test_every_message_keeps_its_targets_contract(sending: Sending) -> None:
    made = {name: json.dumps(value).encode() for name, value in alert_messages.rendered(sending).items()}
    assert check_slack("/", JSON, made["slack"]) == []
    assert check_pagerduty("/v2/enqueue", JSON, made["pagerduty"]) == []
    assert check_alertmanager("/api/v2/alerts", JSON, made["alertmanager"]) == []
