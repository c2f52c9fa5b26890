"""The simulator answers real HTTP like a provider, or misbehaves on demand. Without any SDK between."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from llmtrail.testing.provider import FaultMix, ProviderSimulator

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderSimulator]:
    with ProviderSimulator(seed=5, speed=1_000) as simulator:
        yield simulator


def post(provider: ProviderSimulator, path: str, body: Any, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(f"{provider.root_url}{path}", json=body, headers=named, timeout=10)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", CHAT, "chat.completion"),
        ("/openai/deployments/d/chat/completions?api-version=1", CHAT, "chat.completion"),
        ("/v1/completions", {"model": "m", "prompt": "hi"}, "text_completion"),
        ("/v1/responses", {"model": "m", "input": "hi"}, "response"),
        ("/v1/embeddings", {"model": "m", "input": ["a", "b"]}, "list"),
        ("/v1/messages", {"model": "m", "max_tokens": 9, "messages": []}, "message"),
    ],
)
def test_each_path_answers_in_its_own_format(
    provider: ProviderSimulator, path: str, body: dict[str, Any], kind: str
) -> None:
    response = post(provider, path, body)
    answer = response.json()
    assert response.status_code == 200
    assert kind in (answer.get("object"), answer.get("type"))
    assert answer["usage"]
    assert response.headers["x-request-id"] == provider.seen()[-1].request_id


def test_the_same_seed_gives_the_same_answers() -> None:
    said = []
    for seed in (1, 1, 2):
        with ProviderSimulator(seed=seed, speed=1_000) as one:
            said.append(post(one, "/v1/chat/completions", CHAT).json()["choices"])
    assert said[0] == said[1] != said[2]


def test_an_answer_is_as_long_as_a_replayed_workload_asks(provider: ProviderSimulator) -> None:
    answer = post(provider, "/v1/chat/completions", CHAT, x_simulate_output_tokens="37").json()
    assert answer["usage"]["completion_tokens"] == 37
    limited = post(provider, "/v1/chat/completions", {**CHAT, "max_tokens": 5}, x_simulate_output_tokens="37").json()
    assert limited["usage"]["completion_tokens"] == 5
    assert limited["choices"][0]["finish_reason"] == "length"


def test_a_json_answer_fits_its_schema_or_is_broken_on_request(provider: ProviderSimulator) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "kind": {"enum": ["a", "b"]},
            "count": {"type": "integer"},
            "ok": {"type": "boolean"},
            "parts": {"type": "array", "items": {"type": "number"}},
        },
    }
    body = {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}
    good = json.loads(post(provider, "/v1/chat/completions", body).json()["choices"][0]["message"]["content"])
    assert {name: type(value) for name, value in good.items()} == {
        "name": str,
        "kind": str,
        "count": int,
        "ok": bool,
        "parts": list,
    }
    broken = post(provider, "/v1/chat/completions", {**body, "model": "broken-json"}).json()
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken["choices"][0]["message"]["content"])


def test_an_error_tells_when_to_come_again(provider: ProviderSimulator) -> None:
    response = post(provider, "/v1/chat/completions", {**CHAT, "model": "429:2.5"})
    assert (response.status_code, response.headers["retry-after"]) == (429, "2.5")
    assert response.json()["error"]["code"] == "rate_limit_exceeded"
    claude = post(provider, "/v1/messages", {"model": "529", "messages": []})
    assert claude.json()["error"]["type"] == "overloaded_error"


def test_a_script_in_a_header_is_followed_by_the_clients_own_count(provider: ProviderSimulator) -> None:
    statuses = [
        post(
            provider, "/v1/chat/completions", CHAT, x_simulate="500,429,200", x_stainless_retry_count=count
        ).status_code
        for count in "012"
    ]
    assert statuses == [500, 429, 200]
    assert [request.attempt for request in provider.seen()[-3:]] == [0, 1, 2]


def test_a_cut_stream_closes_in_mid_answer(provider: ProviderSimulator) -> None:
    chunks: list[str] = []
    body = {**CHAT, "model": "cut:2", "stream": True}
    with (
        httpx2.stream("POST", f"{provider.base_url}/chat/completions", json=body) as response,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        chunks.extend(line for line in response.iter_lines() if line)
    # The role, then two words.
    assert len(chunks) == 3


def test_a_timeout_is_silence_until_the_client_gives_up(provider: ProviderSimulator) -> None:
    with pytest.raises(httpx2.ReadTimeout):
        httpx2.post(f"{provider.base_url}/chat/completions", json={**CHAT, "model": "timeout"}, timeout=0.1)


def test_faults_by_chance_can_be_switched_while_it_runs(provider: ProviderSimulator) -> None:
    provider.faults = FaultMix({"503": 1.0})
    away = post(provider, "/v1/chat/completions", CHAT).status_code
    provider.faults = FaultMix()
    assert (away, post(provider, "/v1/chat/completions", CHAT).status_code) == (503, 200)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/chat/completions", ["no object"], 400),
        ("/v1/chat/completions", {"messages": []}, 400),
        ("/v1/pictures", CHAT, 404),
    ],
)
def test_what_is_no_request_is_refused(provider: ProviderSimulator, path: str, body: Any, status: int) -> None:
    response = post(provider, path, body)
    assert response.status_code == status
    assert response.json()["error"]["message"]


def test_a_stopped_simulator_is_gone() -> None:
    with ProviderSimulator(speed=1_000) as one:
        url = one.base_url
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/models")
    with pytest.raises(RuntimeError, match="start the simulator first"):
        _ = ProviderSimulator().base_url


def test_requests_in_flight_do_not_keep_it_from_stopping() -> None:
    with ProviderSimulator(speed=1_000) as one, httpx2.Client() as http:
        slow = {**CHAT, "model": "slow:60", "stream": True}
        with http.stream("POST", f"{one.base_url}/chat/completions", json=slow) as response:
            assert response.status_code == 200
            one.stop()
