"""Servers of models and gateways that trace what they serve: vLLM, Cloudflare's AI Gateway, OpenRouter."""

from llmtrail_ingest.otlp.profiles.profile import Profile

VLLM = Profile(
    name="vllm",
    source="https://github.com/vllm-project/vllm: vllm/tracing (SpanAttributes)",
    scopes=("vllm",),
    marks=("gen_ai.latency.time_in_queue",),
    provider="vllm",
)
CLOUDFLARE = Profile(
    name="cloudflare-ai-gateway",
    source="https://developers.cloudflare.com/ai-gateway/observability/otel-integration",
    scopes=("cloudflare", "ai-gateway"),
    marks=("gen_ai.prompt_json", "gen_ai.completion_json", "gen_ai.model.provider"),
    names={
        "provider": ("gen_ai.model.provider",),
        "messages": ("gen_ai.prompt_json",),
        "output_body": ("gen_ai.completion_json",),
        "first_token_ms": ("gen_ai.response.ttft_ms",),
    },
)
OPENROUTER = Profile(
    name="openrouter",
    source="https://openrouter.ai/docs/guides/features/broadcast/otel-collector",
    scopes=("openrouter",),
    bills=True,
)
