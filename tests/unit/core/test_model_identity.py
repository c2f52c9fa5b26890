"""One model has one name, by whatever name it is asked for, and different models have different ones."""

import pytest

from llmtrail.core.model_identity import Identity, ModelTable, normalized
from llmtrail.core.provider_names import provider_id
from llmtrail_ingest.pricebook import load_pricebook

TABLE = load_pricebook(
    aliases={
        "prod-chat": "gpt-4o",
        "arn:aws:bedrock:us-east-1:1:application-inference-profile/k8s7": "claude-sonnet-4-5",
    }
).models

# Names as clients, clouds and gateways write them, by the model that they mean: providers' references, LiteLLM's and
# OpenRouter's lists of models, Bedrock's and Vertex AI's model ids.
SAME = {
    "gpt-4o": (
        "gpt-4o-2024-08-06", "gpt-4o-2024-11-20", "gpt-4o-2024-05-13", "openai/gpt-4o", "azure/gpt-4o", "GPT-4o",
        "openrouter/openai/gpt-4o", "openai/gpt-4o-2024-08-06", "litellm_proxy/gpt-4o", " gpt-4o ", "prod-chat",
        "azure_ai/gpt-4o", "openai/gpt-4o:online", "openrouter/openai/gpt-4o:nitro",
    ),
    "gpt-4o-mini": ("gpt-4o-mini-2024-07-18", "azure/gpt-4o-mini", "openai/gpt-4o-mini-2024-07-18"),
    "gpt-4": ("gpt-4-0613", "gpt-4-0314"),
    "gpt-4-turbo": ("gpt-4-turbo-2024-04-09", "gpt-4-0125-preview", "gpt-4-1106-preview", "gpt-4-turbo-preview"),
    "gpt-3.5-turbo": ("gpt-3.5-turbo-0125", "gpt-35-turbo", "gpt-3.5-turbo-0613", "gpt-3.5-turbo-1106"),
    "gpt-4.1-mini": ("gpt-4.1-mini-2025-04-14",),
    "gpt-5-mini": ("gpt-5-mini-2025-08-07",),
    "o1": ("o1-2024-12-17",),
    "o3-mini": ("o3-mini-2025-01-31", "azure/o3-mini"),
    "claude-sonnet-4-5": (
        "claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4-5-20250929", "anthropic/claude-sonnet-4.5",
        "openrouter/anthropic/claude-sonnet-4.5", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5-latest",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/converse/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-east-1:1:application-inference-profile/k8s7",
        "vertex_ai/claude-sonnet-4-5@20250929", "publishers/anthropic/models/claude-sonnet-4-5@20250929",
    ),
    "claude-3-5-sonnet": (
        "claude-3-5-sonnet-latest", "claude-3-5-sonnet-20241022", "claude-3-5-sonnet-20240620",
        "anthropic.claude-3-5-sonnet-20241022-v2:0", "claude-3-5-sonnet-v2@20241022",
        "anthropic/claude-3.5-sonnet:beta",
    ),
    "claude-3-7-sonnet": ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219",
        "anthropic/claude-3.7-sonnet:thinking"),
    "claude-3-haiku": ("claude-3-haiku-20240307", "anthropic.claude-3-haiku-20240307-v1:0"),
    "claude-opus-4-1": ("claude-opus-4-1-20250805",),
    "gemini-2.5-flash": ("models/gemini-2.5-flash",
        "gemini/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash",
        "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash", "google/gemini-2.5-flash",
        "vertex_ai/gemini-2.5-flash"),
    "gemini-2.0-flash": ("gemini-2.0-flash-001", "google/gemini-2.0-flash-001", "models/gemini-2.0-flash-001"),
    "gemini-1.5-pro": ("gemini-1.5-pro-002", "gemini-1.5-pro-latest"),
    "mistral-large": ("mistral-large-latest", "mistral-large-2411", "mistral-large-2407", "mistral/mistral-large-2512"),
    "mistral-small": ("mistral-small-latest", "mistral-small-2506"),
    "codestral": ("codestral-latest", "codestral-2508"),
    "grok-4": ("grok-4-0709", "grok-4-latest", "xai/grok-4", "x-ai/grok-4"),
    "command-r-plus": ("command-r-plus-08-2024", "cohere_chat/command-r-plus-08-2024"),
    "text-embedding-3-small": ("openai/text-embedding-3-small", "azure/text-embedding-3-small"),
    "gpt-realtime": ("gpt-realtime-2025-08-28",),
    "gpt-oss-120b": ("openai/gpt-oss-120b", "openai.gpt-oss-120b-1:0", "groq/openai/gpt-oss-120b"),
}  # fmt: skip
DIFFERENT = (
    ("gpt-4o", "gpt-4o-mini", "gpt-4o-audio-preview-2024-12-17", "gpt-4o-realtime-preview-2024-12-17",
     "gpt-4o-search-preview-2025-03-11", "gpt-4o-transcribe", "ft:gpt-4o-2024-08-06:acme::abc", "chatgpt-4o-latest"),
    ("gpt-4", "gpt-4.1", "gpt-4-turbo", "gpt-4-32k-0613", "gpt-4.5-preview"),
    ("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"),
    ("o1", "o1-mini", "o1-preview-2024-09-12", "o1-pro"),
    ("claude-3-5-sonnet-20241022", "claude-3-7-sonnet-20250219", "claude-3-5-haiku-20241022", "claude-sonnet-4-5",
     "claude-sonnet-4-20250514", "claude-3-sonnet-20240229"),
    ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-2.5-flash-image"),
    ("gemini-1.5-flash", "gemini-1.5-flash-8b", "gemini-1.5-pro"),
    ("mistral-small-latest", "mistral-large-latest", "mistral-medium-latest"),
    ("davinci", "davinci-002"),
    ("amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0"),
    ("ft:gpt-4o-mini-2024-07-18:acme::abc", "ft:gpt-4o-mini-2024-07-18:acme::def", "gpt-4o-mini"),
    ("acme/support-bot", "beta/support-bot"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "name"), [(model, name) for model, names in SAME.items() for name in (model, *names)]
)
def test_every_name_of_a_model_means_it(model: str, name: str) -> None:
    assert TABLE.resolve(None, name, None).model == model
    assert TABLE.resolve(None, model, name).model == model


@pytest.mark.parametrize("names", DIFFERENT, ids=lambda names: names[0])
def test_different_models_have_different_names(names: tuple[str, ...]) -> None:
    assert len({TABLE.resolve(None, name, None).model for name in names}) == len(names)


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, names in SAME.items() for name in names])
def test_a_caller_without_a_table_knows_the_names_too(model: str, name: str) -> None:
    named = normalized(None, name)
    assert named.name == model or any(rule.matches(named) for rule in TABLE.names_of(model))


# Whether "-002" is a release only a table can tell; a caller takes it for one.
@pytest.mark.parametrize("names", [some for some in DIFFERENT if "davinci" not in some], ids=lambda names: names[0])
def test_a_caller_without_a_table_takes_no_model_for_another(names: tuple[str, ...]) -> None:
    models = [TABLE.resolve(None, name, None).model for name in names]
    for model in models:
        rules = TABLE.names_of(model)
        meant = [name for name in names if any(rule.matches(normalized(None, name)) for rule in rules)]
        assert len(meant) <= 1, (model, meant)


def test_every_listed_model_stays_itself() -> None:
    for model in TABLE.known():
        assert TABLE.resolve(None, model, None) == Identity(model, normalized(None, model).provider, known=True)


@pytest.mark.parametrize(
    ("provider", "asked", "answered", "model"),
    [
        ("openai", "gpt-4o", None, "gpt-4o"),  # a failure bears only the name that was asked for
        ("azure", "prod-chat", None, "gpt-4o"),
        ("azure", "prod-chat", "gpt-4o-2024-11-20", "gpt-4o"),
        ("openrouter", "openrouter/auto", "anthropic/claude-sonnet-4.5", "claude-sonnet-4-5"),
        ("openai", "gpt-4o", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),  # what answered, not what was asked for
        ("vllm", "/models/support-bot", "/models/support-bot", "support-bot"),
        ("custom", "my-router", "qwen-of-ours", "my-router"),
        (None, None, None, ""),
    ],
)
def test_the_answer_decides_where_it_is_known(
    provider: str | None, asked: str | None, answered: str | None, model: str
) -> None:
    assert TABLE.resolve(provider, asked, answered).model == model


@pytest.mark.parametrize(
    ("told", "provider"),
    [
        *(
            ("azure.chat", "azure"),
            ("google.vertex.chat", "google"),
            ("xai.chat", "x-ai"),
            ("openai.responses", "openai"),
        ),
        *(("fireworks.chat", "fireworks"), ("aws.bedrock", "aws"), ("az.ai.openai", "azure"), ("OpenAI", "openai")),
        *(
            ("gcp.vertex_ai", "google"),
            ("vertex_ai_beta", "google"),
            ("cohere_chat", "cohere"),
            ("mistral_ai", "mistral"),
        ),
        *(("Langchain", None), ("langsmith", None), ("litellm", None), ("traceloop", None), ("", None), (None, None)),
        *(("127.0.0.1", "127.0.0.1"), ("vllm", "vllm"), ("amazon-bedrock", "aws"), ("togetherai.chat", "together")),
    ],
)
def test_frameworks_are_no_providers(told: str | None, provider: str | None) -> None:
    assert provider_id(told) == provider


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("openrouter/anthropic/claude-sonnet-4.5", "anthropic"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws"),
        ("vertex_ai/gemini-2.5-flash", "google"),
        ("gpt-4o", None),
        ("meta-llama/Llama-3.3-70B-Instruct", None),
    ],
)
def test_a_prefix_tells_the_provider_where_nothing_else_does(name: str, provider: str | None) -> None:
    assert normalized(None, name).provider == provider


def test_a_table_without_models_takes_names_apart() -> None:
    assert ModelTable().resolve("openai", "openai/some-model-2025-01-01", None) == Identity(
        "some-model", "openai", known=False
    )
