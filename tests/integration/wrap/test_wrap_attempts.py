"""Every HTTP attempt of a call is on the trail, whatever became of it."""

import asyncio
import itertools
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

import llmtrail
from answering_server import answering
from eventually import eventually
from llmtrail.testing import captured
from llmtrail.testing.provider import FaultMix, ProviderSimulator
from provider_asks import MESSAGES

# 500 and 429 tell how soon to come again, so that tests need not wait for the client's own back-off.
FLAKY = "flaky-500:0.05-500:0.05-200"


def check_attempts(call: dict[str, Any], outcomes: Sequence[tuple[str, int | None]]) -> None:
    attempts = call["attempts"]
    assert [(attempt["outcome"], attempt.get("http_status")) for attempt in attempts] == outcomes
    assert [attempt["number"] for attempt in attempts] == list(range(1, len(outcomes) + 1))
    assert call["retry_count"] == len(outcomes) - 1
    assert "backoff_ms" not in attempts[0]
    for before, after in itertools.pairwise(attempts):
        end_ns = before["started_at"] + before["latency_ms"] * 1e6
        assert after["started_at"] - end_ns == pytest.approx(after["backoff_ms"] * 1e6, abs=2e4)


def test_a_good_status_with_an_error_in_its_body_is_no_good_attempt() -> None:
    body = {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min"}}
    with answering(body, headers={"cf-ray": "9f-FRA"}) as server, captured() as trail:
        client = llmtrail.wrap(openai.OpenAI(api_key="k", base_url=server.url))
        client.chat.completions.create(model="openai/gpt-4o", messages=MESSAGES)
        (call,) = trail.calls
    (attempt,) = call["attempts"]
    assert (attempt["http_status"], attempt["outcome"]) == (200, "rate_limited")
    assert (call["error"]["http_status"], call["provider_request_id"]) == (429, "9f-FRA")


def test_a_call_that_failed_twice_and_then_answered_is_one_call_of_three_attempts(
    client: openai.OpenAI,
    provider: ProviderSimulator,
) -> None:
    with captured() as trail:
        client.chat.completions.create(model=FLAKY, messages=MESSAGES)
        (call,) = trail.calls
    check_attempts(call, [("model_error", 500), ("model_error", 500), ("ok", 200)])
    assert call["status"] == "ok"
    assert [attempt["provider_request_id"] for attempt in call["attempts"]] == [
        request.request_id for request in provider.seen(FLAKY)
    ]
    assert call["attempts"][0]["error"]["message"] == "simulated error 500"
    assert all(attempt["backoff_ms"] >= 45 for attempt in call["attempts"][1:])
    assert call["latency_ms"] >= sum(attempt["latency_ms"] for attempt in call["attempts"])


def test_a_rate_limit_waits_as_long_as_the_provider_asks(client: openai.OpenAI) -> None:
    with captured() as trail:
        client.chat.completions.create(model="flaky-429:0.3-200", messages=MESSAGES)
        (call,) = trail.calls
    check_attempts(call, [("rate_limited", 429), ("ok", 200)])
    assert 290 <= call["attempts"][1]["backoff_ms"] < 2_000
    assert call["attempts"][0]["error"]["type"] == "rate_limit_exceeded"


def test_an_error_that_outlasts_all_retries_passes_through_and_is_recorded(client: openai.OpenAI) -> None:
    with captured() as trail:
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(model="429:0.01", messages=MESSAGES)
        (call,) = trail.calls
    check_attempts(call, [("rate_limited", 429)] * 3)
    assert (call["status"], call["failure_mode"]) == ("error", "rate_limited")
    assert call["error"] == {"type": "RateLimitError", "message": str(raised.value), "http_status": 429}
    assert call["messages"] == MESSAGES


@pytest.mark.parametrize(("status", "kind"), [(400, "BadRequestError"), (401, "AuthenticationError")])
def test_an_error_that_is_not_retried_is_one_attempt(client: openai.OpenAI, status: int, kind: str) -> None:
    with captured() as trail:
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model=str(status), messages=MESSAGES)
        (call,) = trail.calls
    check_attempts(call, [("model_error", status)])
    assert (call["failure_mode"], call["error"]["type"]) == ("model_error", kind)


def test_retries_set_for_one_call_are_counted(client: openai.OpenAI) -> None:
    with captured() as trail:
        patient = client.with_options(max_retries=5)
        patient.chat.completions.create(model="flaky-503:0.01-503:0.01-503:0.01-503:0.01-200", messages=MESSAGES)
        with pytest.raises(openai.InternalServerError):
            client.copy(max_retries=0).chat.completions.create(model="500", messages=MESSAGES)
        patient_call, hasty_call = trail.calls
    check_attempts(patient_call, [("model_error", 503)] * 4 + [("ok", 200)])
    check_attempts(hasty_call, [("model_error", 500)])


def test_timeouts_are_attempts(client: openai.OpenAI) -> None:
    with captured() as trail:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(max_retries=1, timeout=0.2).chat.completions.create(model="timeout", messages=MESSAGES)
        (call,) = trail.calls
    check_attempts(call, [("timeout", None)] * 2)
    assert (call["failure_mode"], call["error"]["type"]) == ("timeout", "APITimeoutError")
    assert call["attempts"][0]["error"]["type"] == "ReadTimeout"
    assert call["attempts"][0]["latency_ms"] >= 195


def test_a_provider_that_cannot_be_reached_is_told_by_every_attempt() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with captured() as trail:
        away = llmtrail.wrap(openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{port}/v1", max_retries=1))
        with pytest.raises(openai.APIConnectionError), away:
            away.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        (call,) = trail.calls
    check_attempts(call, [("connection", None)] * 2)
    assert call["failure_mode"] == "connection"
    assert call["attempts"][0]["error"]["type"] == "ConnectError"


def test_an_answer_cut_in_its_body_is_tried_again(client: openai.OpenAI) -> None:
    with captured() as trail:
        client.chat.completions.create(model="flaky-cut-200", messages=MESSAGES)
        (call,) = trail.calls
    check_attempts(call, [("connection", None), ("ok", 200)])


def test_the_exception_is_the_providers_own_object(provider: ProviderSimulator) -> None:
    class Refused(httpx2.ConnectError):
        pass

    mine = Refused("no way")

    def refuse(_request: httpx2.Request) -> httpx2.Response:
        raise mine

    http = httpx2.Client(transport=httpx2.MockTransport(refuse))
    with captured() as trail, http:
        made = llmtrail.wrap(openai.OpenAI(api_key="k", max_retries=0, http_client=http))
        with pytest.raises(openai.APIConnectionError) as raised:
            made.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        (call,) = trail.calls
    assert raised.value.__cause__ is mine
    assert call["provider"] == "openai"


def test_attempts_belong_to_their_own_call_under_threads(
    client: openai.OpenAI,
    provider: ProviderSimulator,
) -> None:
    models = [f"flaky-{'500:0.01-' * (number % 3)}200" for number in range(60)]
    provider.requests.clear()
    with captured() as trail:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda model: client.chat.completions.create(model=model, messages=MESSAGES), models))
        calls = trail.calls
    check_counts(calls, models, provider)


def test_attempts_belong_to_their_own_call_under_asyncio(provider: ProviderSimulator) -> None:
    models = [f"flaky-{'503:0.01-' * (number % 3)}200" for number in range(60)]

    async def ask_all() -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=provider.base_url) as made:
            asked = llmtrail.wrap(made)
            create = asked.chat.completions.create
            await asyncio.gather(*(create(model=model, messages=MESSAGES) for model in models))

    provider.requests.clear()
    with captured() as trail:
        asyncio.run(ask_all())
        calls = trail.calls
    check_counts(calls, models, provider)


def check_counts(calls: list[dict[str, Any]], models: list[str], simulator: ProviderSimulator) -> None:
    assert sorted(call["request_model"] for call in calls) == sorted(models)
    for call in calls:
        assert call["retry_count"] == call["request_model"].count("-") - 1, call
    told = [attempt["provider_request_id"] for call in calls for attempt in call["attempts"]]
    assert sorted(told) == sorted(request.request_id for model in set(models) for request in simulator.seen(model))


def test_an_incident_switched_on_at_run_time_is_seen_in_the_attempts(
    client: openai.OpenAI,
    provider: ProviderSimulator,
) -> None:
    with captured() as trail:
        provider.faults = FaultMix({"503:0.01": 1.0}, models=frozenset({"gpt-4o"}))
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES)
        provider.faults = FaultMix()
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        calls = trail.calls
    assert [(call["status"], call["retry_count"]) for call in calls] == [("error", 2), ("ok", 0), ("ok", 0)]


def test_a_cancelled_task_is_recorded_as_cancelled(provider: ProviderSimulator) -> None:
    async def ask() -> None:
        async with llmtrail.wrap(openai.AsyncOpenAI(api_key="k", base_url=provider.base_url)) as made:
            task = asyncio.create_task(made.chat.completions.create(model="timeout", messages=MESSAGES))
            await asyncio.to_thread(eventually, lambda: provider.seen("timeout"), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    provider.requests.clear()
    with captured() as trail:
        asyncio.run(ask())
        (call,) = trail.calls
    check_attempts(call, [("cancelled", None)])
    assert (call["status"], call["failure_mode"]) == ("error", "cancelled")
