"""Budgets and alarms in the whole house: calls come in, the owner hears of it, callers are told to stop."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from alert_rules import write_rules
from eventually import eventually
from house import STOP_S_MAX, House, running_house
from llmtrail.testing.recorders import Recorder, open_incidents, pagerduty, slack_webhook

TOLD_S_MAX = 20.0
SEARCH = '["","feature","search"]'


@dataclass
class Watched:
    """A house under rules, and those who hear of it."""

    house: House
    slack: Recorder
    pager: Recorder
    rules: Path

    def spend(self, calls: int, dollars_each: float, **named: Any) -> None:
        """Make calls that cost so much each."""
        tokens = round(dollars_each * 1_000_000 / 0.15)  # gpt-4o-mini: 0.15 dollars a million tokens of input
        event = {
            "request_model": "gpt-4o-mini",
            "provider": "openai",
            "feature": "search",
            "usage": {"input_tokens": tokens, "output_tokens": 0},
            "status": "ok",
            **named,
        }
        lines = [
            json.dumps({"started_at": time.time_ns(), "request_id": f"r-{number}", **event}) for number in range(calls)
        ]
        assert self.house.post("\n".join(lines), {"content-type": "application/x-ndjson"}).status == 200

    def limits(self) -> dict[str, Any]:
        """Return what callers are told, by scope; nothing while it is not known yet."""
        answer = self.house.ask("GET", "/v1/limits")
        return {limit["scope"]: limit for limit in answer.json["limits"]} if answer.status == 200 else {}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged)
        config = f'[alerts]\nfolder = "{tmp_path / "rules"}"\n'
        house = stack.enter_context(running_house(tmp_path / "data", config))
        yield Watched(house, told, paged, tmp_path / "rules")
        assert told.breaches == []
        assert paged.breaches == []


def test_editing_a_budget_never_forgets_what_was_spent(watched: Watched) -> None:
    watched.spend(4, 0.15)
    eventually(lambda: SEARCH in watched.limits(), TOLD_S_MAX)
    file = watched.rules / "budgets.toml"
    file.write_text(file.read_text().replace('"1.00"', '"0.60"'))
    eventually(lambda: watched.limits()[SEARCH]["state"] == "hard", TOLD_S_MAX)
    eventually(lambda: len(watched.pager.bodies()) == 1, TOLD_S_MAX)

    file.write_text(file.read_text().replace('"0.60"', '"0.10" #').replace("per =", "nonsense\nper ="))
    eventually(lambda: watched.house.metric("llmtrail_alerts_rules_refused_total") == 1, TOLD_S_MAX)
    assert watched.limits()[SEARCH]["limit"] == 600_000_000
    changes = "SELECT action FROM audit WHERE name = 'search-day' OR action = 'refused' ORDER BY changed_at"
    eventually(lambda: watched.house.sql(changes) == [["added"], ["changed"], ["refused"]], TOLD_S_MAX)


def test_rules_that_are_refused_leave_the_former_ones_in_force_also_after_a_restart(tmp_path: Path) -> None:
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged)
        config = f'[alerts]\nfolder = "{tmp_path / "rules"}"\n'
        file = tmp_path / "rules" / "budgets.toml"
        with running_house(tmp_path / "data", config) as house:
            assert house.ask("GET", "/readyz").json["parts"]["rules"] == "ready"
            file.write_text(file.read_text().replace("per =", "nonsense\nper ="))
            eventually(lambda: "budgets.toml" in house.ask("GET", "/readyz").json["parts"]["rules"], TOLD_S_MAX)
            house.process.terminate()
            house.process.wait(STOP_S_MAX)
        with running_house(tmp_path / "data", config) as again:
            assert "the former ones are in force" in again.ask("GET", "/readyz").json["parts"]["rules"]
            watched = Watched(again, told, paged, tmp_path / "rules")
            watched.spend(8, 0.15)
            eventually(lambda: watched.limits().get(SEARCH, {}).get("state") == "hard", TOLD_S_MAX)
            file.write_text(file.read_text().replace("nonsense\n", ""))
            eventually(lambda: again.ask("GET", "/readyz").json["parts"]["rules"] == "ready", TOLD_S_MAX)
            assert watched.limits()[SEARCH]["state"] == "hard"


MINUTE = """
unpriced_call_usd = "0.05"

[[budget]]
name = "search-minute"
feature = "search"
limit_usd = "2.00"
per = "minute"
hard = "refuse"
"""


@pytest.mark.parametrize("lasts_s", [95, 600])
def test_a_minutes_limit_holds_within_seconds_however_long_calls_last(tmp_path: Path, lasts_s: int) -> None:
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged, MINUTE, "")
        config = f'[alerts]\nfolder = "{tmp_path / "rules"}"\n'
        house = stack.enter_context(running_house(tmp_path / "data", config))
        watched = Watched(house, told, paged, tmp_path / "rules")
        eventually(lambda: 1 <= time.time() % 60 < 50, 15)  # so that the minute does not end meanwhile
        began_ns = time.time_ns() - lasts_s * 10**9
        watched.spend(3, 1.0, started_at=began_ns, latency_ms=lasts_s * 1_000)
        eventually(lambda: watched.limits().get(SEARCH, {}).get("state") == "hard", 5)
        eventually(lambda: len(paged.bodies()) == 1, TOLD_S_MAX)


MONTHS = """
unpriced_call_usd = "0.05"

[[budget]]
name = "search-month"
feature = "search"
limit_usd = "1.00"
per = "month"
hard = "refuse"

[[budget]]
name = "user-of-search-month"
feature = "search"
user = "*"
limit_usd = "1.00"
per = "month"
hard = "refuse"
"""


def test_a_budget_counts_what_was_spent_before_anybody_counted_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        told, paged = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", told, paged, MONTHS, "")
        with running_house(tmp_path / "data") as house:
            ago = {"started_at": time.time_ns() - 120 * 10**9}  # long enough ago to be settled
            Watched(house, told, paged, tmp_path / "rules").spend(8, 0.15, user_id="u-7", **ago)
            house.settle()
            scope = "/v1/stats?window=month&kind=feature&feature=search"
            eventually(lambda: house.ask("GET", scope).json["scopes"][0]["calls"] == 8, TOLD_S_MAX)
            house.process.terminate()
            house.process.wait(STOP_S_MAX)
        # The feature's users were not counted one by one; and statistics that are younger than the calls know nothing.
        for file in (tmp_path / "data").glob("statistics.db*"):
            file.unlink()
        config = f'[alerts]\nfolder = "{tmp_path / "rules"}"\n'
        with running_house(tmp_path / "data", config) as again:
            watched = Watched(again, told, paged, tmp_path / "rules")
            of_user = '["","feature_user","search","u-7"]'
            eventually(lambda: watched.limits().keys() == {SEARCH, of_user}, TOLD_S_MAX)
            spent = {limit["spent"] for limit in watched.limits().values()}
            assert spent == {8 * 150_000_000}


def test_what_was_decided_stands_after_a_kill(watched: Watched, tmp_path: Path) -> None:
    watched.spend(8, 0.15)
    eventually(lambda: len(watched.pager.bodies()) == 1, TOLD_S_MAX)
    watched.house.kill()
    config = f'[alerts]\nfolder = "{watched.rules}"\n'
    with running_house(tmp_path / "data", config) as again:
        eventually(lambda: again.ask("GET", "/v1/limits").status == 200, 20)
        limits = again.ask("GET", "/v1/limits").json["limits"]
        assert [limit["state"] for limit in limits] == ["hard"]
        watched.house = again
        watched.spend(1, 0.15)
        again.settle()
        watched.spend(14, 0.15, user_id="u-7", feature="chat")
        # One incident for the feature, whatever was killed, and one for the user.
        eventually(lambda: list(open_incidents(watched.pager).values()) == [1, 1], TOLD_S_MAX)


def test_a_soft_limit_is_a_message_and_a_hard_limit_a_page_that_stops_the_spend(watched: Watched) -> None:
    watched.spend(4, 0.15)
    eventually(lambda: len(watched.slack.bodies()) == 1, TOLD_S_MAX)
    assert "50 %" in json.dumps(watched.slack.bodies()[0])
    assert "r-0" in json.dumps(watched.slack.bodies()[0])  # what proves it
    assert watched.pager.bodies() == []
    assert watched.limits()[SEARCH]["state"] == "soft"

    watched.spend(4, 0.15)
    eventually(lambda: len(watched.pager.bodies()) == 1, TOLD_S_MAX)
    (page,) = watched.pager.bodies()
    assert page["event_action"] == "trigger"
    eventually(lambda: watched.limits()[SEARCH]["state"] == "hard", TOLD_S_MAX)

    told = "SELECT budget, reason, told, amount, amount_limit, hard FROM budget_events ORDER BY decided_at"
    eventually(lambda: len(watched.house.sql(told)) == 2, TOLD_S_MAX)
    spent = watched.house.sql("SELECT sum(cost_nanousd) FROM calls WHERE feature = 'search'")[0][0]
    assert watched.house.sql(told) == [
        ["search-day", "first", True, 600_000_000, 1_000_000_000, False],
        ["search-day", "level_changed", True, int(spent), 1_000_000_000, True],
    ]
    assert watched.house.sql("SELECT kind, name, action FROM audit WHERE kind = 'budget' ORDER BY name") == [
        ["budget", "search-day", "added"],
        ["budget", "user-day", "added"],
    ]
