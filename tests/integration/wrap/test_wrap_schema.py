"""What a wrapped client records is a valid event, in every way a call may go."""

import contextlib
from typing import Any

import anthropic
import openai
import orjson

from llmtrail.core.codec import decode_call
from llmtrail.testing import captured
from provider_asks import MESSAGES, TOOLS

MODELS = (
    "gpt-5",
    "flaky-500:0.01-200",
    "429:0.01",
    "cut",
    "stream_error",
    "refusal",
    "content-filter",
    "length",
    "malformed-json",
    "broken-json",
)


def test_every_recorded_event_is_valid(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"messages": MESSAGES}
    with captured() as trail:
        for model in MODELS:
            for stream in (False, True):
                ask: dict[str, Any] = {**asked, "model": model, "stream": stream}
                with contextlib.suppress(Exception):
                    list(client.chat.completions.create(**ask, tools=TOOLS))
                with contextlib.suppress(Exception):
                    list(client.responses.create(model=model, input="hi", stream=stream))
                with contextlib.suppress(Exception):
                    list(claude.messages.create(**ask, max_tokens=50))
        events = trail.events
    calls = [decode_call(orjson.dumps(event)) for event in events]
    assert len(calls) == len(MODELS) * 2 * 3
    assert {call.status for call in calls} == {"ok", "error"}
    assert trail.stats.dropped_total == 0
    for call in calls:
        assert call.attempts
        assert call.retry_count == len(call.attempts) - 1
        assert call.request_model in MODELS
