"""Claude Code: a log record for each request to the API, and spans (beta)."""

from llmtrail_ingest.otlp.profiles.profile import Profile

CLAUDE_CODE = Profile(
    name="claude-code",
    source="https://docs.claude.com/en/docs/claude-code/monitoring-usage",
    scopes=("com.anthropic.claude_code",),
    marks=("claude_code.version",),
    names={
        "operation": ("span.type",),
        "request_model": ("model",),
        "input_tokens": ("input_tokens",),
        "output_tokens": ("output_tokens",),
        "cache_read_tokens": ("cache_read_tokens",),
        "cache_write_tokens": ("cache_creation_tokens",),
        "cost": ("cost_usd",),
        "duration_ms": ("duration_ms",),
        "first_token_ms": ("ttft_ms",),
        "served_speed": ("speed",),
        "finish": ("stop_reason",),
        "output_text": ("response.model_output",),
        "exchange_id": ("request_id",),
        "failed": ("success",),
        "error_message": ("error",),
        "http_status": ("status_code",),
    },
    events={
        "api_request": False,
        "claude_code.api_request": False,
        "api_error": True,
        "claude_code.api_error": True,
    },
    operations={"llm_request": "chat", "interaction": "", "tool": "", "hook": ""},
    span_names={"claude_code.llm_request": "chat", "claude_code.interaction": "", "claude_code.tool": ""},
    provider="anthropic",
    # Anthropic's own counts.
    cache_alongside=("",),
    # The API's id of the exchange, none of the application's.
    no_context=frozenset({"request_id"}),
)
