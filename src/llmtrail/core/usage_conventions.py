"""How providers, routers and clients count: one table, each row with its source. Data alone; `core.usage` reads it.

A place is a path of names with dots between; `name[key=A|B]` takes those elements of a list whose key is A or B, and
sums them; ` + ` sums places, ` | ` takes the first that is known. Of several places of one count the first that is
above zero is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

Places = tuple[str, ...]

_CREATED: Final = "cache_creation.ephemeral_5m_input_tokens + cache_creation.ephemeral_1h_input_tokens"
_LITELLM_CREATED: Final = "prompt_tokens_details.cache_creation_token_details"


@dataclass(frozen=True, slots=True)
class Cost:
    """Where a usage reports what the call cost, and how many of its units are one dollar.

    `only_if` is a place that must be true. Several costs of one convention are summed.
    """

    place: str
    per_dollar: int = 1
    only_if: str | None = None


@dataclass(frozen=True, slots=True)
class Convention:
    """Where one provider writes each count, and which counts it keeps alongside its totals.

    `marks` are places of which any one identifies the convention (all of `needs` must be there too). A convention with
    a `base` is the same shape with more in it: it is read with its base, and marks nothing itself.
    """

    name: str
    source: str
    marks: Places = ()
    needs: Places = ()
    base: str | None = None
    # Whether the provider's clients write the same names in snake case too.
    also_snake: bool = False
    # Field of `Usage` -> where its count is.
    counts: Mapping[str, Places] = field(default_factory=dict)
    # Field of `Usage` -> counts that this provider leaves out of the field's own number, and that belong into it.
    alongside: Mapping[str, Places] = field(default_factory=dict)
    # Fields that this provider leaves out where they are 0.
    zero_if_absent: tuple[str, ...] = ()
    # A list of usages of the same shape, whose sum is the call's; see `core.usage`.
    iterations: str | None = None
    # Whether `alongside` holds even where the total is the sum without it; else that total says that all is inside.
    always_alongside: bool = False
    costs: tuple[Cost, ...] = ()
    # What it is that the total holds beyond input and output where no count explains it.
    rest: str | None = None


CONVENTIONS: Final = (
    Convention(
        name="gemini",
        source="https://ai.google.dev/api/generate-content#UsageMetadata: total = prompt + candidates + toolUsePrompt "
        "+ thoughts; cachedContent is part of the prompt; protobuf's JSON leaves zeros out",
        marks=("promptTokenCount", "totalTokenCount", "candidatesTokenCount"),
        also_snake=True,
        counts={
            "input_tokens": ("promptTokenCount",),
            # Vertex's Live API names the output responseTokenCount.
            "output_tokens": ("candidatesTokenCount", "responseTokenCount"),
            "total_tokens": ("totalTokenCount",),
            "cache_read_tokens": ("cachedContentTokenCount",),
            "reasoning_tokens": ("thoughtsTokenCount",),
            "input_audio_tokens": ("promptTokensDetails[modality=AUDIO].tokenCount",),
            "input_image_tokens": ("promptTokensDetails[modality=IMAGE|DOCUMENT].tokenCount",),
            "input_video_tokens": ("promptTokensDetails[modality=VIDEO].tokenCount",),
            "output_audio_tokens": (
                "candidatesTokensDetails[modality=AUDIO].tokenCount",
                "responseTokensDetails[modality=AUDIO].tokenCount",
            ),
            "output_image_tokens": (
                "candidatesTokensDetails[modality=IMAGE].tokenCount",
                "responseTokensDetails[modality=IMAGE].tokenCount",
            ),
            "cache_read_audio_tokens": ("cacheTokensDetails[modality=AUDIO].tokenCount",),
            "cache_read_image_tokens": ("cacheTokensDetails[modality=IMAGE|DOCUMENT].tokenCount",),
        },
        alongside={
            "input_tokens": ("toolUsePromptTokenCount",),
            "input_audio_tokens": ("toolUsePromptTokensDetails[modality=AUDIO].tokenCount",),
            "input_image_tokens": ("toolUsePromptTokensDetails[modality=IMAGE|DOCUMENT].tokenCount",),
            "input_video_tokens": ("toolUsePromptTokensDetails[modality=VIDEO].tokenCount",),
            "output_tokens": ("thoughtsTokenCount",),
        },
        zero_if_absent=("input_tokens", "output_tokens"),
    ),
    Convention(
        name="bedrock",
        source="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html: inputTokens leave "
        "cache reads and writes out; cacheDetails[] splits the writes by ttl",
        marks=("cacheReadInputTokens", "cacheWriteInputTokens", "cacheReadInputTokenCount", "serverToolUsage"),
        needs=("inputTokens",),
        counts={
            "input_tokens": ("inputTokens",),
            "output_tokens": ("outputTokens",),
            "total_tokens": ("totalTokens",),
            "cache_read_tokens": ("cacheReadInputTokens", "cacheReadInputTokenCount"),
            "cache_write_tokens": ("cacheWriteInputTokens", "cacheWriteInputTokenCount"),
            "cache_write_1h_tokens": ("cacheDetails[ttl=1h].inputTokens",),
        },
        alongside={
            "input_tokens": (
                "cacheReadInputTokens | cacheReadInputTokenCount",
                "cacheWriteInputTokens | cacheWriteInputTokenCount",
            )
        },
        always_alongside=True,
    ),
    Convention(
        name="bedrock_invocation",
        source="https://docs.aws.amazon.com/bedrock/latest/userguide/inference-invoke.html: "
        "amazon-bedrock-invocationMetrics at a stream's end",
        marks=("inputTokenCount", "outputTokenCount"),
        counts={
            "input_tokens": ("inputTokenCount",),
            "output_tokens": ("outputTokenCount",),
            "cache_read_tokens": ("cacheReadInputTokenCount",),
            "cache_write_tokens": ("cacheWriteInputTokenCount",),
        },
        alongside={"input_tokens": ("cacheReadInputTokenCount", "cacheWriteInputTokenCount")},
    ),
    Convention(
        name="vercel",
        source="https://ai-sdk.dev/docs/reference/ai-sdk-core/generate-text: LanguageModelUsage of AI SDK 5 and 6, "
        "cached input inside the input; and Bedrock Converse without a cache",
        marks=("inputTokens", "outputTokens", "promptTokens", "completionTokens"),
        counts={
            "input_tokens": ("inputTokens", "promptTokens"),
            "output_tokens": ("outputTokens", "completionTokens"),
            "total_tokens": ("totalTokens",),
            "cache_read_tokens": ("cachedInputTokens", "inputTokenDetails.cacheReadTokens"),
            "cache_write_tokens": ("inputTokenDetails.cacheWriteTokens",),
            "reasoning_tokens": ("reasoningTokens", "outputTokenDetails.reasoningTokens"),
        },
    ),
    Convention(
        name="genkit",
        source="https://github.com/firebase/genkit/blob/main/js/ai/src/model-types.ts: GenerationUsageSchema",
        base="vercel",
        counts={"cache_read_tokens": ("cachedContentTokens",), "reasoning_tokens": ("thoughtsTokens",)},
    ),
    Convention(
        name="cohere",
        source="https://docs.cohere.com/reference/chat: usage.billed_units is what is billed, usage.tokens holds the "
        "tokens that Cohere itself adds as well",
        marks=("billed_units", "tokens"),
        counts={
            "input_tokens": ("billed_units.input_tokens", "tokens.input_tokens"),
            "output_tokens": ("billed_units.output_tokens", "tokens.output_tokens"),
            "input_image_tokens": ("billed_units.image_tokens", "billed_units.images"),
        },
    ),
    Convention(
        name="ollama",
        source="https://github.com/ollama/ollama/blob/main/docs/api.md: prompt_eval_count, eval_count",
        marks=("prompt_eval_count", "eval_count"),
        counts={"input_tokens": ("prompt_eval_count",), "output_tokens": ("eval_count",)},
    ),
    Convention(
        name="langchain",
        source="https://python.langchain.com/api_reference/core/messages/langchain_core.messages.ai.UsageMetadata.html:"
        " cache inside input, reasoning inside output; and OpenAI realtime, whose details are named the same way: "
        "openai.types.realtime.RealtimeResponseUsage",
        marks=("input_token_details", "output_token_details"),
        counts={
            "input_tokens": ("input_tokens",),
            "output_tokens": ("output_tokens",),
            "total_tokens": ("total_tokens",),
            "cache_read_tokens": ("input_token_details.cached_tokens", "input_token_details.cache_read"),
            "cache_write_tokens": ("input_token_details.cache_creation",),
            "cache_write_1h_tokens": ("input_token_details.ephemeral_1h_input_tokens",),
            "cache_read_audio_tokens": ("input_token_details.cached_tokens_details.audio_tokens",),
            "cache_read_image_tokens": ("input_token_details.cached_tokens_details.image_tokens",),
            "input_audio_tokens": ("input_token_details.audio_tokens", "input_token_details.audio"),
            "input_image_tokens": ("input_token_details.image_tokens",),
            "output_audio_tokens": ("output_token_details.audio_tokens", "output_token_details.audio"),
            "reasoning_tokens": ("output_token_details.reasoning",),
        },
    ),
    Convention(
        name="perplexity",
        source="https://docs.perplexity.ai/getting-started/pricing, sonar-deep-research: reasoning, citation tokens "
        "and searches are billed alongside; total_tokens is prompt + completion alone, so it is not read",
        marks=("citation_tokens", "num_search_queries", "search_context_size", "cost.total_cost"),
        needs=("prompt_tokens",),
        counts={
            "input_tokens": ("prompt_tokens",),
            "output_tokens": ("completion_tokens",),
            "reasoning_tokens": ("reasoning_tokens",),
            "citation_tokens": ("citation_tokens",),
            "web_search_requests": ("num_search_queries",),
        },
        alongside={"output_tokens": ("reasoning_tokens",)},
        costs=(Cost("cost.total_cost"),),
    ),
    Convention(
        name="anthropic",
        source="anthropic.types.Usage, anthropic.types.beta.BetaUsage: input_tokens leave cache reads and writes out; "
        "a compaction's iteration is not in the top level's numbers",
        marks=("cache_creation_input_tokens", "cache_read_input_tokens", "cache_creation", "iterations"),
        needs=("input_tokens",),
        counts={
            "input_tokens": ("input_tokens",),
            "output_tokens": ("output_tokens",),
            "cache_read_tokens": ("cache_read_input_tokens",),
            "cache_write_tokens": (
                "cache_creation_input_tokens",
                _CREATED,
            ),
            "cache_write_1h_tokens": ("cache_creation.ephemeral_1h_input_tokens",),
            "reasoning_tokens": ("output_tokens_details.thinking_tokens", "output_tokens_details.reasoning_tokens"),
            "web_search_requests": ("server_tool_use.web_search_requests",),
        },
        alongside={
            "input_tokens": (
                "cache_read_input_tokens",
                "cache_creation_input_tokens | " + _CREATED,
            )
        },
        iterations="iterations",
    ),
    Convention(
        name="openai_responses",
        source="openai.types.responses.ResponseUsage, openai.types.ImagesResponse.Usage (gpt-image-1), "
        "openai.types.audio.Transcription.UsageTokens: parts inside their totals",
        marks=("input_tokens", "output_tokens"),
        counts={
            "input_tokens": ("input_tokens",),
            "output_tokens": ("output_tokens",),
            "total_tokens": ("total_tokens",),
            "cache_read_tokens": ("input_tokens_details.cached_tokens",),
            "cache_write_tokens": ("input_tokens_details.cache_write_tokens",),
            "reasoning_tokens": ("output_tokens_details.reasoning_tokens", "output_tokens_details.thinking_tokens"),
            "input_audio_tokens": ("input_tokens_details.audio_tokens",),
            "input_image_tokens": ("input_tokens_details.image_tokens",),
            "output_audio_tokens": ("output_tokens_details.audio_tokens",),
            "output_image_tokens": ("output_tokens_details.image_tokens",),
            "cache_read_audio_tokens": ("input_tokens_details.cached_tokens_details.audio_tokens",),
            "cache_read_image_tokens": ("input_tokens_details.cached_tokens_details.image_tokens",),
            "web_search_requests": ("server_tool_use.web_search_requests",),
        },
    ),
    Convention(
        name="perplexity_responses",
        source="https://docs.perplexity.ai/api-reference/responses-post: usage.input_tokens_details, usage.cost, "
        "usage.tool_calls_details",
        base="openai_responses",
        counts={
            "cache_read_tokens": ("input_tokens_details.cache_read_input_tokens",),
            "web_search_requests": ("tool_calls_details.search_web.invocation",),
        },
        costs=(Cost("cost.total_cost"),),
    ),
    Convention(
        name="openrouter_responses",
        source="https://openrouter.ai/docs/api/api-reference: the cost of responses and transcriptions, as in chats",
        base="openai_responses",
        costs=(Cost("cost"), Cost("cost_details.upstream_inference_cost", only_if="is_byok")),
    ),
    Convention(
        name="dashscope",
        source="https://www.alibabacloud.com/help/en/model-studio/qwen-api-reference: the native interface's usage",
        base="openai_responses",
        counts={
            "cache_read_tokens": ("prompt_tokens_details.cached_tokens",),
            "cache_write_tokens": ("prompt_tokens_details.cache_creation_input_tokens",),
            "input_image_tokens": ("image_tokens",),
            "input_audio_tokens": ("audio_tokens",),
            "input_video_tokens": ("video_tokens", "input_tokens_details.video_tokens"),
        },
    ),
    Convention(
        name="xai_responses",
        source="https://docs.x.ai/docs/guides/tools/overview: server_side_tool_usage_details; cost_in_usd_ticks",
        base="openai_responses",
        counts={"web_search_requests": ("server_side_tool_usage_details.web_search_calls",)},
        costs=(Cost("cost_in_usd_ticks", per_dollar=10**10),),
    ),
    Convention(
        name="openai_chat",
        source="openai.types.CompletionUsage: parts inside their totals; embeddings have no completion",
        marks=("prompt_tokens", "completion_tokens", "total_tokens"),
        counts={
            "input_tokens": ("prompt_tokens",),
            "output_tokens": ("completion_tokens",),
            "total_tokens": ("total_tokens",),
            "cache_read_tokens": ("prompt_tokens_details.cached_tokens",),
            "cache_write_tokens": ("prompt_tokens_details.cache_write_tokens",),
            "reasoning_tokens": ("completion_tokens_details.reasoning_tokens",),
            "input_audio_tokens": ("prompt_tokens_details.audio_tokens",),
            "output_audio_tokens": ("completion_tokens_details.audio_tokens",),
            "input_image_tokens": ("prompt_tokens_details.image_tokens",),
            "output_image_tokens": ("completion_tokens_details.image_tokens",),
            "cache_read_audio_tokens": ("prompt_tokens_details.cached_tokens_details.audio_tokens",),
            "cache_read_image_tokens": ("prompt_tokens_details.cached_tokens_details.image_tokens",),
        },
    ),
    Convention(
        name="deepseek",
        source="https://api-docs.deepseek.com/api/create-chat-completion: prompt_tokens = hit + miss",
        base="openai_chat",
        counts={"cache_read_tokens": ("prompt_cache_hit_tokens",)},
    ),
    Convention(
        name="qwen",
        source="https://www.alibabacloud.com/help/en/model-studio/context-cache: explicit cache, written tokens are "
        "part of the prompt",
        base="openai_chat",
        counts={
            "cache_write_tokens": ("prompt_tokens_details.cache_creation_input_tokens",),
            "input_video_tokens": ("prompt_tokens_details.video_tokens",),
        },
    ),
    Convention(
        name="xai",
        source="https://docs.x.ai/docs/guides/reasoning and BerriAI/litellm#14127: reasoning_tokens are not part of "
        "completion_tokens, total_tokens holds both; cost_in_usd_ticks of 10**-10 dollars",
        base="openai_chat",
        counts={
            "reasoning_tokens": ("reasoning_tokens",),
            "cache_read_tokens": ("cached_prompt_text_tokens",),
            "web_search_requests": ("server_side_tool_usage_details.web_search_calls",),
        },
        costs=(Cost("cost_in_usd_ticks", per_dollar=10**10),),
    ),
    Convention(
        name="mistral",
        source="https://docs.mistral.ai/openapi.yaml: UsageInfo, with num_cached_tokens and details spelt twice",
        base="openai_chat",
        counts={"cache_read_tokens": ("num_cached_tokens", "prompt_token_details.cached_tokens")},
    ),
    Convention(
        name="moonshot",
        source="https://platform.moonshot.ai/docs/api/chat: usage.cached_tokens; Together names it so too",
        base="openai_chat",
        counts={"cache_read_tokens": ("cached_tokens",)},
    ),
    Convention(
        name="groq",
        source="https://console.groq.com/docs/prompt-caching: prompt_tokens_details.cached_tokens, as openai_chat",
        base="openai_chat",
    ),
    Convention(
        name="vllm",
        source="https://docs.vllm.ai: --enable-prompt-tokens-details gives cached_tokens, as openai_chat; SGLang and "
        "llama.cpp alike",
        base="openai_chat",
    ),
    Convention(
        name="openrouter",
        source="https://openrouter.ai/docs/use-cases/usage-accounting: cost in credits of one dollar; with a key of "
        "one's own the upstream's cost comes on top",
        base="openai_chat",
        counts={
            "input_video_tokens": ("prompt_tokens_details.video_tokens",),
            "web_search_requests": ("server_tool_use.web_search_requests",),
        },
        costs=(Cost("cost"), Cost("cost_details.upstream_inference_cost", only_if="is_byok")),
    ),
    Convention(
        name="deepinfra",
        source="https://deepinfra.com/docs/openai_api: usage.estimated_cost in dollars",
        base="openai_chat",
        costs=(Cost("estimated_cost"),),
    ),
    Convention(
        name="databricks",
        source="https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference: "
        "cache_read_input_tokens are part of prompt_tokens",
        base="openai_chat",
        counts={"cache_read_tokens": ("cache_read_input_tokens",)},
    ),
    Convention(
        name="litellm",
        source="litellm.types.utils.Usage: Anthropic's and Bedrock's counts added into prompt_tokens",
        base="openai_chat",
        counts={
            "cache_read_tokens": ("cache_read_input_tokens",),
            "cache_write_tokens": (
                "prompt_tokens_details.cache_creation_tokens",
                "cache_creation_input_tokens",
                f"{_LITELLM_CREATED}.ephemeral_5m_input_tokens + {_LITELLM_CREATED}.ephemeral_1h_input_tokens",
            ),
            "cache_write_1h_tokens": (
                f"{_LITELLM_CREATED}.ephemeral_1h_input_tokens",
                "cache_creation_token_details.ephemeral_1h_input_tokens",
                "cache_creation.ephemeral_1h_input_tokens",
            ),
            "input_video_tokens": ("prompt_tokens_details.video_tokens",),
            "web_search_requests": (
                "server_tool_use.web_search_requests",
                "prompt_tokens_details.web_search_requests",
            ),
        },
    ),
    Convention(
        name="gemini_openai",
        source="https://ai.google.dev/gemini-api/docs/openai: completion_tokens are the candidates, total_tokens hold "
        "the thoughts too, and details of completion tokens may be missing",
        base="openai_chat",
        rest="reasoning_tokens",
    ),
    Convention(
        name="langfuse",
        source="https://langfuse.com/docs/model-usage-and-cost: usage_details; langfuse-python langchain/"
        "CallbackHandler.py takes every detail out of input and output, so that the keys can be summed",
        marks=("input", "output"),
        counts={
            "input_tokens": ("input",),
            "output_tokens": ("output",),
            "total_tokens": ("total",),
            "cache_read_tokens": ("input_cached_tokens", "input_cache_read", "cache_read_input_tokens"),
            "cache_write_tokens": ("input_cache_creation", "cache_creation_input_tokens"),
            "reasoning_tokens": ("output_reasoning_tokens", "output_reasoning"),
            "input_audio_tokens": ("input_audio_tokens", "input_audio"),
            "output_audio_tokens": ("output_audio_tokens", "output_audio"),
        },
        alongside={
            "input_tokens": (
                "input_cached_tokens | input_cache_read | cache_read_input_tokens",
                "input_cache_creation | cache_creation_input_tokens",
                "input_audio_tokens | input_audio",
            ),
            "output_tokens": (
                "output_reasoning_tokens | output_reasoning",
                "output_audio_tokens | output_audio",
            ),
        },
    ),
    Convention(
        name="embeddings",
        source="openai.types.CreateEmbeddingResponse.Usage; Voyage and Jina report total_tokens alone: all is input",
        base="openai_chat",
        counts={"input_tokens": ("total_tokens",)},
    ),
    Convention(
        name="openai_images",
        source="openai.types.ImagesResponse.Usage: without output_tokens_details all output is image (gpt-image-1)",
        base="openai_responses",
        counts={"output_image_tokens": ("output_tokens",)},
    ),
)
# Read only where the caller says that the usage is of that kind: they would misread the usage of any other.
ONLY_WHEN_NAMED: Final = frozenset({"embeddings", "gemini_openai", "openai_images"})
