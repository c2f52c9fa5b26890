"""Gemini CLI (and Qwen Code, which is made of it): log records."""

from llmtrail_ingest.otlp.profiles.profile import Profile

_NAMES = {
    "request_model": ("model", "model_name"),
    "input_tokens": ("input_token_count",),
    "output_tokens": ("output_token_count",),
    "total_tokens": ("total_token_count",),
    "cache_read_tokens": ("cached_content_token_count",),
    "reasoning_tokens": ("thoughts_token_count",),
    "duration_ms": ("duration_ms", "duration"),
    "first_token_ms": ("ttft_ms",),
    "output_text": ("response_text",),
    "error_message": ("error", "error_message"),
    "error_type": ("error_type",),
    "http_status": ("status_code",),
    "finish": ("finish_reasons",),
}

# Gemini's own usage, name by name.
_USAGE_NAMES = {
    "input_token_count": "promptTokenCount",
    "output_token_count": "candidatesTokenCount",
    "total_token_count": "totalTokenCount",
    "cached_content_token_count": "cachedContentTokenCount",
    "thoughts_token_count": "thoughtsTokenCount",
    "tool_token_count": "toolUsePromptTokenCount",
}

# The same response once more, by the GenAI conventions.
_REPEATED = frozenset({"gen_ai.client.inference.operation.details"})

GEMINI_CLI = Profile(
    name="gemini-cli",
    source="https://github.com/google-gemini/gemini-cli/blob/main/docs/cli/telemetry.md",
    scopes=("gemini-cli", "gemini_cli"),
    names=_NAMES,
    events={"gemini_cli.api_response": False, "gemini_cli.api_error": True},
    usage_names=_USAGE_NAMES,
    convention="gemini",
    repeated_events=_REPEATED,
    provider="gcp.gemini",
)
QWEN_CODE = Profile(
    name="qwen-code",
    source="https://github.com/QwenLM/qwen-code/blob/main/docs/telemetry.md",
    scopes=("qwen-code", "qwen_code"),
    names=_NAMES,
    events={"qwen-code.api_response": False, "qwen-code.api_error": True},
    repeated_events=_REPEATED,
)
