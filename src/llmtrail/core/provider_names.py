"""Know a provider by any of its names, and what is none: routers, frameworks. Pure data and one look-up.

The ids are those of genai-prices. The other names are what clients, conventions and frameworks write: OpenTelemetry's
`gen_ai.provider.name` and `gen_ai.system`, LiteLLM's `custom_llm_provider`, the Vercel AI SDK's provider ids, SDKs.
"""

from typing import Final

# Every name -> the provider's id.
_NAMES: Final = {
    "anthropic": ("anthropic", "claude"),
    "aws": (
        *("aws", "aws.bedrock", "aws_bedrock", "amazon.bedrock", "amazon-bedrock", "amazon_bedrock", "bedrock"),
        *("bedrock_converse", "bedrock-converse", "converse", "sagemaker", "sagemaker_chat"),
    ),
    "azure": (
        *("azure", "azure.ai.openai", "azure.ai.inference", "az.ai.openai", "az.ai.inference", "azure_openai"),
        *(
            "azure-openai",
            "azure_ai",
            "azure-ai",
            "azure_text",
            "azureopenai",
            "azure.ai.agents",
            "az.ai.agents",
            "azure_ai_foundry",
        ),
    ),
    "baseten": ("baseten",),
    "cerebras": ("cerebras",),
    "cloudflare": ("cloudflare", "workers-ai", "workersai", "cloudflare.workers-ai"),
    "cohere": ("cohere", "cohere_chat"),
    "databricks": ("databricks",),
    "deepseek": ("deepseek",),
    "fireworks": ("fireworks", "fireworks_ai", "fireworks-ai"),
    "github-copilot": ("github-copilot", "github_copilot", "copilot"),
    "google": (
        *("google", "gcp.gemini", "gcp.gen_ai", "gcp.vertex_ai", "google_genai", "google-genai", "gemini", "vertexai"),
        *("vertex_ai", "vertex_ai_beta", "vertex-ai", "vertex", "google.vertex", "google.generative-ai"),
        *("google-vertex", "google_vertexai", "google-gla", "google-vertex-anthropic", "google.vertex.anthropic"),
        *("googleai", "google_ai_studio", "palm", "gcp.vertex.agent"),
    ),
    "groq": ("groq",),
    "meta": ("meta",),
    "minimax": ("minimax",),
    "mistral": ("mistral", "mistral_ai", "mistralai", "mistral-ai"),
    "moonshotai": ("moonshotai", "moonshot", "moonshot_ai"),
    "novita": ("novita", "novita-ai", "novita_ai"),
    "openai": ("openai", "text-completion-openai", "openai_like", "openai-responses", "openai-chat"),
    "openrouter": ("openrouter",),
    "ovhcloud": ("ovhcloud", "ovh"),
    "perplexity": ("perplexity", "perplexity-ai", "perplexity_ai"),
    "together": ("together", "together_ai", "together-ai", "togetherai"),
    "voyageai": ("voyageai", "voyage", "voyage_ai"),
    "x-ai": ("x-ai", "x_ai", "xai"),
    "zai": ("zai", "z-ai", "z.ai"),
    "zhipuai": ("zhipuai", "zhipu"),
}
PROVIDERS: Final = {name: provider for provider, names in _NAMES.items() for name in names}
# What passes calls on: before a model's name it says nothing of who serves it.
ROUTERS: Final = frozenset({"litellm", "litellm_proxy", "router", "gateway", "helicone", "portkey", "chat", "invoke"})
# What makes calls, or hosts many providers' models, and serves none itself.
FRAMEWORKS: Final = frozenset(
    {
        *("langchain", "langgraph", "langsmith", "litellm", "litellm_proxy", "llamaindex", "llama_index", "haystack"),
        *("crewai", "autogen", "agno", "semantic_kernel", "semantic-kernel", "traceloop", "vercel", "ai", "genkit"),
        *("strands", "strands-agents", "pydantic_ai", "pydantic-ai", "spring_ai", "spring-ai", "dspy", "smolagents"),
        *("mastra", "openai_agents", "openinference", "logfire", "langfuse", "mlflow", "gateway", "other", "unknown"),
        *("openai-compatible", "openai_compatible", "custom_openai", "_other", "livekit", "google_adk"),
        *("gcp.vertex.agent", "opencode", "copilot_chat"),
    }
)
# The Vercel AI SDK adds the kind of model: "azure.chat", "google.vertex.chat", "openai.responses".
_KINDS: Final = frozenset(
    {"chat", "responses", "completion", "completions", "embedding", "embeddings", "textembedding", "messages", "image"}
)


def provider_id(name: str | None) -> str | None:
    """Return a provider's id by any of its names; frameworks have none, an unknown name stays as it is."""
    if not name:
        return None
    value = name.strip().lower()
    found = PROVIDERS.get(value)
    if found is not None:
        return found
    head, dot, kind = value.rpartition(".")
    if dot and kind in _KINDS:
        return provider_id(head)
    return None if value in FRAMEWORKS or not value else value
