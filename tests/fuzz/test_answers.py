"""Whatever a provider or a gateway answers, the application gets what it would get without us."""

import json
from functools import partial
from typing import Any

import httpx2 as httpx  # the OpenAI client's own
import openai
import pytest

import hostile_inputs
import llmtrail
from fuzzing import Fuzz, decodes, mutated
from llmtrail.emit.answer import read_answer
from llmtrail.emit.wrap import swallowed
from llmtrail.emit.wrap.sse import aws_events_of, events_of
from llmtrail.testing import captured
from provider_asks import MESSAGES

CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "hello",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o"}
STREAM = b"".join(
    b"data: " + json.dumps(CHUNK | more).encode() + b"\n\n"
    for more in (
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "he"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "{"}}]}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": CHAT["usage"]},
    )
) + b"data: [DONE]\n\n"  # fmt: skip
ERRORS = [
    json.dumps({"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit"}}).encode(),
    json.dumps({"error": "text"}).encode(),
    b"<html>502 Bad Gateway</html>",
]
AWS = bytes.fromhex("0000003f0000000c00000000") + b"\x05:type\x07\x00\x00" + b'{"bytes":"eyJhIjoxfQ=="}' + b"\0" * 16


def _client(status: int, body: bytes, kind: str) -> openai.OpenAI:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=body, headers={"content-type": kind})

    transport = httpx.MockTransport(answer)
    return openai.OpenAI(
        api_key="k", base_url="http://provider/v1", max_retries=0, http_client=httpx.Client(transport=transport)
    )


def _outcome(client: openai.OpenAI, *, stream: bool) -> str:
    """What the application sees: the answer, or the kind of error."""
    create: Any = client.chat.completions.create
    try:
        with client:
            if stream:
                return repr(list(create(model="gpt-4o", messages=MESSAGES, stream=True)))
            return repr(create(model="gpt-4o", messages=MESSAGES))
    except Exception as error:  # noqa: BLE001 - whatever the client raises is what is compared.
        return type(error).__name__


def _same(status: int, body: bytes, *, stream: bool) -> None:
    kind = "text/event-stream" if stream else "application/json"
    bare = _outcome(_client(status, body, kind), stream=stream)
    before = swallowed()
    with captured(limits=[]) as trail:
        wrapped = _outcome(llmtrail.wrap(_client(status, body, kind)), stream=stream)
        calls = trail.calls
    assert wrapped == bare
    assert swallowed() == before, "reading the answer failed; it was only hidden from the application"
    assert len(calls) == 1


@pytest.mark.fuzz
def test_any_answer_is_the_applications_and_a_call(fuzz: Fuzz) -> None:
    check = decodes(partial(_same, 200, stream=False), cpu_s_max=5.0)
    fuzz(mutated([json.dumps(CHAT).encode()]), check, hostile_inputs.JSON.values())


@pytest.mark.fuzz
def test_any_stream_is_the_applications_and_a_call(fuzz: Fuzz) -> None:
    known = [STREAM, STREAM[:-30], b"data: " + b"[" * 50_000 + b"\n\n", b"data: {\n\n", b"\xff\xfe"]
    fuzz(mutated([STREAM]), decodes(partial(_same, 200, stream=True), cpu_s_max=5.0), known)


@pytest.mark.fuzz
def test_any_error_is_the_applications_and_a_call(fuzz: Fuzz) -> None:
    fuzz(mutated(ERRORS), decodes(partial(_same, 429, stream=False), cpu_s_max=5.0), ERRORS)


@pytest.mark.fuzz
def test_any_bytes_of_a_stream_are_events(fuzz: Fuzz) -> None:
    def check(raw: bytes) -> None:
        events_of(raw)
        aws_events_of(raw)

    fuzz(mutated([STREAM, AWS]), decodes(check), [b"\0" * 64, b"\xff" * 64])


@pytest.mark.fuzz
@pytest.mark.parametrize("status", [200, 400, 429])
def test_any_answer_of_a_gateway_says_what_becomes_of_the_calls(fuzz: Fuzz, status: int) -> None:
    answers = [
        b'{"accepted": 2, "rejected": [{"index": 1, "call_id": "a", "reason": "not_json", "detail": "d"}]}',
        b'{"reason": "too_large", "rejected_count": 3, "rejected": []}',
    ]

    def check(body: bytes) -> None:
        for retry_after in (None, body[:20].decode("latin-1"), "9" * 400, "Wed, 21 Oct 2026 07:28:00 GMT"):
            read_answer(status, body, retry_after, 3, 1_000.0)

    fuzz(mutated(answers), decodes(check), hostile_inputs.JSON.values())
