"""The Vercel AI SDK, versions 3 to 6; 7 writes the GenAI conventions."""

from llmtrail_ingest.otlp.profiles.profile import Profile

_DO = {
    "ai.generatetext.dogenerate": "chat",
    "ai.streamtext.dostream": "chat",
    "ai.generateobject.dogenerate": "chat",
    "ai.streamobject.dostream": "chat",
    "ai.embed.doembed": "embeddings",
    "ai.embedmany.doembed": "embeddings",
    "ai.rerank.dorerank": "rerank",
}
# The outer spans sum up what the inner ones used.
_OUTER = {
    "ai.generatetext": "",
    "ai.streamtext": "",
    "ai.generateobject": "",
    "ai.streamobject": "",
    "ai.streamui": "",
    "ai.embed": "",
    "ai.embedmany": "",
    "ai.rerank": "",
    "ai.toolcall": "",
}

VERCEL = Profile(
    name="vercel-ai-sdk",
    source="https://ai-sdk.dev/docs/ai-sdk-core/telemetry#collected-data; packages/ai/src/telemetry",
    scopes=("ai", "@ai-sdk/", "vercel.ai"),
    marks=("ai.operationId", "ai.model.id", "ai.response.providerMetadata"),
    names={
        "operation": ("ai.operationId",),
        "provider": ("ai.model.provider",),
        "request_model": ("ai.model.id",),
        "response_model": ("ai.response.model",),
        "response_id": ("ai.response.id",),
        "input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
        "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
        "total_tokens": ("ai.usage.totalTokens",),
        "cache_read_tokens": ("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
        "cache_write_tokens": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
        "reasoning_tokens": ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
        "first_token_ms": ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"),
        "messages": ("ai.prompt.messages",),
        "input_body": ("ai.prompt", "ai.values", "ai.value", "ai.documents"),
        "output_text": ("ai.response.text", "ai.response.object", "ai.result.text", "ai.result.object"),
        "output_calls": ("ai.response.toolCalls", "ai.result.toolCalls"),
        "tools": ("ai.prompt.tools",),
        "finish": ("ai.response.finishReason", "ai.finishReason"),
    },
    operations={**_DO, **_OUTER},
    # The provider's own metadata: Anthropic's whole usage; single counts before version 5.
    usage_in=(
        ("ai.response.providerMetadata", "anthropic", "usage"),
        ("ai.response.providerMetadata", "openrouter", "usage"),
    ),
    counts_in={
        "cache_write_tokens": (
            ("ai.response.providerMetadata", "anthropic", "cacheCreationInputTokens"),
            ("ai.response.providerMetadata", "bedrock", "usage", "cacheWriteInputTokens"),
        ),
        "cache_read_tokens": (
            ("ai.response.providerMetadata", "anthropic", "cacheReadInputTokens"),
            ("ai.response.providerMetadata", "openai", "cachedPromptTokens"),
            ("ai.response.providerMetadata", "bedrock", "usage", "cacheReadInputTokens"),
        ),
        "reasoning_tokens": (("ai.response.providerMetadata", "openai", "reasoningTokens"),),
    },
)
