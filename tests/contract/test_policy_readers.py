"""The house and the SDK read a feature's policy from the same file, and in the same way."""

from pathlib import Path

import pytest

from llmtrail.emit.policy_file import PolicyError, parse_policies
from llmtrail_alerts.rules import RulesError
from llmtrail_alerts.rules_file import load_rules, parse_rules

EXAMPLES = Path(__file__).parents[2] / "infra" / "rules"
OWNERS = """
[owner.o]
channels = ["c"]
[channel.c]
kind = "slack_webhook"
url = "env:U"
[feature.f]
owner = "o"
accountable = "Jo"
on_call = "primary"
runbook = "https://wiki.example"
[feature.f.policy]
"""


def test_the_examples_are_read_alike() -> None:
    text = (EXAMPLES / "owners.toml").read_text(encoding="utf-8")
    assert parse_policies(text) == load_rules(EXAMPLES).policies


@pytest.mark.parametrize(
    "policy",
    [
        'timeout = "raise"',
        'timeout = "cached"',
        'timeout = "retry"',
        'timeout = { do = "retry" }',
        'timeout = { do = "retry", max_attempts = 10, backoff = "60s" }',
        'timeout = { do = "retry", backoff = "1m", then = "cached" }',
        'timeout = { do = "retry", then = { do = "static", message = "later" } }',
        'unknown = { do = "fall_back", model = "m" }',
        "",
    ],
)
def test_what_one_takes_the_other_takes_too(policy: str) -> None:
    assert parse_policies(OWNERS + policy) == parse_rules({"owners.toml": OWNERS + policy}).rules.policies


@pytest.mark.parametrize(
    "policy",
    [
        'timeuot = "raise"',
        'timeout = "static"',
        'timeout = "fall_back"',
        "timeout = 5",
        'timeout = { do = "raise", model = "m" }',
        'timeout = { do = "fall_back" }',
        'timeout = { do = "retry", max_attempts = 1 }',
        'timeout = { do = "retry", max_attempts = 11 }',
        'timeout = { do = "retry", backoff = "61s" }',
        'timeout = { do = "retry", backoff = 5 }',
        'timeout = { do = "retry", then = "retry" }',
    ],
)
def test_what_one_refuses_the_other_refuses_too(policy: str) -> None:
    with pytest.raises(PolicyError):
        parse_policies(OWNERS + policy)
    with pytest.raises(RulesError):
        parse_rules({"owners.toml": OWNERS + policy})
