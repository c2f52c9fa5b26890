"""Codex CLI: log records, of which one at the end of each answer tells what it used."""

from llmtrail_ingest.otlp.profiles.profile import Profile

CODEX = Profile(
    name="codex",
    source="https://github.com/openai/codex: codex-rs/otel/src/otel_event_manager.rs; docs/config.md#otel",
    scopes=("codex",),
    names={
        "request_model": ("model", "slug"),
        "input_tokens": ("input_token_count",),
        "output_tokens": ("output_token_count",),
        "cache_read_tokens": ("cached_token_count",),
        "cache_write_tokens": ("cache_write_token_count",),
        "reasoning_tokens": ("reasoning_token_count",),
        "first_token_ms": ("ttft_ms",),
        "duration_ms": ("duration_ms",),
        "error_message": ("error.message",),
        "http_status": ("http.response.status_code",),
    },
    events={"codex.sse_event": False, "codex.websocket_event": False, "codex.api_request": None},
    # Events of a stream have no usage but the last: `tool_token_count` is the total, as Codex writes it.
    event_needs={"event.kind": "response.completed"},
    provider="openai",
)
