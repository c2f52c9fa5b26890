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
    ("cohere.ai", "cohere"),
    ("cohere.com", "cohere"),
    ("z.ai", "zai"),
    ("bigmodel.cn", "zhipuai"),
    ("minimax.io", "minimax"),
    ("minimaxi.com", "minimax"),
    ("minimax.com", "minimax"),
    ("azure-api.net", "azure"),
    ("models.inference.ai.azure.com", "azure"),
    ("arcee.ai", "arcee"),
    ("avian.io", "avian"),
    ("api.cloudflare.com", "cloudflare"),
    ("cloud.databricks.com", "databricks"),
    ("gcp.databricks.com", "databricks"),
    ("azuredatabricks.net", "databricks"),
    ("doubleword.ai", "doubleword"),
    ("elevenlabs.io", "elevenlabs"),
    ("githubcopilot.com", "github-copilot"),
    ("api.meta.ai", "meta"),
    ("modal.run", "modal"),
    ("modal.direct", "modal"),
    ("ai.cloud.ovh.net", "ovhcloud"),
    ("quicksilverpro.io", "quicksilverpro"),
    ("typesafe.ai", "typesafe"),
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


# A router that names the provider in the path: https://router.huggingface.co/groq/openai/v1
_HUGGING_FACE = "router.huggingface.co"
_OWN_PATHS = ("v1", "hf-inference", "")


def provider_of(class_names: tuple[str, ...], sdk: str, host: str | None, path: str = "") -> str:
    """Return the provider's name: by the client's class, by a known host, else the host itself.

    `class_names` are the client's class and its bases; `sdk` is the package it comes from; `path` is the address's.
    Anthropic's protocol behind an unknown host is still Anthropic's model; OpenAI's is spoken by everyone.
    """
    for name in class_names:
        if name in _BY_CLASS:
            return _BY_CLASS[name]
    host = (host or "").lower()
    if host == _HUGGING_FACE:
        upstream = path.strip("/").partition("/")[0]
        return "huggingface" if upstream in _OWN_PATHS else f"huggingface_{upstream}"
    for pattern, provider in _BY_PATTERN:
        if pattern.fullmatch(host):
            return provider
    for ending, provider in _BY_HOST:
        if host == ending or host.endswith("." + ending):
            return provider
    return sdk if sdk != "openai" or not host else host
