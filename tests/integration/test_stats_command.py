"""`llmtrail stats` and `/v1/stats` of a house that runs, and of its folder when nothing runs."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eventually import eventually
from house import House, running_house
from llmtrail.cli.app import build
from llmtrail.cli.exits import CommandError, Exit
from tokens import strong

COUNTED_S_MAX = 20.0
EVERYTHING, ACME, NOTHING = strong("everything"), strong("acme"), strong("nothing")
TOKENS = f"""
[stats]
zones = ["UTC", "Asia/Kolkata"]
[ingest.tokens.all]
token = "{EVERYTHING}"
scopes = ["read", "ingest"]
[ingest.tokens.acme]
token = "{ACME}"
scopes = ["read"]
tenant = "acme"
[ingest.tokens.blind]
token = "{NOTHING}"
scopes = ["ingest"]
"""


def call(**fields: object) -> dict[str, object]:
    event = {
        "started_at": time.time_ns(),
        "request_model": "gpt-4o-mini",
        "provider": "openai",
        "usage": {"input_tokens": 1_000, "output_tokens": 500},
        "latency_ms": 250.0,
        "retry_count": 1,
    }
    return event | fields


def send(house: House, *calls: dict[str, object]) -> None:
    before = calls_of(house)
    answer = house.post(json.dumps(calls), {"content-type": "application/json"})
    assert answer.json["rejected"] == []
    eventually(lambda: calls_of(house) == before + len(calls), COUNTED_S_MAX)


def calls_of(house: House) -> int:
    return sum(scope["calls"] for scope in house.ask("GET", "/v1/stats").json["scopes"])


def told(folder: Path, *words: str) -> str:
    """Return what the command prints; raises CommandError as it does."""
    said = CliRunner().invoke(build(), ["stats", *words, "--data", str(folder)], env={"LLMTRAIL_TOKEN": EVERYTHING})
    if said.exception is not None:
        raise said.exception
    return said.stdout


def scopes_of(said: str) -> list[dict[str, Any]]:
    scopes: list[dict[str, Any]] = json.loads(said)["scopes"]
    return scopes


def leaves_with(code: Exit, folder: Path, *words: str) -> bool:
    with pytest.raises(CommandError) as error:
        told(folder, *words)
    return error.value.code is code


def test_figures_are_told_while_it_runs_and_afterwards(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    with running_house(folder, TOKENS, token=EVERYTHING) as house:
        send(
            house,
            call(tenant="acme", feature="search", user_id="u1", request_id="r1"),
            call(tenant="acme", feature="search", user_id="u2", status="error", failure_mode="timeout"),
            call(tenant="globex", feature="search", user_id="u1", request_model="nobody-prices-this"),
        )
        running = told(folder, "--by", "feature", "--json")
        of_acme = scopes_of(told(folder, "--scope", "feature=search", "--tenant", "acme", "--json"))
        check_refusals(house)
        check_tenants(house)
    stopped = told(folder, "--by", "feature", "--json")

    assert scopes_of(stopped) == scopes_of(running)
    assert [(scope["tenant"], scope["calls"], scope["cost_nanousd"]) for scope in scopes_of(running)] == [
        # 1,000 tokens in at 0.15 and 500 out at 0.60 dollars a million.
        ("acme", 2, 2 * (150_000 + 300_000)),
        ("globex", 1, None),
    ]
    assert of_acme == [scope for scope in scopes_of(running) if scope["tenant"] == "acme"]
    assert of_acme[0]["failures"] == {"timeout": 1}
    assert of_acme[0]["error_rate"] == 0.5
    assert abs(of_acme[0]["latency_ms"]["p95"] / 250.0 - 1) <= 1 / 128
    assert "no calls" in told(folder, "--by", "user,feature"), "no feature is named whose users are counted"
    table = told(folder, "--by", "feature")
    assert "$0.000900" in table
    assert "timeout 1" in table
    assert leaves_with(Exit.WRONG_USE, folder, "--window", "1y")
    assert leaves_with(Exit.WRONG_USE, folder, "--scope", "feature")
    assert leaves_with(Exit.WRONG_USE, folder, "--window", "month", "--zone", "Europe/Berlin")
    assert leaves_with(Exit.UNREACHABLE, tmp_path / "nothing")


def check_tenants(house: House) -> None:
    """A token of one tenant is told of that one only."""
    acme = House(house.http_url, house.sql_url, house.process, ACME)
    document = acme.ask("GET", "/v1/stats?kind=user").json
    assert {scope["tenant"] for scope in document["scopes"]} == {"acme"}
    assert (document["skewed"], document["overflowed"], document["let_go"]) == (None, None, None)
    assert [scope["request_id"] for scope in acme.ask("GET", "/v1/stats?kind=request").json["scopes"]] == ["r1"]
    assert acme.ask("GET", "/v1/stats?tenant=acme").status == 200
    assert acme.ask("GET", "/v1/stats?tenant=globex").status == 403
    assert acme.ask("GET", "/v1/stats?tenant=").status == 403


def check_refusals(house: House) -> None:
    for token, status in {"": 401, "unknown": 401, NOTHING: 403}.items():
        assert House(house.http_url, house.sql_url, house.process, token).ask("GET", "/v1/stats").status == status
    for wrong, says in {
        "window=2h": "there are 1m, 5m, 1h",
        "kind=planet": "there are tenant, feature",
        "colour=red": "there is no parameter 'colour'",
        "kind=user&feature=search": "kind user has no feature",
        "feature=a&prompt_name=b": "say which kind has feature and prompt_name",
        "order=age": "there are cost, calls",
        "limit=0": "from 1 to 1000",
        "limit=9999999999999": "from 1 to 1000",
        "limit=²": "from 1 to 1000",
        "zone=Mars": "is no time zone",
        "window=month&zone=Europe/Berlin": "months are kept for UTC, Asia/Kolkata",
        "kind=request&window=1d": "kept for an hour",
        "limit=1&limit=2": "given once",
    }.items():
        answer = house.ask("GET", f"/v1/stats?{quoted(wrong)}")
        assert (answer.status, says in answer.json["error"]) == (400, True), (wrong, answer.body)
    for right in ("window=today&zone=Europe/Berlin", "window=month&zone=Asia/Kolkata", "prompt_name=a&kind=version"):
        assert house.ask("GET", f"/v1/stats?{right}").status == 200


def quoted(query: str) -> str:
    return query.replace("²", "%C2%B2")
