"""What of an answer is billed apart from its tokens, how it was served, and what it says that it cost."""

from typing import Any

import pytest

from llmtrail.emit.wrap.anthropic_messages import read_message, with_lifetimes
from llmtrail.emit.wrap.openai_chat import read_chat
from llmtrail.emit.wrap.openai_media import read_transcription
from llmtrail.emit.wrap.openai_responses import assemble_response, read_response


def responded(*items: dict[str, Any], **fields: Any) -> dict[str, int]:
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    return dict(read_response({"status": "completed", "output": list(items), "usage": usage, **fields}).usage)


def search(kind: str | None = "search", status: str = "completed") -> dict[str, Any]:
    action = {} if kind is None else {"action": {"type": kind, "query": "x"}}
    return {"type": "web_search_call", "status": status, **action}


def test_only_searches_are_counted_as_searches() -> None:
    # Opening a page and finding in it are actions of the same tool; a failed search is not billed.
    usage = responded(search(), search(None), search("open_page"), search("find_in_page"), search(status="failed"))

    assert usage["web_search_requests"] == 2


def test_the_providers_own_count_of_billed_searches_stands_before_ours() -> None:
    # BerriAI/litellm#39610: Bedrock's and OpenAI's tool_usage leaves discounted searches out.
    usage = responded(search(), search(), tool_usage={"web_search": {"num_requests": 1}})

    assert usage["web_search_requests"] == 1


def test_a_response_that_is_still_to_be_made_says_so() -> None:
    found = read_response({"status": "queued", "output": [], "usage": None, "model": "o3-deep-research"})

    assert found.attributes == {"openai.response.status": "queued"}
    assert (found.failure_mode, found.usage) == (None, {})


def test_file_searches_and_containers_are_counted() -> None:
    run = {"type": "code_interpreter_call", "status": "completed"}
    usage = responded(
        {"type": "file_search_call", "status": "completed"},
        {**run, "container_id": "c1"},
        {**run, "container_id": "c1"},
        {**run, "container_id": "c2"},
    )

    assert (usage["file_search_requests"], usage["code_interpreter_sessions"]) == (1, 2)


@pytest.mark.parametrize(("limit", "sessions"), [(None, 1), ("1g", 1), ("4g", 4), ("64g", 64), ("odd", 1)])
def test_a_larger_container_counts_as_what_it_costs(limit: str | None, sessions: int) -> None:
    # simonw/llm#1592: the price of a session goes by the container's memory.
    run = {"type": "code_interpreter_call", "status": "completed", "container_id": "c1"}
    container = {"type": "auto", "memory_limit": limit}

    usage = responded(run, tools=[{"type": "web_search"}, {"type": "code_interpreter", "container": container}])

    assert usage["code_interpreter_sessions"] == sessions


def test_images_that_a_tool_made_keep_the_call_from_being_priced_as_text() -> None:
    usage = responded(
        {"type": "image_generation_call", "status": "completed"}, tool_usage={"image_gen": {"total_tokens": 4160}}
    )

    assert usage["total_tokens"] == 15 + 4160


def messages_usage(usage: dict[str, Any], *lifetimes: str | None) -> dict[str, int]:
    """Return what is counted of a Claude call whose request marks a block to be cached for each lifetime."""
    marks = [{"type": "ephemeral"} if one is None else {"type": "ephemeral", "ttl": one} for one in lifetimes]
    asked = {"system": [{"type": "text", "text": "x", "cache_control": mark} for mark in marks], "messages": []}
    return dict(with_lifetimes(read_message({"type": "message", "content": [], "usage": usage}).usage, asked))


WRITES = {"input_tokens": 5, "output_tokens": 1, "cache_creation_input_tokens": 84457}


def test_writes_of_a_stream_live_as_long_as_all_that_was_asked_to_be_cached() -> None:
    # BerriAI/litellm#42663, anthropics/anthropic-sdk-typescript#793: message_delta tells the sum without its split.
    told = {**WRITES, "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 31490}}

    assert messages_usage(told, "1h", "1h")["cache_write_1h_tokens"] == 84457
    assert messages_usage(WRITES, "1h")["cache_write_1h_tokens"] == 84457
    assert messages_usage(told, "1h", "5m")["cache_write_1h_tokens"] == 31490
    assert messages_usage(told, "1h", None)["cache_write_1h_tokens"] == 31490
    assert "cache_write_1h_tokens" not in messages_usage(WRITES, None)
    assert "cache_write_1h_tokens" not in messages_usage(WRITES)


def test_a_model_that_always_searches_made_one_search() -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}

    assert read_chat({"model": "gpt-4o-search-preview-2025-03-11", "usage": usage}).usage["web_search_requests"] == 1
    assert "web_search_requests" not in read_chat({"model": "gpt-4o", "usage": usage}).usage


# (where it was seen, usage of the answer, cost in nano-dollars)
REPORTED = (
    (
        "OpenRouter's usage accounting",
        {
            "prompt_tokens": 194,
            "completion_tokens": 2,
            "total_tokens": 196,
            "cost": 0.00095,
            "cost_details": {"upstream_inference_cost": None},
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 100, "audio_tokens": 0},
        },
        950_000,
    ),
    (
        "xAI: ticks of 10**-10 dollars",
        {"prompt_tokens": 199, "completion_tokens": 1, "total_tokens": 200, "cost_in_usd_ticks": 158_500},
        15_850,
    ),
    (
        "OpenRouter with a key of one's own, earendil-works/pi#8940: its fee and the upstream's cost",
        {
            "prompt_tokens": 8,
            "completion_tokens": 2,
            "cost": 0.000005,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.0001},
        },
        105_000,
    ),
    ("Perplexity", {"prompt_tokens": 8, "completion_tokens": 2, "cost": {"total_cost": 0.006}}, 6_000_000),
    ("DeepInfra", {"prompt_tokens": 15, "completion_tokens": 16, "estimated_cost": 2.09e-06}, 2_090),
)


@pytest.mark.parametrize(("usage", "nanousd"), [case[1:] for case in REPORTED], ids=[case[0] for case in REPORTED])
def test_a_cost_that_the_answer_reports_is_kept(usage: dict[str, Any], nanousd: int) -> None:
    assert read_chat({"model": "m", "usage": usage}).reported_cost_nanousd == nanousd


def test_a_transcriptions_cost_is_kept() -> None:
    # OpenRouter's speech-to-text, AutomatosAI/automatos-ai#745
    usage = {"seconds": 9.2, "total_tokens": 113, "input_tokens": 83, "output_tokens": 30, "cost": 0.000508}

    found = read_transcription({"text": "Hello", "usage": usage})

    assert (found.reported_cost_nanousd, found.usage["input_tokens"]) == (508_000, 83)
    assert found.attributes == {"audio.seconds": 9.2}


def test_how_an_answer_says_it_was_served_is_kept() -> None:
    assert read_chat({"service_tier": "flex"}).served == {"service_tier": "flex"}
    # LiteLLM passes on what Anthropic's usage says.
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "service_tier": "priority", "inference_geo": "us"}
    assert read_chat({"usage": usage}).served == {"service_tier": "priority", "region": "us"}
    assert read_response({"service_tier": "priority"}).served == {"service_tier": "priority"}
    # BerriAI/litellm#31837, #17748: what was served, be it in the answer or in its usage
    assert read_response({"service_tier": "default"}).served == {"service_tier": "default"}
    assert read_response({"usage": {"input_tokens": 1, "service_tier": "flex"}}).served == {"service_tier": "flex"}
    anthropic = {"input_tokens": 1, "output_tokens": 1, "speed": "fast", "inference_geo": "not_available"}
    assert read_message({"usage": anthropic}).served == {"speed": "fast"}


def test_a_responses_stream_whose_last_event_holds_no_items_keeps_those_before() -> None:
    # openai/openai-python#3312: Codex's backend ends with output null.
    message = {"type": "message", "content": [{"type": "output_text", "text": "Soon."}]}
    events: list[tuple[str | None, Any]] = [
        (None, {"type": "response.output_item.done", "output_index": 1, "item": message}),
        (None, {"type": "response.output_item.done", "output_index": 0, "item": search()}),
        (None, {"type": "response.completed", "response": {"status": "completed", "output": None, "usage": {}}}),
    ]

    found = read_response(assemble_response(events).body or {})

    assert found.output == {"role": "assistant", "content": "Soon."}
    assert found.usage["web_search_requests"] == 1
