"""What OpenAI-compatible servers really send, from public reports and their own references, and what it means."""

from typing import Any

import pytest

from llmtrail.core.failure import FailureMode, Status, classify
from llmtrail.emit.wrap.addressed import read_address
from llmtrail.emit.wrap.error_bodies import error_of
from llmtrail.emit.wrap.openai_chat import assemble_chat, read_chat
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
