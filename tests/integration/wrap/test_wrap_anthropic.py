"""A wrapped Anthropic client: messages whole and streamed, attempts, asyncio, another HTTP client."""

import asyncio
from typing import Any

import anthropic
import pytest

import llmtrail
from llmtrail.testing import Captured, captured
from llmtrail.testing.provider import ProviderSimulator
from provider_asks import MESSAGES, TOOL_SCHEMA

ASK: dict[str, Any] = {"model": "claude-sim", "max_tokens": 200, "messages": MESSAGES}
TOOL: Any = {"name": "weather", "input_schema": TOOL_SCHEMA}


def only(trail: Captured) -> dict[str, Any]:
    assert len(trail.calls) == 1, trail.calls
    return trail.calls[0]


def test_a_message_is_recorded_with_all_that_was_asked_and_answered(
    claude: anthropic.Anthropic, provider: ProviderSimulator
) -> None:
    with captured() as trail:
        answer = claude.messages.create(**ASK, system="Be brief.", metadata={"user_id": "u-1"})
        call = only(trail)
    (block,) = answer.content
    assert block.type == "text"
    assert (call["operation"], call["provider"]) == ("chat", "anthropic")
    assert call["messages"] == [{"role": "system", "content": "Be brief."}, *MESSAGES]
    assert call["output"] == {"role": "assistant", "content": block.text}
    assert call["parameters"] == {"max_tokens": 200, "metadata": {"user_id": "u-1"}}
    assert (call["request_model"], call["response_model"]) == ("claude-sim", "claude-sim")
    assert call["finish_reasons"] == ["end_turn"]
    assert call["usage"]["output_tokens"] == answer.usage.output_tokens
    assert call["attributes"]["gen_ai.response.id"] == answer.id
    assert call["provider_request_id"] == provider.seen("claude-sim")[-1].request_id
    assert (call["status"], call["retry_count"]) == ("ok", 0)


def test_cached_input_is_counted_into_input(claude: anthropic.Anthropic) -> None:
    long: list[Any] = [{"role": "user", "content": "terms " * 1_500}]
    with captured() as trail:
        claude.messages.create(**{**ASK, "messages": long})
        answer = claude.messages.create(**{**ASK, "messages": long})
        usage = trail.calls[1]["usage"]
    assert answer.usage.cache_read_input_tokens
    assert usage["cache_read_tokens"] == answer.usage.cache_read_input_tokens
    assert usage["input_tokens"] == answer.usage.input_tokens + answer.usage.cache_read_input_tokens


def test_tool_use_has_the_shape_of_openais_tool_calls(claude: anthropic.Anthropic) -> None:
    with captured() as trail:
        answer = claude.messages.create(**ASK, tools=[TOOL])
        with claude.messages.stream(**ASK, tools=[TOOL]) as stream:
            streamed = stream.get_final_message()
        calls = trail.calls
    for call, message in zip(calls, (answer, streamed), strict=True):
        (block,) = message.content
        assert block.type == "tool_use"
        (made,) = call["tool_calls"]
        assert (made["id"], made["function"]["name"]) == (block.id, "weather")
        assert made["function"]["arguments"].startswith('{"city":')
        assert call["finish_reasons"] == ["tool_use"]


def test_a_stream_is_recorded_from_the_helper_and_from_create(claude: anthropic.Anthropic) -> None:
    with captured() as trail:
        with claude.messages.stream(**ASK) as stream:
            said = "".join(stream.text_stream)
            final = stream.get_final_message()
        for _ in claude.messages.create(**ASK, stream=True):
            pass
        helper, plain = trail.calls
    assert helper["output"]["content"] == said
    assert helper["usage"]["output_tokens"] == final.usage.output_tokens
    assert helper["time_to_first_token_ms"] <= helper["latency_ms"]
    assert (helper["status"], plain["status"]) == ("ok", "ok")
    assert plain["stream"] is True


def test_a_stream_that_is_left_is_cancelled_with_what_was_taken(claude: anthropic.Anthropic) -> None:
    said = ""
    with captured() as trail:
        with claude.messages.stream(**ASK) as stream:
            for text in stream.text_stream:
                said += text
                if len(said) > 20:
                    break
        call = only(trail)
    assert (call["status"], call["failure_mode"]) == ("error", "cancelled")
    assert call["output"]["content"] == said


def test_a_stream_cut_by_the_server_keeps_what_came(claude: anthropic.Anthropic) -> None:
    with captured() as trail:
        taken: list[Any] = []
        stream = claude.messages.create(**{**ASK, "model": "cut:4"}, stream=True)
        with pytest.raises(Exception, match=r"closed|incomplete|onnection"):
            taken.extend(event for event in stream)
        call = only(trail)
    said = "".join(event.delta.text for event in taken if event.type == "content_block_delta")
    assert (call["status"], call["failure_mode"]) == ("error", "connection")
    assert call["output"]["content"] == said


def test_every_attempt_is_recorded(claude: anthropic.Anthropic, provider: ProviderSimulator) -> None:
    model = "flaky-529:0.01-429:0.01-200"
    with captured() as trail:
        claude.messages.create(**{**ASK, "model": model})
        with pytest.raises(anthropic.APITimeoutError):
            claude.with_options(max_retries=1, timeout=0.2).messages.create(**{**ASK, "model": "timeout"})
        answered, late = trail.calls
    assert [attempt["outcome"] for attempt in answered["attempts"]] == ["model_error", "rate_limited", "ok"]
    assert [attempt.get("http_status") for attempt in answered["attempts"]] == [529, 429, 200]
    assert [attempt["provider_request_id"] for attempt in answered["attempts"]] == [
        request.request_id for request in provider.seen(model)
    ]
    assert answered["attempts"][0]["error"]["type"] == "overloaded_error"
    assert answered["retry_count"] == 2
    assert [attempt["outcome"] for attempt in late["attempts"]] == ["timeout", "timeout"]
    assert late["failure_mode"] == "timeout"


def test_a_refusal_is_told(claude: anthropic.Anthropic) -> None:
    with captured() as trail:
        claude.messages.create(**{**ASK, "model": "refusal"})
        call = only(trail)
    assert (call["status"], call["failure_mode"], call["finish_reasons"]) == ("ok", "refused", ["refusal"])


def test_raw_responses_go_on_working(claude: anthropic.Anthropic) -> None:
    with captured() as trail:
        raw = claude.messages.with_raw_response.create(**ASK)
        parsed = raw.parse()
        with claude.messages.with_streaming_response.create(**ASK) as response:
            response.read()
        calls = trail.calls
    (block,) = parsed.content
    assert block.type == "text"
    assert calls[0]["output"]["content"] == block.text
    assert [call["status"] for call in calls] == ["ok", "ok"]


def test_an_async_client_is_recorded_the_same(provider: ProviderSimulator) -> None:
    async def ask() -> tuple[str, str]:
        async with llmtrail.wrap(anthropic.AsyncAnthropic(api_key="k", base_url=provider.root_url)) as made:
            answer = await made.messages.create(**ASK)
            async with made.messages.stream(**ASK) as stream:
                said = "".join([text async for text in stream.text_stream])
            async for _ in await made.messages.create(**ASK, stream=True):
                break
            (block,) = answer.content
            assert block.type == "text"
            return block.text, said

    with captured() as trail:
        whole, streamed = asyncio.run(ask())
        calls = trail.calls
    assert [call["output"]["content"] for call in calls[:2]] == [whole, streamed]
    assert [call.get("failure_mode") for call in calls] == [None, None, "cancelled"]
