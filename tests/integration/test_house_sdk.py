"""The real OpenAI client, wrapped, sends to a running house; every promise of the look-up is read back from there."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from house import House, running_house
from llmtrail.testing.provider import ProviderSimulator

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
APPLICATION = """
import openai, sys
import llmtrail
from provider_asks import MESSAGES, TOOLS

# A local host tells no provider, and a call without one has no price.
client = llmtrail.wrap(openai.OpenAI(api_key="sk-test", base_url=sys.argv[1], max_retries=3), provider="openai")
ask = client.chat.completions.create
RETRIED = {"x-simulate": "500:0.05,500:0.05,200"}
VERSIONS = {"prompt": "v12", "prompt_name": "order-status", "parser": "p3", "retrieval": "r7"}

with llmtrail.request(
    request_id="sdk-retried", user_id="u-7", feature="search", session_id="s-9", versions=VERSIONS,
    attributes={"ticket": "T-1001"}, trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
) as request:
    answer = ask(model="gpt-4o-mini", messages=MESSAGES, extra_headers=RETRIED)
    request.parser("failed", error=ValueError("no order number"))

with llmtrail.request(request_id="sdk-stream"):
    options = {"include_usage": True}
    for _ in ask(model="gpt-4o-mini", messages=MESSAGES, stream=True, stream_options=options):
        pass

with llmtrail.request(request_id="sdk-tools"):
    ask(model="gpt-4o-mini", messages=MESSAGES, tools=TOOLS, tool_choice="required")

with llmtrail.request(request_id="sdk-fallback") as request:
    try:
        ask(model="gpt-4o", messages=MESSAGES, extra_headers={"x-simulate": "400"})
    except openai.BadRequestError:
        ask(model="gpt-4o-mini", messages=MESSAGES)
        request.handled_by("fallback_model")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house") / "data"


@pytest.fixture(scope="module")
def house(folder: Path) -> Iterator[House]:
    """A house to which a real application has sent its calls."""
    with running_house(folder) as running, ProviderSimulator(speed=1000) as provider:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LLMTRAIL_")}
        done = subprocess.run(
            [sys.executable, "-c", APPLICATION, provider.base_url],
            env=environment
            | {
                "LLMTRAIL_URL": running.http_url,
                "LLMTRAIL_SPOOL": str(folder.parent / "spool"),
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        running.settle()
        yield running


def only(house: House, request_id: str) -> dict[str, Any]:
    (call,) = house.request(request_id)["calls"]
    found: dict[str, Any] = call
    return found


def test_a_retried_call_shows_each_attempt_its_cost_its_versions_and_its_parser(house: House) -> None:
    call = only(house, "sdk-retried")
    attempts = call["attempts"]
    assert [(attempt["number"], attempt["http_status"]) for attempt in attempts] == [(1, 500), (2, 500), (3, 200)]
    assert [attempt["outcome"] for attempt in attempts] == ["model_error", "model_error", "ok"]
    assert all(attempt["backoff_ms"] >= 45 for attempt in attempts[1:])
    assert (call["retry_count"], call["status"]) == (2, "ok")
    assert (call["user_id"], call["feature"], call["session_id"]) == ("u-7", "search", "s-9")
    assert call["versions"]["prompt"] == "v12"
    assert call["versions"]["retrieval"] == "r7"
    assert call["parser"]["status"] == "failed"
    assert "no order number" in call["parser"]["error"]
    assert call["usage"]["input_tokens"] > 0
    assert call["cost_nanousd"] > 0
    assert call["cost_source"] == "computed"
    row = "SELECT count(), any(retry_count), any(cost_nanousd) FROM llmtrail.calls WHERE request_id = 'sdk-retried'"
    assert house.sql(row) == [[1, 2, call["cost_nanousd"]]]
    assert house.sql("SELECT count() FROM llmtrail.attempts WHERE http_status = 500") == [[2]]


def test_a_streamed_call_is_one_call_with_usage_and_time_to_its_first_token(house: House) -> None:
    call = only(house, "sdk-stream")
    assert call["stream"] is True
    assert call["usage"]["output_tokens"] > 0
    assert 0 <= call["time_to_first_token_ms"] <= call["latency_ms"]
    assert call["finish_reasons"]
    assert call["output"]


def test_tool_calls_are_kept(house: House) -> None:
    call = only(house, "sdk-tools")
    assert "weather" in json.dumps(call["tool_calls"])


def test_a_fallback_shows_what_failed_and_what_handled_it(house: House) -> None:
    document = house.request("sdk-fallback")
    calls = {call["request_model"]: call for call in document["calls"]}
    assert set(calls) == {"gpt-4o", "gpt-4o-mini"}
    failed = calls["gpt-4o"]
    assert (failed["status"], failed["error"]["http_status"]) == ("error", 400)
    assert "fallback_model" in {call.get("handled_by") for call in calls.values()}


def test_every_id_that_a_user_may_hold_leads_to_the_call(house: House) -> None:
    call = only(house, "sdk-retried")
    assert call["trace_id"] == TRACE_ID
    for one in ("sdk-retried", call["call_id"], TRACE_ID, call["provider_request_id"], "s-9", "T-1001"):
        found = {known["call_id"] for known in house.request(one)["calls"]}
        assert call["call_id"] in found, one


def test_show_prints_the_page_and_the_document(house: House, folder: Path) -> None:
    def show(*words: str) -> str:
        command = [sys.executable, "-m", "llmtrail", "show", "sdk-retried", "--data", str(folder), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(show("--json")) == house.request("sdk-retried")
    page = show()
    for told in ("sdk-retried", "Where is my order?", "500", "v12", "no order number", "gpt-4o-mini"):
        assert told in page
