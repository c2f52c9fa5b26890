"""Budgets, alarms and limits of a running process on the world's calls: names of models, failures, unknown usage."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventually import eventually
from field_cases import FIELD
from house import House, running_house

KNOWN_S_MAX = 20.0
CONFIG = """
[alerts]
folder = "{rules}"

[models.aliases]
my-o3-prod = "o3"
"""
# Fires at the 9 % at which the outage must not: when it has, both were decided.
CANARY = """
[[alarm]]
name = "canary"
model = "*"
measure = "failure_rate"
modes = ["model_error", "rate_limited", "timeout", "connection"]
window = "5m"
warning = "5 %"
owner = "platform"
"""
PATTERN = """
[[budget]]
name = "family"
model = "gpt-4o*"
limit_calls = 1_000
per = "day"
owner = "platform"

[[budget]]
name = "outage"
feature = "search"
limit_usd = "100"
per = "day"
hard = "refuse"

[[budget]]
name = "streams"
tenant = ""
user = "streaming"
limit_tokens = 5_000
per = "day"
hard = "refuse"
owner = "platform"
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    rules = folder / "rules"
    rules.mkdir()
    case = {name: (FIELD / path).read_text() for name, path in FILES.items()}
    (rules / "budgets.toml").write_text(case["budgets.toml"] + PATTERN)
    (rules / "rules.toml").write_text(case["rules.toml"] + CANARY)
    (rules / "owners.toml").write_text(case["owners.toml"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FIELD_HOOK", "http://127.0.0.1:9/")
        patch.setenv("FIELD_KEY", "key")
        with running_house(folder / "data", CONFIG.format(rules=rules)) as running:
            yield running


FILES = {
    "budgets.toml": Path("b02-budget-claude-alias/budgets.toml"),
    "rules.toml": Path("b03-outage-alarm-split/rules.toml"),
    "owners.toml": Path("c08-model-pattern/owners.toml"),
}


def send(house: House, calls: int, **known: Any) -> None:
    event = {"usage": {"input_tokens": 10, "output_tokens": 1}, "status": "ok"} | known
    lines = [json.dumps({"started_at": time.time_ns(), **event}) for _ in range(calls)]
    assert house.post("\n".join(lines), {"content-type": "application/x-ndjson"}).status == 200


def fail(house: House, calls: int, **known: Any) -> None:
    send(house, calls, status="error", failure_mode="rate_limited", usage=None, **known)


def spent(house: House, rule: str) -> dict[str, dict[str, Any]]:
    """Return what a budget's models come to, by model."""
    (budget,) = house.ask("GET", f"/v1/budgets?rule={rule}&limit=100").json["budgets"]
    return {scope["values"][-1]: scope for scope in budget["scopes"]}


def firing(house: House) -> set[tuple[str, ...]]:
    found = house.ask("GET", "/v1/alerts?firing=true").json["firing"]
    return {(one["rule"], *one["values"]) for one in found}


@pytest.mark.parametrize(
    ("model", "provider", "asked", "answered"),
    [
        ("gpt-4o", "openai", "gpt-4o", "gpt-4o-2024-08-06"),
        ("gpt-4", "openai", "gpt-4", "gpt-4-0613"),
        ("gpt-3.5-turbo", "openai", "gpt-3.5-turbo", "gpt-3.5-turbo-0125"),
        ("claude-3-7-sonnet", "anthropic", "claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219"),
        ("claude-opus-4-1", "aws.bedrock", "us.anthropic.claude-opus-4-1-20250805-v1:0", None),
        ("gemini-2.0-flash", "gcp.vertex_ai", "gemini-2.0-flash", "gemini-2.0-flash-001"),
        ("gemini-1.5-pro", "google", "models/gemini-1.5-pro", "gemini-1.5-pro-002"),
        ("mistral-large", "mistral", "mistral-large-latest", "mistral-large-2411"),
        ("grok-4", "xai", "grok-4", "grok-4-0709"),
        # An Azure deployment, known by configuration: its failures bear no other name.
        ("o3", "azure", "my-o3-prod", "o3-2025-04-16"),
    ],
)
def test_answers_and_failures_of_a_model_are_one_group_of_its_budgets(
    house: House, model: str, provider: str, asked: str, answered: str | None
) -> None:
    send(house, 3, provider=provider, request_model=asked, response_model=answered)
    fail(house, 1, provider=provider, request_model=asked)
    house.settle()
    eventually(lambda: spent(house, "any-model").get(model, {}).get("calls", 0) >= 4, KNOWN_S_MAX)
    assert spent(house, "any-model")[model]["calls"] == 4
    assert not {asked, answered} & (spent(house, "any-model").keys() - {model})


def test_a_budget_by_the_alias_is_spent_by_calls_that_answer_with_the_day(house: House) -> None:
    right = json.loads((FIELD / "b02-budget-claude-alias" / "expected.json").read_text())["right"]
    send(
        house, 20, provider="anthropic", request_model="claude-sonnet-4-5", response_model="claude-sonnet-4-5-20250929"
    )

    def known() -> tuple[int, str]:
        found = spent(house, "claude-calls").get("claude-sonnet-4-5", {})
        return found.get("spent", 0), found.get("state", "")

    eventually(lambda: known() == (right["claude-calls spent"], right["state"]), KNOWN_S_MAX)
    scope = '["","model","claude-sonnet-4-5"]'

    def limit() -> dict[str, Any]:
        limits = house.ask("GET", "/v1/limits").json["limits"]
        return next((one for one in limits if (one["rule"], one["scope"]) == ("claude-calls", scope)), {})

    eventually(lambda: limit().get("state") == "hard", KNOWN_S_MAX)
    assert limit()["names"]


def test_an_outage_alarm_counts_answers_and_failures_of_a_model_together(house: House) -> None:
    right = json.loads((FIELD / "b03-outage-alarm-split" / "expected.json").read_text())["right"]
    send(house, 250, provider="openai", request_model="gpt-4.1", response_model="gpt-4.1-2025-04-14")
    fail(house, 25, provider="openai", request_model="gpt-4.1")
    eventually(lambda: ("canary", "gpt-4.1") in firing(house), KNOWN_S_MAX)
    assert ("provider-outage", "gpt-4.1") not in firing(house)
    (row,) = house.ask("GET", "/v1/stats?window=1h&kind=model&model=gpt-4.1").json["scopes"]
    assert (row["calls"], row["errors"]) == (275, 25)
    assert round(row["errors"] / row["calls"], 4) == right["failure_rate"]


def test_a_pattern_is_a_budget_of_each_model_that_it_matches(house: House) -> None:
    send(house, 2, provider="openai", request_model="gpt-4o-mini", response_model="gpt-4o-mini-2024-07-18")
    send(house, 1, provider="openai", request_model="gpt-4.1-mini")
    eventually(lambda: "gpt-4.1-mini" in spent(house, "any-model"), KNOWN_S_MAX)
    found = spent(house, "family")
    assert found["gpt-4o-mini"]["spent"] == 2
    assert all(model.startswith("gpt-4o") for model in found)


def test_calls_that_no_provider_bills_spend_nothing_of_a_budget(house: House) -> None:
    """Calls of an outage with retries counted as much as calls without a price, until nobody could call."""
    send(
        house,
        1,
        feature="search",
        provider="openai",
        request_model="gpt-4-turbo",
        usage={"input_tokens": 500_000, "output_tokens": 0},
    )
    known: dict[str, Any] = {"feature": "search", "provider": "openai", "request_model": "gpt-4-turbo"}
    fail(house, 1_000, error={"type": "RateLimitError", "http_status": 429}, **known)
    send(
        house,
        1_000,
        status="error",
        failure_mode="connection",
        usage=None,
        error={"type": "APIConnectionError", "message": "Connection refused"},
        **known,
    )
    eventually(lambda: spent(house, "outage").get("search", {}).get("calls") == 2_001, KNOWN_S_MAX)
    found = spent(house, "outage")["search"]
    assert (found["spent"], found["unpriced"], found["state"]) == (5_000_000_000, 0, "open")


def test_answered_streams_without_usage_are_estimated_for_a_budget_of_tokens(house: House) -> None:
    """OpenAI streams tell no usage unless they are asked for it: they are none of 0 tokens."""
    send(
        house,
        1_000,
        user_id="streaming",
        provider="openai",
        request_model="gpt-4.1-nano",
        response_model="gpt-4.1-nano-2025-04-14",
        stream=True,
        usage=None,
        messages=[{"role": "user", "content": "Tell me where my order is, and why it took so long to come."}],
        output="It left the warehouse on Monday and is at your post office; a strike held it up.",
    )

    def state() -> str:
        return str(spent(house, "streams").get("streaming", {}).get("state"))

    eventually(lambda: state() == "hard", KNOWN_S_MAX)
    eventually(lambda: spent(house, "streams")["streaming"]["calls"] == 1_000, KNOWN_S_MAX)
    house.settle()
    ((tokens, unknown),) = house.sql(
        "SELECT sum(estimated_input_tokens + estimated_output_tokens), "
        "countIf(input_tokens IS NULL AND output_tokens IS NULL) FROM llmtrail.calls WHERE user_id = 'streaming'"
    )
    assert (spent(house, "streams")["streaming"]["spent"], unknown) == (tokens, 1_000)
    assert tokens > 20_000
