"""What OpenAI-compatible servers really send, from public reports and their own references, and what it means."""

from typing import Any

import pytest

from llmtrail.core.failure import FailureMode, Status, classify
from llmtrail.emit.wrap.addressed import read_address
from llmtrail.emit.wrap.anthropic_messages import read_message, with_lifetimes
from llmtrail.emit.wrap.error_bodies import error_of
from llmtrail.emit.wrap.openai_chat import assemble_chat, read_chat
from llmtrail.emit.wrap.openai_responses import assemble_response, read_response
from llmtrail.emit.wrap.providers import provider_of


def streamed(*deltas: dict[str, Any]) -> Any:
    """Return what is found in a stream of these deltas of one choice."""
    events: list[tuple[str | None, Any]] = [
        (None, {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in deltas
    ]
    return read_chat(assemble_chat(events).body or {})


def called(index: int | None = 0, **fields: Any) -> dict[str, Any]:
    """Return a delta with one part of a tool call."""
    place = {} if index is None else {"index": index}
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return {"tool_calls": [{**place, **fields, "function": function}]}


# (where it was seen, the deltas, (name, arguments) of each call)
TOOL_STREAMS: tuple[tuple[str, list[dict[str, Any]], list[tuple[str, str]]], ...] = (
    (
        "Gemini's OpenAI interface: whole parallel calls, all of index 0",
        [called(id="a", name="f", arguments="{}"), called(id="b", name="g", arguments="{}")],
        [("f", "{}"), ("g", "{}")],
    ),
    (
        "Gemini's OpenAI interface: one function twice",
        [called(id="a", name="f", arguments='{"n":1}'), called(id="b", name="f", arguments='{"n":2}')],
        [("f", '{"n":1}'), ("f", '{"n":2}')],
    ),
    (
        "vLLM before 0.8: every part has a new id",
        [
            called(id="chatcmpl-tool-1", name="f"),
            called(id="chatcmpl-tool-2", arguments='{"n"'),
            called(id="chatcmpl-tool-3", arguments=":1}"),
        ],
        [("f", '{"n":1}')],
    ),
    (
        "servers that repeat id and name in every part",
        [called(id="a", name="f", arguments='{"n"'), called(id="a", name="f", arguments=":1}")],
        [("f", '{"n":1}')],
    ),
    (
        "OpenAI: indexes interleaved",
        [
            called(1, id="b", name="g", arguments="{"),
            called(0, id="a", name="f", arguments="{}"),
            called(1, arguments="}"),
        ],
        [("f", "{}"), ("g", "{}")],
    ),
    (
        "no index at all, the arguments after the name",
        [called(None, id="a", name="f"), called(None, arguments="{}"), called(None, id="b", name="g", arguments="{}")],
        [("f", "{}"), ("g", "{}")],
    ),
    (
        "langchain-ai/langchainjs#11373: placeholder ids in the parts that follow",
        [called(id="a", name="f", arguments='{"n"'), called(id="null", name=None, arguments=":1}")],
        [("f", '{"n":1}')],
    ),
    (
        "oracle/langchain-oracle#108: Grok's parallel calls, all of index 0",
        [called(0, id="abc", name="f", arguments="{}"), called(0, id="def", name="f", arguments="{}")],
        [("f", "{}"), ("f", "{}")],
    ),
    ("Ollama: arguments as an object", [called(id="a", name="f", arguments={"n": 1})], [("f", '{"n":1}')]),
)


@pytest.mark.parametrize(
    ("deltas", "calls"), [case[1:] for case in TOOL_STREAMS], ids=[case[0] for case in TOOL_STREAMS]
)
def test_streamed_tool_calls_are_put_together_as_they_were_meant(
    deltas: list[dict[str, Any]], calls: list[tuple[str, str]]
) -> None:
    found = streamed(*deltas)

    assert [(call["function"]["name"], call["function"]["arguments"]) for call in found.tool_calls] == calls


def test_content_that_comes_as_parts_is_kept() -> None:
    # Mistral's reasoning models: thinking and text are parts of one content.
    found = streamed(
        {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Let"}]}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": " me see."}]}]},
        {"content": [{"type": "text", "text": "So"}]},
        {"content": "on."},
    )

    assert found.output["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]},
        {"type": "text", "text": "Soon."},
    ]


# (where it was seen, the body of a 200, failure mode, type)
ERROR_BODIES: tuple[tuple[str, dict[str, Any], FailureMode, str | None], ...] = (
    (
        "OpenRouter: rate limited upstream",
        {"error": {"code": 429, "message": "Rate limit exceeded", "metadata": {}}, "user_id": "x"},
        FailureMode.RATE_LIMITED,
        None,
    ),
    (
        "OpenRouter: moderation",
        {"error": {"code": 403, "message": "Your input was flagged: content policy"}},
        FailureMode.CONTENT_FILTERED,
        None,
    ),
    (
        "OpenRouter: an error in the choice's place",
        {
            "id": "gen-1",
            "choices": [{"index": 0, "finish_reason": "error", "error": {"code": 502, "message": "Provider returned"}}],
        },
        FailureMode.MODEL_ERROR,
        None,
    ),
    (
        "OpenRouter, diegosouzapw/OmniRoute#8210: the kind in the metadata",
        {"choices": [], "error": {"code": 502, "message": "limit", "metadata": {"error_type": "provider_unavailable"}}},
        FailureMode.MODEL_ERROR,
        "provider_unavailable",
    ),
    (
        "CommandCodeAI/command-code#785: a status in the error",
        {"success": False, "error": {"code": "INTERNAL_SERVER_ERROR", "status": 500, "message": "Please try again"}},
        FailureMode.MODEL_ERROR,
        "INTERNAL_SERVER_ERROR",
    ),
    (
        "vLLM: an error object with 200 in front of a proxy",
        {"object": "error", "error": {"message": "EngineDeadError", "type": "InternalServerError", "code": 500}},
        FailureMode.MODEL_ERROR,
        "InternalServerError",
    ),
    (
        "Hugging Face's inference: text",
        {"error": "Model is overloaded", "error_type": "overloaded"},
        FailureMode.MODEL_ERROR,
        "overloaded",
    ),
    (
        "Cloudflare: a list of errors",
        {"success": False, "errors": [{"code": 3040, "message": "Capacity temporarily exceeded"}], "result": None},
        FailureMode.MODEL_ERROR,
        None,
    ),
    (
        "MiniMax: base_resp with choices null",
        {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
        FailureMode.RATE_LIMITED,
        "1002",
    ),
    (
        "DashScope: the input did not pass inspection",
        {"error": {"code": "data_inspection_failed", "type": "data_inspection_failed", "message": "Input data"}},
        FailureMode.CONTENT_FILTERED,
        "data_inspection_failed",
    ),
)


@pytest.mark.parametrize(
    ("body", "mode", "kind"), [case[1:] for case in ERROR_BODIES], ids=[one[0] for one in ERROR_BODIES]
)
def test_an_error_where_an_answer_was_due_is_a_failure(
    body: dict[str, Any], mode: FailureMode, kind: str | None
) -> None:
    found = read_chat(body)

    assert found.failure_mode is mode
    assert found.error
    assert found.error_type == kind


@pytest.mark.parametrize(
    "body",
    [
        {"choices": [{"index": 0, "message": {"content": "ok"}, "finish_reason": "stop"}], "error": None},
        {"choices": [{"index": 0, "message": {"content": "ok"}}], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"success": True, "errors": [], "choices": [{"index": 0, "message": {"content": "ok"}}]},
    ],
)
def test_an_answer_beside_an_empty_error_is_an_answer(body: dict[str, Any]) -> None:
    assert error_of(body) is None
    assert read_chat(body).failure_mode is None


# Every finish reason of the providers' references: (reason, status, failure mode).
FINISH_REASONS = (
    *((name, Status.OK, None) for name in ("stop", "STOP", "end_turn", "tool_use", "tool_calls", "pause_turn")),
    *((name, Status.OK, None) for name in ("compaction", "COMPLETE", "stop_sequence", "FinishReason.STOP", "eos")),
    *(
        (name, Status.OK, FailureMode.CONTENT_FILTERED)
        for name in (
            *("SAFETY", "BLOCKED_SAFETY", "RECITATION", "SPII", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY"),
            *("content_filter", "content-filter", "ContentFilter", "guardrail_intervened", "content_filtered"),
            *("FinishReason.IMAGE_RECITATION", "MODEL_ARMOR", "ERROR_TOXIC", "sensitive"),
        )
    ),
    *(
        (name, Status.OK, FailureMode.TRUNCATED)
        for name in ("length", "MAX_TOKENS", "max_output_tokens", "model_context_window_exceeded", "model_length")
    ),
    *(
        (name, Status.ERROR, FailureMode.MODEL_ERROR)
        for name in (
            *("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "malformed_model_output", "malformed_tool_use"),
            *("insufficient_system_resource", "error", "network_error"),
        )
    ),
    ("refusal", Status.OK, FailureMode.REFUSED),
    ("abort", Status.ERROR, FailureMode.CANCELLED),
)


@pytest.mark.parametrize(("reason", "status", "mode"), FINISH_REASONS)
def test_a_finish_reason_means_what_its_provider_says(reason: str, status: Status, mode: FailureMode | None) -> None:
    assert classify(finish_reasons=[reason]) == (status, mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("ThrottlingException", FailureMode.RATE_LIMITED),
        ("ServiceQuotaExceededException", FailureMode.RATE_LIMITED),
        ("ModelStreamErrorException", FailureMode.MODEL_ERROR),
        ("ModelErrorException", FailureMode.MODEL_ERROR),
        ("ModelTimeoutException", FailureMode.TIMEOUT),
        ("ModelNotReadyException", FailureMode.MODEL_ERROR),
        ("ValidationException", FailureMode.MODEL_ERROR),
        ("AccessDeniedException", FailureMode.MODEL_ERROR),
        ("overloaded_error", FailureMode.MODEL_ERROR),
        ("engine_overloaded", FailureMode.MODEL_ERROR),
        ("insufficient_quota", FailureMode.RATE_LIMITED),
        ("RESOURCE_EXHAUSTED", FailureMode.RATE_LIMITED),
        ("UNAVAILABLE", FailureMode.MODEL_ERROR),
        ("DEADLINE_EXCEEDED", FailureMode.TIMEOUT),
        ("BlockedPromptException", FailureMode.CONTENT_FILTERED),
        ("guardrail_intervened", FailureMode.CONTENT_FILTERED),
        ("ResponsibleAIPolicyViolation", FailureMode.CONTENT_FILTERED),
    ],
)
def test_an_error_type_means_what_its_provider_says(name: str, mode: FailureMode) -> None:
    assert classify(name) == (Status.ERROR, mode)


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


def test_images_that_a_tool_made_keep_the_call_from_being_priced_as_text() -> None:
    usage = responded(
        {"type": "image_generation_call", "status": "completed"}, tool_usage={"image_gen": {"total_tokens": 4160}}
    )

    assert usage["total_tokens"] == 15 + 4160


@pytest.mark.parametrize(
    ("host", "path", "model", "region"),
    [
        (
            "bedrock-runtime.us-west-2.amazonaws.com",
            "/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/invoke-with-response-stream",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "us-west-2",
        ),
        (
            "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
            "/model/arn:aws-us-gov:bedrock:us-gov-west-1:1:application-inference-profile/x/converse",
            "arn:aws-us-gov:bedrock:us-gov-west-1:1:application-inference-profile/x",
            "us-gov-west-1",
        ),
        (
            "aiplatform.googleapis.com",
            "/v1/projects/p/locations/global/publishers/anthropic/models/claude-opus-4-8@20260301:rawPredict",
            "claude-opus-4-8@20260301",
            "global",
        ),
        ("r.openai.azure.com", "/openai/deployments/prod-chat/chat/completions", "prod-chat", None),
        ("r.openai.azure.com", "/openai/v1/chat/completions", None, None),
        ("api.openai.com", "/v1/chat/completions", None, None),
    ],
)
def test_an_address_names_model_and_region_where_it_holds_them(
    host: str, path: str, model: str | None, region: str | None
) -> None:
    address = read_address(host, path)

    assert (address.model, address.region) == (model, region)


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("openrouter.ai", "openrouter"),
        ("api.x.ai", "x_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("europe-west1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("api.mistral.ai", "mistral_ai"),
        ("api.deepseek.com", "deepseek"),
        ("api.groq.com", "groq"),
        ("api.moonshot.cn", "moonshot_ai"),
        ("dashscope-intl.aliyuncs.com", "dashscope"),
        ("api.perplexity.ai", "perplexity"),
        ("api.together.xyz", "together"),
        ("api.fireworks.ai", "fireworks"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
        ("vllm.internal", "vllm.internal"),
    ],
)
def test_a_compatible_server_is_known_by_its_host(host: str, provider: str) -> None:
    assert provider_of(("OpenAI",), "openai", host) == provider


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
    ("Perplexity", {"prompt_tokens": 8, "completion_tokens": 2, "cost": {"total_cost": 0.006}}, 6_000_000),
    ("DeepInfra", {"prompt_tokens": 15, "completion_tokens": 16, "estimated_cost": 2.09e-06}, 2_090),
)


@pytest.mark.parametrize(("usage", "nanousd"), [case[1:] for case in REPORTED], ids=[case[0] for case in REPORTED])
def test_a_cost_that_the_answer_reports_is_kept(usage: dict[str, Any], nanousd: int) -> None:
    assert read_chat({"model": "m", "usage": usage}).reported_cost_nanousd == nanousd


def test_how_an_answer_says_it_was_served_is_kept() -> None:
    assert read_chat({"service_tier": "flex"}).served == {"service_tier": "flex"}
    # LiteLLM passes on what Anthropic's usage says.
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "service_tier": "priority", "inference_geo": "us"}
    assert read_chat({"usage": usage}).served == {"service_tier": "priority", "region": "us"}
    assert read_response({"service_tier": "priority"}).served == {"service_tier": "priority"}
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


@pytest.mark.parametrize("envelope", ["data", "result"])
def test_an_answer_in_an_envelope_is_read(envelope: str) -> None:
    # NousResearch/hermes-agent#66750, Cloudflare Workers AI's REST interface.
    answer = {
        "choices": [{"index": 0, "message": {"content": "Soon."}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }

    found = read_chat({"success": True, "errors": [], envelope: answer})

    assert found.output == {"content": "Soon."}
    assert found.usage == {"input_tokens": 1, "output_tokens": 2}


def test_chunks_without_choices_are_passed_over() -> None:
    # langfuse/langfuse#6658, AstrBotDevs/AstrBot#6313: choices is null in some chunks of a stream.
    events: list[tuple[str | None, Any]] = [
        (None, {"id": "c", "model": "m", "choices": None}),
        (
            None,
            {
                "id": "c",
                "model": "m",
                "choices": [{"index": 0, "delta": {"content": "Soon."}, "finish_reason": "stop"}],
            },
        ),
    ]

    assert read_chat(assemble_chat(events).body or {}).output == {"content": "Soon."}
