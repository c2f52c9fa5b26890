"""Answers that no provider gave, read by the SDKs' own helpers: parsed, with tools, by streams' accumulators."""

from typing import Any

import anthropic
import openai
import pydantic

import llmtrail
from limits_house import hard_limit
from llmtrail.core.limit import Behaviour
from llmtrail.emit.wrap import swallowed
from llmtrail.testing import captured
from provider_asks import MESSAGES, TOOL_SCHEMA, TOOLS

CLAUDE_TOOLS: Any = [{"name": "weather", "input_schema": TOOL_SCHEMA}]
RESPONSE_TOOLS: Any = [{"type": "function", "name": "weather", "parameters": TOOL_SCHEMA, "strict": None}]


class Figure(pydantic.BaseModel):
    """What is asked for as JSON."""

    a: int


def test_a_static_message_that_is_the_json_asked_for_is_parsed(client: openai.OpenAI) -> None:
    limit = hard_limit("u-1", behaviour=Behaviour.STATIC_MESSAGE, message='{"a": 3}')
    with captured(limits=[limit]) as trail, llmtrail.request(user_id="u-1"):
        chat = client.chat.completions.parse(model="gpt-4o", messages=MESSAGES, response_format=Figure)
        response = client.responses.parse(model="gpt-4o", input="x", text_format=Figure)
        with client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=MESSAGES) as raw:
            text = raw.parse().choices[0].message.content
        assert [call["handled_by"] for call in trail.calls] == ["static_message"] * 3

    assert chat.choices[0].message.parsed == response.output_parsed == Figure(a=3)
    assert text == '{"a": 3}'


def test_former_answers_with_tool_calls_are_streamed_again_as_the_sdks_put_them_together(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    ask: Any = {"model": "gpt-4o", "messages": MESSAGES, "tools": TOOLS}
    ask_claude: Any = {"model": "claude-sim", "max_tokens": 50, "messages": MESSAGES, "tools": CLAUDE_TOOLS}
    ask_response: Any = {"model": "gpt-4o", "input": "with tools", "tools": RESPONSE_TOOLS}
    with captured(limits=[]) as trail:
        chat = client.chat.completions.create(**ask)
        message = claude.messages.create(**ask_claude)
        response = client.responses.create(**ask_response)
        assert len(trail.calls) == 3
    before = swallowed()

    with captured(limits=[hard_limit("u-1", behaviour=Behaviour.CACHED_ANSWER)]) as trail:
        with llmtrail.request(user_id="u-1"):
            with client.chat.completions.stream(**ask) as chat_stream:
                chat_again = chat_stream.get_final_completion()
            with claude.messages.stream(**ask_claude) as message_stream:
                message_again = message_stream.get_final_message()
            with client.responses.stream(**ask_response) as response_stream:
                response_again = response_stream.get_final_response()
        calls = trail.calls

    first, again = (found.choices[0].message.tool_calls for found in (chat, chat_again))
    assert first
    assert again
    assert [call.to_dict()["function"]["arguments"] for call in again] == [  # type: ignore[index]  # A plain dict.
        call.to_dict()["function"]["arguments"]  # type: ignore[index]  # A plain dict.
        for call in first
    ]
    assert chat_again.choices[0].finish_reason == "tool_calls"
    assert [block.to_dict() for block in message_again.content] == [block.to_dict() for block in message.content]
    assert message_again.stop_reason == "tool_use"
    assert [item.type for item in response_again.output] == [item.type for item in response.output]
    assert [call["handled_by"] for call in calls] == ["cached_answer"] * 3
    assert all(call["tool_calls"] for call in calls)
    assert swallowed() == before


def test_a_message_that_came_as_a_stream_is_given_again_whole(claude: anthropic.Anthropic) -> None:
    ask: Any = {"model": "claude-sim", "max_tokens": 9_000, "messages": [{"role": "user", "content": "as a stream"}]}
    with captured(limits=[]) as trail:
        with claude.messages.stream(**ask) as stream:
            said = "".join(stream.text_stream)
        assert len(trail.calls) == 1

    with captured(limits=[hard_limit("u-1", behaviour=Behaviour.CACHED_ANSWER)]), llmtrail.request(user_id="u-1"):
        again = claude.messages.create(**ask)

    assert again.content[0].to_dict()["text"] == said
    assert again.usage.output_tokens == 0
