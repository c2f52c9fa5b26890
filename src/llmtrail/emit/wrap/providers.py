"""Name the provider behind a client, from its class and its host. Pure; asks no network."""

import re

# Ends of host names, and the names that price lists and OpenTelemetry's conventions know their owners by.
_BY_HOST = (
    ("openai.com", "openai"),
    ("openai.azure.com", "azure"),
    ("cognitiveservices.azure.com", "azure"),
    ("services.ai.azure.com", "azure"),
    ("anthropic.com", "anthropic"),
    ("groq.com", "groq"),
    ("deepseek.com", "deepseek"),
    ("openrouter.ai", "openrouter"),
    ("together.xyz", "together"),
    ("together.ai", "together"),
    ("mistral.ai", "mistral_ai"),
    ("x.ai", "x_ai"),
    ("perplexity.ai", "perplexity"),
    ("fireworks.ai", "fireworks"),
    ("cerebras.ai", "cerebras"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("moonshot.ai", "moonshot_ai"),
    ("moonshot.cn", "moonshot_ai"),
    ("dashscope.aliyuncs.com", "dashscope"),
    ("dashscope-intl.aliyuncs.com", "dashscope"),
    ("dashscope-us.aliyuncs.com", "dashscope"),
    ("deepinfra.com", "deepinfra"),
    ("nebius.com", "nebius"),
    ("sambanova.ai", "sambanova"),
    ("novita.ai", "novita"),
    ("hyperbolic.xyz", "hyperbolic"),
    ("router.huggingface.co", "huggingface"),
    ("cohere.ai", "cohere"),
    ("cohere.com", "cohere"),
    ("z.ai", "zai"),
    ("bigmodel.cn", "zhipuai"),
    ("minimax.io", "minimax"),
    ("minimaxi.com", "minimax"),
    ("voyageai.com", "voyageai"),
    ("baseten.co", "baseten"),
    ("api.aws", "aws.bedrock"),
)
# Hosts that hold a region: bedrock-runtime.us-west-2.amazonaws.com, europe-west1-aiplatform.googleapis.com
_BY_PATTERN = (
    (re.compile(r"bedrock[a-z-]*\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?"), "aws.bedrock"),
    (re.compile(r"[a-z0-9-]+-aiplatform\.googleapis\.com"), "gcp.vertex_ai"),
)
# Classes whose calls never go to the vendor of the SDK.
_BY_CLASS = {
    "AzureOpenAI": "azure",
    "AsyncAzureOpenAI": "azure",
    "BedrockOpenAI": "aws.bedrock",
    "AsyncBedrockOpenAI": "aws.bedrock",
    "AnthropicBedrock": "aws.bedrock",
    "AsyncAnthropicBedrock": "aws.bedrock",
    "AnthropicBedrockMantle": "aws.bedrock",
    "AsyncAnthropicBedrockMantle": "aws.bedrock",
    "AnthropicVertex": "gcp.vertex_ai",
    "AsyncAnthropicVertex": "gcp.vertex_ai",
    "AnthropicFoundry": "azure",
    "AsyncAnthropicFoundry": "azure",
}


def provider_of(class_names: tuple[str, ...], sdk: str, host: str | None) -> str:
    """Return the provider's name: by the client's class, by a known host, else the host itself.

    `class_names` are the client's class and its bases; `sdk` is the package it comes from. Anthropic's protocol behind
    an unknown host is still Anthropic's model; OpenAI's is spoken by everyone.
    """
    for name in class_names:
        if name in _BY_CLASS:
            return _BY_CLASS[name]
    host = (host or "").lower()
    for pattern, provider in _BY_PATTERN:
        if pattern.fullmatch(host):
            return provider
    for ending, provider in _BY_HOST:
        if host == ending or host.endswith("." + ending):
            return provider
    return sdk if sdk != "openai" or not host else host
