"""What providers answer is read whatever its shape, and nothing they may send breaks the record."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.codec import decode_call
from llmtrail.core.failure import FailureMode
from llmtrail.emit.encode import encode
from llmtrail.emit.wrap.anthropic_messages import assemble_message, read_message
from llmtrail.emit.wrap.asked import SECRET, asked_fields, masked, unsent
from llmtrail.emit.wrap.build import ASSEMBLERS, READERS, found_fields
from llmtrail.emit.wrap.endpoints import Endpoint, endpoint_of
from llmtrail.emit.wrap.error_bodies import error_in
from llmtrail.emit.wrap.judge import failure_of
from llmtrail.emit.wrap.live import Raised
from llmtrail.emit.wrap.openai_chat import (
    assemble_chat,
    read_chat,
)
from llmtrail.emit.wrap.openai_responses import read_response
from llmtrail.emit.wrap.providers import provider_of
from llmtrail.emit.wrap.sse import aws_events_of, events_of
from llmtrail.emit.wrap.usage import counted

OPENAI_USAGE = {
    "chat with details": (
        {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
            "prompt_tokens_details": {"cached_tokens": 64, "audio_tokens": 3},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
        {
            "input_tokens": 100,
            "output_tokens": 20,
            "cache_read_tokens": 64,
            "input_audio_tokens": 3,
            "reasoning_tokens": 7,
            "total_tokens": 120,
        },
    ),
    "responses": (
        {
            "input_tokens": 9,
            "output_tokens": 2,
            "input_tokens_details": {"cached_tokens": 4},
            "output_tokens_details": {"reasoning_tokens": 1},
        },
        {"input_tokens": 9, "output_tokens": 2, "cache_read_tokens": 4, "reasoning_tokens": 1},
    ),
    "embeddings": ({"prompt_tokens": 5, "total_tokens": 5}, {"input_tokens": 5, "output_tokens": 0, "total_tokens": 5}),
    "deepseek's cache": (
        {"prompt_tokens": 5, "completion_tokens": 1, "prompt_cache_hit_tokens": 3},
        {"input_tokens": 5, "output_tokens": 1, "cache_read_tokens": 3},
    ),
    "floats that are whole": ({"prompt_tokens": 5.0, "completion_tokens": 1}, {"input_tokens": 5, "output_tokens": 1}),
    "nothing known": ({"prompt_tokens": None, "completion_tokens": -1, "total_tokens": True}, {}),
    "none": (None, {}),
}


@pytest.mark.parametrize("case", OPENAI_USAGE.values(), ids=OPENAI_USAGE.keys())
def test_usage_of_openais_protocol_is_read(case: tuple[Any, dict[str, int]]) -> None:
    usage, expected = case
    assert counted(usage) == expected


def test_anthropics_cached_input_is_counted_into_input() -> None:
    usage = {
        "input_tokens": 10,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_1h_input_tokens": 20},
        "output_tokens": 7,
        "server_tool_use": {"web_search_requests": 2},
    }
    assert counted(usage) == {
        "input_tokens": 160,
        "cache_read_tokens": 100,
        "cache_write_tokens": 50,
        "cache_write_1h_tokens": 20,
        "output_tokens": 7,
        "web_search_requests": 2,
    }
    assert counted({"output_tokens": 7}) == {"output_tokens": 7}


LAST_CHUNKS = {
    "a chunk of its own": {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}},
    "with the finish": {
        "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    },
    "Groq's": {"choices": [], "x_groq": {"usage": {"prompt_tokens": 5, "completion_tokens": 2}}},
    "inside the choice": {
        "choices": [
            {
                "index": 0,
                "delta": {},
                "finish_reason": "stop",
                "usage": {"prompt_tokens": 5, "completion_tokens": 2},
            }
        ]
    },
}


@pytest.mark.parametrize("last", LAST_CHUNKS.values(), ids=LAST_CHUNKS.keys())
def test_usage_is_found_in_the_last_chunk_whatever_its_shape(last: dict[str, Any]) -> None:
    first = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hi"}}], "usage": None}
    assembled = assemble_chat([(None, first), (None, last), (None, "[DONE]")])
    found = read_chat(assembled.body or {})
    assert found.usage == {"input_tokens": 5, "output_tokens": 2}
    assert found.output == {"content": "Hi"}
    assert (assembled.complete, assembled.first_content) == (True, 0)


def test_several_choices_and_parallel_tool_calls_are_put_together() -> None:
    def chunk(index: int, delta: dict[str, Any], finish: str | None = None) -> tuple[None, dict[str, Any]]:
        return None, {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}

    def part(index: int, **fields: Any) -> dict[str, Any]:
        return {"tool_calls": [{"index": index, **fields}]}

    events = [
        chunk(0, {"role": "assistant", "content": "a"}),
        chunk(1, {"role": "assistant", "content": "b"}),
        chunk(0, part(1, id="t1", function={"name": "two", "arguments": "{"})),
        chunk(0, part(0, id="t0", function={"name": "one", "arguments": "{}"})),
        chunk(0, part(1, function={"arguments": "}"})),
        chunk(0, {}, "tool_calls"),
        chunk(1, {}, "stop"),
    ]
    assembled = assemble_chat(events)
    found = read_chat(assembled.body or {})
    assert assembled.complete
    assert [said["content"] for said in found.output] == ["a", "b"]
    assert [(call["id"], call["function"]) for call in found.tool_calls] == [
        ("t0", {"name": "one", "arguments": "{}"}),
        ("t1", {"name": "two", "arguments": "{}"}),
    ]
    assert found.finish_reasons == ["tool_calls", "stop"]


def test_a_response_that_failed_says_so_itself() -> None:
    found = read_response({"status": "failed", "error": {"code": "server_error", "message": "boom"}, "output": []})
    assert (found.failure_mode, found.error) == (FailureMode.MODEL_ERROR, "boom")


def test_tool_input_that_broke_off_is_kept_as_far_as_it_came() -> None:
    events: list[tuple[str | None, Any]] = [
        ("message_start", {"type": "message_start", "message": {"id": "m", "role": "assistant"}}),
        (None, {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "w"}}),
        (
            None,
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": '{"ci'},
            },
        ),
    ]
    assembled = assemble_message(events)
    assert not assembled.complete
    assert read_message(assembled.body or {}).tool_calls[0]["function"]["arguments"] == '{"ci'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
# The names that readers look for, so that strange values land where they are read.
NAMES = st.sampled_from(
    [
        "choices message delta content refusal tool_calls function arguments index finish_reason usage output type",
        "id model text data embedding error incomplete_details reason status item output_index response delta",
        "content_block message_delta role stop_reason partial_json x_groq prompt_tokens prompt_tokens_details",
        "errors success base_resp status_code metadata code answers tool_usage web_search num_requests action action",
        "service_tier provider result b64_json svg_usage seconds duration output_tokens input_tokens iterations cost",
    ]
).flatmap(lambda names: st.sampled_from(names.split()))
STRANGE = st.recursive(
    JSON,
    lambda inner: st.dictionaries(NAMES, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=30,
)
KINDS = st.sampled_from(
    [
        None,
        "response.created",
        "response.output_item.added",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.output_item.done",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "message_delta",
        "image_generation.completed",
        "transcript.text.delta",
        "error",
    ]
)


@given(st.dictionaries(NAMES, STRANGE, max_size=6))
def test_no_answer_breaks_a_reader(body: dict[str, Any]) -> None:
    for endpoint, read in READERS.items():
        found = read(body)
        event = {"started_at": 10**18, "request_model": "m", **found_fields(found), "attributes": found.attributes}
        assert decode_call(encode(event)), endpoint


def test_names_longer_than_an_event_may_hold_are_cut() -> None:
    found = read_chat({"model": "m" * 999, "choices": [{"message": {"content": "x"}, "finish_reason": "r" * 999}]})
    event = {"started_at": 10**18, **found_fields(found), **asked_fields(Endpoint.CHAT, {"model": "n" * 999})}

    call = decode_call(encode(event))

    assert call.response_model == "m" * 256
    assert call.request_model == "n" * 256


@given(st.lists(st.tuples(KINDS, STRANGE), max_size=6))
def test_no_stream_breaks_an_assembler(events: list[tuple[str | None, Any]]) -> None:
    error_in(events)
    for endpoint, assemble in ASSEMBLERS.items():
        assembled = assemble(events)
        if assembled.body is not None:
            json.dumps(READERS[endpoint](assembled.body).output)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_splitting_of_events(raw: bytes) -> None:
    for name, data in [*events_of(raw), *aws_events_of(raw)]:
        assert name is None or isinstance(name, str)
        assert isinstance(data, str)


def test_events_are_split_with_any_line_ends() -> None:
    for end in ("\n", "\r\n", "\r"):
        raw = f"event: a{end}data: 1{end}data: 2{end}{end}: note{end}{end}data:3{end}{end}data: unfinished".encode()
        assert events_of(raw) == [("a", "1\n2"), (None, "3")]


def test_credentials_in_a_body_are_masked_at_any_depth() -> None:
    tools = [{"type": "mcp", "server_url": "u", "authorization": "t0k", "headers": {"X-Key": "s"}}]
    fields = asked_fields(Endpoint.RESPONSES, {"model": "m", "input": "hi", "tools": tools, "API_KEY": "k"})
    masked_tool = {"type": "mcp", "server_url": "u", "authorization": SECRET, "headers": SECRET}
    assert fields["parameters"] == {"tools": [masked_tool], "API_KEY": SECRET}
    deep: Any = {"api_key": "k"}
    for _ in range(60):
        deep = [deep]
    assert "k" not in json.dumps(masked(deep)).replace("api_key", "")


class Omit:
    """What SDKs put where nothing is given."""


def test_a_body_that_was_never_sent_is_told_without_consuming_it() -> None:
    numbers = iter([1, 2])
    told = unsent({"model": "m", "messages": numbers, "top_p": Omit(), "stop": ["a"]})
    assert told == {"model": "m", "messages": "<list_iterator>", "stop": ["a"]}
    assert list(numbers) == [1, 2]


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/chat/completions", Endpoint.CHAT),
        ("/v1/messages?beta=true", Endpoint.MESSAGES),
        ("/chat/completions/abc", None),
        ("/files", None),
    ],
)
def test_only_model_calls_are_recorded(path: str, endpoint: Endpoint | None) -> None:
    assert endpoint_of(path) is endpoint


@pytest.mark.parametrize(
    ("names", "sdk", "host", "provider"),
    [
        (("OpenAI",), "openai", "api.openai.com", "openai"),
        (("OpenAI",), "openai", "eu.api.openai.com", "openai"),
        (("OpenAI",), "openai", "res.openai.azure.com", "azure"),
        (("Mine", "AzureOpenAI", "OpenAI"), "openai", "gateway.local", "azure"),
        (("OpenAI",), "openai", "api.groq.com", "groq"),
        (("OpenAI",), "openai", "llm.example.org", "llm.example.org"),
        (("OpenAI",), "openai", "notopenai.com", "notopenai.com"),
        (("Anthropic",), "anthropic", "proxy.example.org", "anthropic"),
        (("AnthropicBedrock",), "anthropic", "bedrock-runtime.eu-west-1.amazonaws.com", "aws.bedrock"),
        (("OpenAI",), "openai", None, "openai"),
    ],
)
def test_a_provider_is_told_by_class_and_host(names: tuple[str, ...], sdk: str, host: str, provider: str) -> None:
    assert provider_of(names, sdk, host) == provider


class APIConnectionError(Exception):
    """As the SDKs name theirs."""


class APITimeoutError(APIConnectionError):
    """As the SDKs name theirs."""


class InternalServerError(Exception):
    """As the SDKs name theirs."""

    def __init__(self, status_code: int) -> None:
        super().__init__("away")
        self.status_code = status_code


@pytest.mark.parametrize(
    ("error", "mode"),
    [
        (APITimeoutError(), FailureMode.TIMEOUT),
        (APIConnectionError(), FailureMode.CONNECTION),
        (ConnectionResetError(), FailureMode.CONNECTION),
        (KeyboardInterrupt(), FailureMode.CANCELLED),
        (KeyError("x"), FailureMode.UNKNOWN),
        (TimeoutError(), FailureMode.TIMEOUT),
        (InternalServerError(504), FailureMode.TIMEOUT),
        (InternalServerError(500), FailureMode.MODEL_ERROR),
        (InternalServerError(429), FailureMode.RATE_LIMITED),
    ],
)
def test_an_exception_means_a_failure_mode(error: BaseException, mode: FailureMode) -> None:
    assert failure_of(Raised.of(error)) is mode


def test_an_exception_that_cannot_be_told_is_told_without_words() -> None:
    class Mute(Exception):  # noqa: N818 - a name of an application
        def __str__(self) -> str:
            raise RuntimeError

    assert Raised.of(Mute()).text == ""
