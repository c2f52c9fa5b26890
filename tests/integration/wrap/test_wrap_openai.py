"""A wrapped OpenAI client behaves as before, and each of its calls is on the trail once."""

import asyncio
import json
from typing import Any

import httpx
import httpx2
import openai
import pydantic
import pytest

import llmtrail
from llmtrail.testing import Captured, captured
from llmtrail.testing.provider import ProviderSimulator
from provider_asks import MESSAGES, TOOLS

SCRIPTED = {"x-simulate-output-tokens": "5"}


def only(trail: Captured) -> dict[str, Any]:
    assert len(trail.calls) == 1, trail.calls
    return trail.calls[0]


def test_a_wrapped_client_is_the_same_object_of_the_same_type(client: openai.OpenAI) -> None:
    assert type(client) is openai.OpenAI
    assert llmtrail.wrap(client) is client


def test_a_chat_completion_is_recorded_with_all_that_was_asked_and_answered(
    client: openai.OpenAI,
    provider: ProviderSimulator,
) -> None:
    with captured() as trail:
        answer = client.chat.completions.create(
            model="gpt-5-mini", messages=MESSAGES, temperature=0.5, user="u-1", extra_body={"api_key": "sk-secret"}
        )
        call = only(trail)
    assert call["operation"] == "chat"
    assert call["request_model"] == call["response_model"] == "gpt-5-mini"
    assert call["messages"] == MESSAGES
    assert call["output"] == {"role": "assistant", "content": answer.choices[0].message.content}
    assert call["finish_reasons"] == ["stop"]
    assert call["parameters"] == {"temperature": 0.5, "user": "u-1", "api_key": "[redacted:secret]"}
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert call["usage"]["input_tokens"] == answer.usage.prompt_tokens
    assert call["usage"]["output_tokens"] == answer.usage.completion_tokens
    assert call["usage"]["reasoning_tokens"] == answer.usage.completion_tokens_details.reasoning_tokens
    assert call["usage"]["reasoning_tokens"] > 0
    assert (call["status"], call.get("failure_mode"), call["stream"]) == ("ok", None, False)
    assert call["attributes"]["gen_ai.response.id"] == answer.id
    assert f"http://{call['attributes']['server.address']}:{call['attributes']['server.port']}" == provider.root_url
    assert call["provider_request_id"] == provider.seen("gpt-5-mini")[-1].request_id
    assert call["retry_count"] == 0
    assert "sk-" not in json.dumps(call)


def test_cached_input_is_told_apart(client: openai.OpenAI) -> None:
    long: list[Any] = [{"role": "user", "content": "policy " * 1_000}]
    with captured() as trail:
        client.chat.completions.create(model="gpt-4o", messages=long)
        client.chat.completions.create(model="gpt-4o", messages=long)
        first, second = trail.calls
    assert first["usage"]["cache_read_tokens"] == 0
    assert 1024 <= second["usage"]["cache_read_tokens"] <= second["usage"]["input_tokens"]


def test_messages_are_recorded_as_they_were_sent_though_the_agent_goes_on_appending(
    client: openai.OpenAI,
) -> None:
    messages: list[Any] = [{"role": "user", "content": "first"}]
    with captured() as trail:
        client.chat.completions.create(model="gpt-4o", messages=messages)
        messages[0]["content"] = "changed"
        messages.append({"role": "user", "content": "second"})
        assert only(trail)["messages"] == [{"role": "user", "content": "first"}]


def test_tool_calls_are_recorded(client: openai.OpenAI) -> None:
    with captured() as trail:
        answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, tools=TOOLS)
        call = only(trail)
    made = (answer.choices[0].message.tool_calls or [])[0]
    assert made.type == "function"
    expected = {"name": "weather", "arguments": made.function.arguments}
    assert call["tool_calls"] == [{"id": made.id, "type": "function", "function": expected}]
    assert call["finish_reasons"] == ["tool_calls"]
    assert call["parameters"]["tools"] == TOOLS


@pytest.mark.parametrize(
    ("model", "failure"),
    [("refusal", "refused"), ("content-filter", "content_filtered"), ("length", "truncated")],
)
def test_an_answer_that_is_not_what_was_asked_says_why(client: openai.OpenAI, model: str, failure: str) -> None:
    with captured() as trail:
        client.chat.completions.create(model=model, messages=MESSAGES)
        call = only(trail)
    assert (call["status"], call["failure_mode"]) == ("ok", failure)


def test_the_responses_api_is_recorded(client: openai.OpenAI) -> None:
    with captured() as trail:
        answer = client.responses.create(model="gpt-5", instructions="Be brief.", input="Where is my order?")
        call = only(trail)
    assert call["operation"] == "chat"
    assert call["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is my order?"},
    ]
    assert call["output"]["content"] == answer.output_text
    assert answer.usage is not None
    assert call["usage"]["input_tokens"] == answer.usage.input_tokens
    assert call["usage"]["reasoning_tokens"] == answer.usage.output_tokens_details.reasoning_tokens
    assert call["finish_reasons"] == ["stop"]


def test_a_tool_call_of_the_responses_api_has_the_shape_of_a_chats(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
    with captured() as trail:
        client.responses.create(model="gpt-4o", input="hi", tools=[tool])
        call = only(trail)
    assert call["tool_calls"][0]["function"]["name"] == "weather"
    assert call["finish_reasons"] == ["tool_calls"]


def test_embeddings_are_counted_and_their_vectors_left_out(client: openai.OpenAI) -> None:
    with captured() as trail:
        answer = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
        call = only(trail)
    assert len(answer.data) == 2
    assert (call["operation"], call["prompt"]) == ("embeddings", ["one", "two"])
    assert call["usage"]["input_tokens"] == answer.usage.prompt_tokens
    assert "output" not in call
    assert call["attributes"]["embeddings.count"] == 2


def test_a_legacy_completion_is_recorded(client: openai.OpenAI) -> None:
    with captured() as trail:
        answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Say it")
        call = only(trail)
    assert (call["operation"], call["prompt"]) == ("text_completion", "Say it")
    assert call["output"] == answer.choices[0].text


def test_raw_and_streaming_responses_go_on_working_and_are_recorded_once(client: openai.OpenAI) -> None:
    create: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
    with captured() as trail:
        raw = client.chat.completions.with_raw_response.create(**create)
        parsed = raw.parse()
        with client.chat.completions.with_streaming_response.create(**create) as response:
            read = json.loads(response.read())
        with client.chat.completions.with_streaming_response.create(**create) as response:
            lazily = response.parse()
        calls = trail.calls
    said = [parsed.choices[0].message.content, read["choices"][0]["message"]["content"]]
    said.append(lazily.choices[0].message.content)
    assert raw.retries_taken == 0
    assert [call["output"]["content"] for call in calls] == said
    assert all(call["status"] == "ok" for call in calls)


class Order(pydantic.BaseModel):
    city: str
    days: int


def test_a_parsed_answer_is_an_ok_parser_and_its_value(client: openai.OpenAI) -> None:
    with captured() as trail:
        answer = client.chat.completions.parse(model="gpt-4o", messages=MESSAGES, response_format=Order)
        call = only(trail)
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, Order)
    assert call["parser"] == {"status": "ok", "value": parsed.model_dump()}


def test_an_answer_that_does_not_parse_is_recorded_and_raised_unchanged(client: openai.OpenAI) -> None:
    with captured() as trail:
        with pytest.raises(pydantic.ValidationError):
            client.chat.completions.parse(model="broken-json", messages=MESSAGES, response_format=Order)
        call = only(trail)
    assert (call["status"], call["failure_mode"], call["parser"]["status"]) == ("ok", "parser_failed", "failed")
    assert call["output"]["content"].startswith("Here is the JSON")
    assert call["attempts"][0]["outcome"] == "ok"


@pytest.mark.parametrize(("model", "failure"), [("length", "truncated"), ("content-filter", "content_filtered")])
def test_an_answer_too_short_to_parse_says_why(client: openai.OpenAI, model: str, failure: str) -> None:
    with captured() as trail:
        with pytest.raises(openai.OpenAIError):
            client.chat.completions.parse(model=model, messages=MESSAGES, response_format=Order)
        call = only(trail)
    assert (call["status"], call["failure_mode"], call["parser"]) == ("ok", failure, {"status": "not_run"})
    assert call["output"]["content"]


def test_a_parsed_response_is_an_ok_parser(client: openai.OpenAI) -> None:
    with captured() as trail:
        answer = client.responses.parse(model="gpt-4o", input="hi", text_format=Order)
        call = only(trail)
    assert answer.output_parsed is not None
    assert call["parser"] == {"status": "ok", "value": answer.output_parsed.model_dump()}


def test_a_body_that_is_not_json_is_the_models_error(client: openai.OpenAI) -> None:
    with captured() as trail:
        with pytest.raises(json.JSONDecodeError):
            client.chat.completions.create(model="malformed-json", messages=MESSAGES)
        call = only(trail)
    assert (call["status"], call["failure_mode"]) == ("error", "model_error")


def test_calls_inside_a_request_carry_its_fields(client: openai.OpenAI) -> None:
    with captured() as trail:
        with llmtrail.request(request_id="r-42", user_id="u-7", versions={"prompt": "v12"}) as request:
            client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            request.parser("failed", error="no JSON")
        call = only(trail)
    assert (call["request_id"], call["user_id"], call["versions"]) == ("r-42", "u-7", {"prompt": "v12"})
    assert call["parser"] == {"status": "failed", "error": "no JSON"}
    assert call["failure_mode"] == "parser_failed"


def test_azure_is_told_by_its_class(provider: ProviderSimulator) -> None:
    azure = openai.AzureOpenAI(api_key="k", api_version="2024-10-21", azure_endpoint=provider.root_url)
    with captured() as trail, llmtrail.wrap(azure) as client:
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        call = only(trail)
    assert provider.seen()[-1].path == "/openai/deployments/gpt-4o/chat/completions"
    assert (call["provider"], call["status"]) == ("azure", "ok")


def test_the_application_may_name_the_provider_behind_a_gateway(provider: ProviderSimulator) -> None:
    made = openai.OpenAI(api_key="k", base_url=provider.base_url)
    with captured() as trail, llmtrail.wrap(made, provider="groq") as client:
        client.with_options(timeout=5).chat.completions.create(model="llama", messages=MESSAGES)
        assert only(trail)["provider"] == "groq"


def test_what_the_client_refuses_before_sending_is_recorded_without_attempts(client: openai.OpenAI) -> None:
    with captured() as trail:
        broken = client.with_options(max_retries=0)
        broken._prepare_options = _raise  # type: ignore[method-assign]  # stands for any failing hook of the SDK
        with pytest.raises(RuntimeError, match="no key today"):
            broken.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        call = only(trail)
    assert (call["status"], call["failure_mode"]) == ("error", "unknown")
    assert call["error"] == {"type": "RuntimeError", "message": "no key today"}
    assert call["messages"] == MESSAGES
    assert "attempts" not in call
    assert "retry_count" not in call


def _raise(options: Any) -> Any:
    raise RuntimeError("no key today")


def test_other_requests_of_the_client_are_no_calls(client: openai.OpenAI) -> None:
    with captured() as trail:
        assert list(client.models.list()) == []
        assert trail.calls == []


def test_an_async_client_is_recorded_the_same(provider: ProviderSimulator) -> None:
    async def ask() -> Any:
        async with llmtrail.wrap(openai.AsyncOpenAI(api_key="k", base_url=provider.base_url)) as client:
            answer = await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
            raw = await client.chat.completions.with_raw_response.create(model="gpt-4o", messages=MESSAGES)
            async with client.responses.with_streaming_response.create(model="gpt-4o", input="hi") as response:
                await response.read()
            return answer.choices[0].message.content, raw.parse().choices[0].message.content

    with captured() as trail:
        said = asyncio.run(ask())
        calls = trail.calls
    assert [call["output"]["content"] for call in calls[:2]] == list(said)
    assert [call["status"] for call in calls] == ["ok"] * 3


def test_a_bug_of_ours_never_reaches_the_application(
    client: openai.OpenAI,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("llmtrail.emit.wrap.live.get_recorder", broken)
    monkeypatch.setattr("llmtrail.emit.wrap.client.endpoint_of", lambda _path: 1 / 0)
    answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert answer.choices[0].message.content
    monkeypatch.undo()
    monkeypatch.setattr("llmtrail.emit.wrap.live.get_recorder", broken)
    for _ in range(2):
        assert client.chat.completions.create(model="gpt-4o", messages=MESSAGES).choices[0].message.content
    told = [record for record in caplog.records if "hand a call over" in record.getMessage()]
    assert len(told) <= 1


def test_a_client_over_the_older_httpx_is_recorded(provider: ProviderSimulator) -> None:
    with httpx.Client() as http, captured() as trail:
        older: Any = http
        made = llmtrail.wrap(openai.OpenAI(api_key="k", base_url=provider.base_url, http_client=older))
        made.chat.completions.create(model="flaky-500:0.01-200", messages=MESSAGES)
        with made.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True) as stream:
            next(stream)
        retried, left = trail.calls
    assert [attempt["outcome"] for attempt in retried["attempts"]] == ["model_error", "ok"]
    assert left["failure_mode"] == "cancelled"


def test_a_client_with_an_http_client_of_its_own_is_recorded(provider: ProviderSimulator) -> None:
    with httpx2.Client(headers={"x-team": "search"}) as http, captured() as trail:
        first = llmtrail.wrap(openai.OpenAI(api_key="k", base_url=provider.base_url, http_client=http))
        second = llmtrail.wrap(openai.OpenAI(api_key="k", base_url=provider.base_url, http_client=http))
        plain = openai.OpenAI(api_key="k", base_url=provider.base_url, http_client=http)
        for one in (first, second, plain):
            one.chat.completions.create(model="shared", messages=MESSAGES)
        calls = trail.calls
    assert len(provider.seen("shared")) == 3
    assert [len(call["attempts"]) for call in calls] == [1, 1]
    assert provider.seen("shared")[0].headers["x-team"] == "search"
