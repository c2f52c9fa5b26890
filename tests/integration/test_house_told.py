"""What a house tells of budgets and alarms to whoever asks: over HTTP, and on the page of a request."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from alert_rules import write_rules
from eventually import eventually
from house import Answer, House, running_house
from llmtrail.testing.recorders import pagerduty, slack_webhook
from tokens import strong

TOLD_S_MAX = 20.0
ALL, ACME = strong("all"), strong("acme")
_CONFIG = f"""
[ingest.tokens.all]
token = "{ALL}"
scopes = ["ingest", "read"]

[ingest.tokens.acme]
token = "{ACME}"
scopes = ["ingest", "read"]
tenant = "acme"
"""


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged)
        config = f'[alerts]\nfolder = "{tmp_path / "rules"}"\n{_CONFIG}'
        yield stack.enter_context(running_house(tmp_path / "data", config))


def spend(house: House, token: str, names: list[str], dollars_each: float) -> None:
    """Make calls that cost so much each, as user u-7 in search."""
    event = {
        "request_model": "gpt-4o-mini",  # 0.15 dollars a million tokens of input
        "provider": "openai",
        "feature": "search",
        "user_id": "u-7",
        "usage": {"input_tokens": round(dollars_each * 1_000_000 / 0.15), "output_tokens": 0},
        "status": "ok",
    }
    lines = [json.dumps({"started_at": time.time_ns(), "request_id": name, **event}) for name in names]
    headers = {"content-type": "application/x-ndjson", "authorization": f"Bearer {token}"}
    assert house.post("\n".join(lines), headers).status == 200


def ask(house: House, path: str, headers: dict[str, str]) -> Answer:
    return house.ask("GET", path, headers=headers)


def test_what_fires_and_what_is_spent_is_told_to_whom_it_concerns(house: House) -> None:
    everybody, acme = {"authorization": f"Bearer {ALL}"}, {"authorization": f"Bearer {ACME}"}
    spend(house, ACME, ["a-0", "a-1"], 0.15)
    spend(house, ALL, [f"r-{number}" for number in range(4)], 0.15)
    eventually(lambda: len(ask(house, "/v1/alerts", everybody).json["firing"]) == 1, TOLD_S_MAX)
    spend(house, ALL, ["r-4", "r-5", "r-6", "r-7"], 0.15)
    eventually(lambda: len(ask(house, "/v1/alerts", everybody).json["decisions"]) == 2, TOLD_S_MAX)

    told = ask(house, "/v1/alerts?rule=search-day&feature=search", everybody).json
    (firing,) = told["firing"]
    assert (firing["rule"], firing["scope"], firing["hard"]) == ("search-day", '["","feature","search"]', True)
    assert (firing["amount"], firing["amount_limit"]) == (1_200_000_000, 1_000_000_000)
    assert [one["reason"] for one in told["decisions"]] == ["level_changed", "first"]
    assert ask(house, "/v1/alerts?user=u-7", everybody).json["decisions"] == []
    assert "decisions" not in ask(house, "/v1/alerts?firing=true", everybody).json
    assert ask(house, "/v1/alerts", acme).json["decisions"] == []
    assert ask(house, "/v1/alerts?tenant=", acme).status == 403
    assert ask(house, "/v1/alerts?since=yesterday", everybody).status == 400

    budgets = {one["rule"]: one for one in ask(house, "/v1/budgets", everybody).json["budgets"]}
    assert [(one["tenant"], one["spent"], one["state"]) for one in budgets["search-day"]["scopes"]] == [
        ("", 1_200_000_000, "hard"),
        ("acme", 300_000_000, "open"),
    ]
    assert [one["share"] for one in budgets["user-day"]["scopes"]] == [0.6, 0.15]
    (own,) = ask(house, "/v1/budgets?rule=user-day", acme).json["budgets"]
    assert [one["tenant"] for one in own["scopes"]] == ["acme"]

    spend(house, ALL, ["late"], 0.0001)
    eventually(lambda: ask(house, "/v1/requests/late", everybody).status == 200, TOLD_S_MAX)
    late = ask(house, "/v1/requests/late", everybody).json
    assert [(one["rule"], one["concerns"], one["hard"]) for one in late["budget_decisions"]] == [
        ("search-day", "held", True)
    ]
    proof = ask(house, f"/v1/requests/{firing['request_ids'][0]}", everybody).json
    assert "names_it" in {one["concerns"] for one in proof["budget_decisions"]}
    assert ask(house, "/v1/requests/a-0", everybody).json["budget_decisions"] == []
