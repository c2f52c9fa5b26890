"""One model has one name, whoever writes it: names as providers, routers, SDKs and tracers send them."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Final

import pytest
from genai_prices import data_snapshot
from genai_prices.types import ModelInfo

from llmtrail.core.call import Call, Usage
from llmtrail.core.model_identity import Identity, ModelTable, normalized
from llmtrail.core.pricing import price
from llmtrail.core.provider_names import provider_id
from llmtrail_ingest.pricebook import load_pricebook

TABLE = load_pricebook().models


def _model(provider: str | None, name: str) -> str:
    return TABLE.resolve(provider, name, None).model


def _written(listed: ModelInfo) -> tuple[str, ...]:
    clauses = [listed.match, *getattr(listed.match, "or_", ())]
    return (listed.id, *(clause.equals for clause in clauses if hasattr(clause, "equals")))


def _asked_by(table: ModelTable, model: str, provider: str | None, name: str) -> bool:
    return any(rule.matches(normalized(provider, name)) for rule in table.names_of(model))


# Spellings of one model, each from a provider's reference, a router's list or a public report.
SPELLINGS: Final = {
    "gpt-4o": (
        "gpt-4o",
        "GPT-4o",
        " gpt-4o ",
        "gpt-4o-2024-08-06",
        "gpt-4o-2024-05-13",
        "gpt-4o-20240806",  # OpenRouter's permanent slug (pydantic/genai-prices: compact dates)
        "openai/gpt-4o",
        "azure/gpt-4o",
        "azure/gpt-4o-2024-11-20",
        "azure_ai/gpt-4o",
        "openrouter/openai/gpt-4o",
        "openrouter/openai/gpt-4o:extended",
        "openai/gpt-4o:nitro",
        "openai/gpt-4o:floor",
        "openai/gpt-4o:online",
        "azure/responses/gpt-4o",
        "litellm_proxy/openai/gpt-4o",
        "vercel/openai/gpt-4o",
        "github/gpt-4o",
    ),
    "gpt-4": ("gpt-4", "gpt-4-0613", "gpt-4-0314", "text-completion-openai/gpt-4"),
    "gpt-4-turbo": ("gpt-4-turbo", "gpt-4-turbo-2024-04-09", "gpt-4-turbo-preview"),
    "gpt-4.1": ("gpt-4.1", "gpt-4.1-2025-04-14", "openai/gpt-4.1"),
    "gpt-3.5-turbo": (
        "gpt-3.5-turbo",
        "gpt-35-turbo",
        "gpt-3.5-turbo-0125",
        "gpt-3.5-turbo-1106",
        "azure/gpt-35-turbo",
    ),
    "o3-mini": ("o3-mini", "o3-mini-2025-01-31"),
    "gpt-5.2": ("gpt-5.2", "gpt-5-2", "gpt-5.2-2025-12-11", "gpt-5.2-20251211"),
    "gpt-realtime": ("gpt-realtime", "gpt-realtime-2025-08-28"),
    "gpt-4o-mini-search-preview": ("gpt-4o-mini-search-preview", "gpt-4o-mini-search-preview-2025-03-11"),
    "claude-sonnet-4-5": (
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-sonnet-4.5",
        "anthropic/claude-sonnet-4.5",
        "anthropic/claude-4.5-sonnet-20250929",  # OpenRouter's canonical_slug
        "openrouter/anthropic/claude-sonnet-4.5:beta",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "jp.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/converse/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/us-west-2/anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "bedrock/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "claude-sonnet-4-5@20250929",
        "claude-sonnet-4-5@default",
        "vertex_ai/claude-sonnet-4-5@20250929",
        "projects/acme/locations/us-east5/publishers/anthropic/models/claude-sonnet-4-5@20250929",
        "claude-sonnet-4-5-20250929[1m]",  # Claude Code's name of the long context window
    ),
    "claude-3-5-sonnet": (
        "claude-3-5-sonnet-latest",
        "claude-3-5-sonnet-20240620",
        "claude-3.5-sonnet",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "anthropic.claude-3-5-sonnet-20240620-v1:0:200k",
        "claude-3-5-sonnet-v2@20241022",
    ),
    "claude-3-7-sonnet": ("claude-3-7-sonnet-latest", "claude-3-7-sonnet-20250219", "claude-3.7-sonnet"),
    "claude-opus-4-0": ("claude-opus-4", "claude-opus-4-0", "claude-opus-4-20250514", "claude-4-opus-20250514"),
    "gemini-2.5-flash": (
        "gemini-2.5-flash",
        "models/gemini-2.5-flash",
        "gemini/gemini-2.5-flash",
        "google/gemini-2.5-flash",
        "vertex_ai/gemini-2.5-flash",
        "vertex_ai_beta/gemini-2.5-flash",
        "publishers/google/models/gemini-2.5-flash",
        "projects/acme/locations/europe-west4/publishers/google/models/gemini-2.5-flash",
        "gemini-2.5-flash-preview-05-20",
        "gemini-2.5-flash-preview-09-2025",
        "gemini-2.5-flash-latest",
    ),
    "gemini-1.5-pro": ("gemini-1.5-pro", "gemini-1.5-pro-002", "gemini-1.5-pro-latest", "models/gemini-1.5-pro-001"),
    "mistral-large": ("mistral-large-latest", "mistral-large-2411", "mistral/mistral-large-2512", "mistral-large-2407"),
    "grok-4": ("grok-4", "grok-4-0709", "grok-4-latest", "xai/grok-4", "x-ai/grok-4"),
    "command-r-plus": ("command-r-plus", "command-r-plus-08-2024", "cohere_chat/command-r-plus-08-2024"),
    "deepseek-v3.1": ("deepseek-v3.1", "accounts/fireworks/models/deepseek-v3p1", "deepseek/deepseek-v3.1"),
    "text-embedding-3-small": ("text-embedding-3-small", "openai/text-embedding-3-small"),
    # OpenAI's answer to text-embedding-ada-002: platform.openai.com/docs/api-reference/embeddings
    "text-embedding-ada-002": ("text-embedding-ada-002", "text-embedding-ada-002-v2", "azure/text-embedding-ada-002"),
    "grok-3-mini": ("grok-3-mini", "grok-3-mini-beta", "grok-3-mini-latest", "xai/grok-3-mini"),  # docs.x.ai's aliases
    "gpt-oss-120b": (
        "openai/gpt-oss-120b",
        "accounts/fireworks/models/gpt-oss-120b",
        "databricks-gpt-oss-120b",
        "system.ai.gpt-oss-120b",
        "vertex_ai/openai/gpt-oss-120b-maas",
        "openai/gpt-oss-120b:groq",
        "openai/gpt-oss-120b:fastest",
    ),
}
# What was asked and what answers to it, of one model: a failure bears the first name alone.
ASKED_AND_ANSWERED: Final = (
    ("openai", "text-embedding-ada-002", "text-embedding-ada-002-v2"),
    ("openai", "gpt-4-turbo-preview", "gpt-4-0125-preview"),
    ("azure", "gpt-35-turbo", "gpt-3.5-turbo-0125"),
    ("anthropic", "claude-opus-4-0", "claude-opus-4-20250514"),
    ("databricks", "databricks-claude-sonnet-4-5", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
    ("google", "gemini-2.5-pro-preview-06-05", "gemini-2.5-pro"),
    ("mistral", "mistral-medium-latest", "mistral-medium-2508"),
    ("mistral", "open-mistral-nemo", "open-mistral-nemo-2407"),
    ("mistral", "magistral-medium-latest", "magistral-medium-2509"),
    ("xai", "grok-3-mini", "grok-3-mini-beta"),
    ("xai", "grok-code-fast", "grok-code-fast-1-0825"),
    ("xai", "grok-2-vision-latest", "grok-2-vision-1212"),
    ("groq", "moonshotai/kimi-k2-instruct", "moonshotai/kimi-k2-instruct-0905"),
    ("cohere", "command-r", "command-r-08-2024"),
    ("openrouter", "x-ai/grok-4", "x-ai/grok-4-07-09"),
    ("openrouter", "anthropic/claude-haiku-4.5", "anthropic/claude-4.5-haiku-20251001"),
    ("openrouter", "openai/gpt-4o-mini:online", "openai/gpt-4o-mini"),
)
# Models of one family, which are not one model: what is merged here is billed or alarmed wrongly.
APART: Final = (
    ("gpt-4o", "gpt-4o-mini", "gpt-4o-audio-preview", "gpt-4o-realtime-preview", "gpt-4o-search-preview"),
    ("gpt-4o-mini", "gpt-4o-mini-search-preview", "gpt-4o-mini-tts", "gpt-4o-mini-transcribe"),
    ("gpt-4", "gpt-4.1", "gpt-4-turbo", "gpt-4-32k", "gpt-4-vision-preview", "gpt-4o", "gpt-4.5-preview"),
    ("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano"),
    (
        "gpt-5",
        "gpt-5-mini",
        "gpt-5-nano",
        "gpt-5-pro",
        "gpt-5-codex",
        "gpt-5-chat",
        "gpt-5.1",
        "gpt-5.2",
        "gpt-5-image",
    ),
    ("o1", "o1-mini", "o1-preview", "o1-pro", "o3", "o3-mini", "o3-pro", "o4-mini", "o3-deep-research"),
    ("claude-3-5-sonnet", "claude-3-7-sonnet", "claude-3-sonnet", "claude-sonnet-4", "claude-sonnet-4-5"),
    ("claude-opus-4", "claude-opus-4-1", "claude-opus-4-5", "claude-opus-4-6", "claude-opus-5"),
    ("claude-3-haiku", "claude-3-5-haiku", "claude-haiku-4-5"),
    ("gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-flash-image", "gemini-2.5-flash-tts", "gemini-2.5-pro"),
    ("mistral-small-latest", "mistral-large-latest", "mistral-medium-latest", "mistral-tiny", "codestral-latest"),
    ("amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0"),
    ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"),
    ("text-davinci-002", "text-davinci-003", "davinci", "davinci-002"),
    ("minimax-m2", "minimax-m2.1", "minimax-m2.5", "minimax-m2.7"),
    ("gpt-realtime-2", "gpt-realtime-2.1"),
    ("gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2"),
    ("grok-3", "grok-3-mini", "grok-4", "grok-4-fast-reasoning", "grok-4-1-fast-reasoning"),
    ("llama-3.3-70b-instruct", "llama-3.1-70b-instruct", "llama-3.1-8b-instruct"),
    ("ft:gpt-4o-2024-08-06:acme::abc", "ft:gpt-4o-2024-08-06:acme::xyz", "gpt-4o"),
)


def test_spellings_of_a_model_mean_one_model() -> None:
    for model, names in SPELLINGS.items():
        assert {name: _model(None, name) for name in names} == dict.fromkeys(names, model)


def test_the_models_of_a_family_stay_apart() -> None:
    for names in APART:
        models = [_model(None, name) for name in names]
        assert [pair for pair in combinations(models, 2) if pair[0] == pair[1]] == []


def test_every_listed_name_resolves_to_a_known_model_and_that_to_itself() -> None:
    known = set(TABLE.known())
    for provider in data_snapshot.get_snapshot().providers:
        for listed in provider.models:
            for name in _written(listed):
                found = TABLE.resolve(provider.id, name, None)
                if not name.startswith("ft:"):
                    assert found.model in known, (provider.id, name)
                again = TABLE.resolve(None, found.model, None)
                assert (again.model, again.known) == (found.model, found.known), (provider.id, name)


def test_known_models_are_their_own_names() -> None:
    assert [model for model in TABLE.known() if _model(None, model) != model] == []


def test_the_answering_model_decides_where_it_is_known_else_the_asked_one() -> None:
    assert TABLE.resolve("openrouter", "openrouter/auto", "openai/gpt-4o").model == "gpt-4o"
    assert TABLE.resolve("openai", "gpt-4o", "gpt-4o-2024-08-06").model == "gpt-4o"
    assert TABLE.resolve("openai", "gpt-4o", None).model == "gpt-4o"
    assert TABLE.resolve("openai", "gpt-4o", "some-proxy-name").model == "gpt-4o"
    # Neither is known: what was asked stands in failures too.
    assert TABLE.resolve("vllm", "Shop-Model", "shop-model-20250101-q4").model == "shop-model"
    assert TABLE.resolve("vllm", None, "Shop-Model").model == "shop-model"
    assert TABLE.resolve("vllm", None, None).model == ""


@pytest.mark.parametrize(("provider", "asked", "answered"), ASKED_AND_ANSWERED)
def test_a_failure_lands_in_the_group_of_its_models_answers(provider: str, asked: str, answered: str) -> None:
    failed, answer = TABLE.resolve(provider, asked, None), TABLE.resolve(provider, asked, answered)
    assert answer.known
    assert failed.model == answer.model


def test_failures_of_a_deployment_land_in_its_models_group() -> None:
    book = load_pricebook(aliases={"azure/prod-chat": "gpt-4o", "azure/mini-*": "gpt-4o-mini-2024-07-18"})
    answered = Call(
        started_at=1, provider="azure.ai.openai", request_model="prod-chat", response_model="gpt-4o-2024-08-06"
    )
    failed = Call(started_at=1, provider="azure", request_model="prod-chat")
    assert book.model(answered) == book.model(failed) == "gpt-4o"
    assert book.model(Call(started_at=1, provider="azure", request_model="mini-eu")) == "gpt-4o-mini"
    assert book.model(Call(started_at=1, provider="vllm", request_model="prod-chat")) == "prod-chat"


def test_an_application_profile_is_known_by_configuration_alone() -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1b2c3"
    assert not TABLE.resolve("aws.bedrock", arn, None).known
    told = load_pricebook(aliases={arn: "claude-sonnet-4-5"}).models
    assert told.resolve("aws.bedrock", arn, None) == Identity("claude-sonnet-4-5", "aws", known=True)


@pytest.mark.parametrize(
    ("word", "provider"),
    [
        ("azure.chat", "azure"),
        ("azure-openai.responses", "azure"),
        ("google.vertex.chat", "google"),
        ("google.generative-ai", "google"),
        ("xai.chat", "x-ai"),
        ("fireworks.chat", "fireworks"),
        ("az.ai.agents", "azure"),
        ("langchain", None),
        ("Langchain", None),
        ("litellm", None),
        ("langsmith", None),
        ("traceloop", None),
        ("strands-agents", None),
        ("custom", "custom"),
    ],
)
def test_a_frameworks_word_is_no_provider(word: str, provider: str | None) -> None:
    assert provider_id(word) == provider


def test_a_prefix_names_the_provider_where_the_call_names_none() -> None:
    assert normalized(None, "gemini/gemini-2.5-flash").provider == "google"
    assert normalized("langchain", "anthropic/claude-3-5-haiku-latest").provider == "anthropic"
    assert normalized("openrouter", "anthropic/claude-3-5-haiku").provider == "openrouter"


def test_a_fine_tune_is_its_own_model_whatever_the_date_of_its_base() -> None:
    assert _model("openai", "ft:gpt-4o-2024-08-06:acme::AbC") == "ft:gpt-4o:acme::abc"


def test_a_models_names_tell_a_client_without_a_table_what_it_asks_for() -> None:
    for asked in SPELLINGS["claude-sonnet-4-5"]:
        assert _asked_by(TABLE, "claude-sonnet-4-5", None, asked), asked
    assert not _asked_by(TABLE, "claude-sonnet-4-5", None, "claude-sonnet-4-6")
    aliased = load_pricebook(aliases={"azure/prod-*": "gpt-4o-2024-08-06"}).models
    assert _asked_by(aliased, "gpt-4o", "azure.ai.openai", "prod-eu")
    assert not _asked_by(aliased, "gpt-4o", "vllm", "prod-eu")
    assert not _asked_by(aliased, "gpt-4o-mini", "azure", "prod-eu")


def test_names_of_litellms_users_have_one_model_and_its_price() -> None:
    listed = json.loads((Path(__file__).parents[2] / "fixtures" / "names" / "litellm.json").read_text())
    assert len(listed["rows"]) > 150
    book = load_pricebook()
    at_ns = int(datetime(2026, 11, 30, 20, tzinfo=UTC).timestamp()) * 10**9
    wrong = []
    for provider, name, model, given, gave in listed["rows"]:
        usage = Usage(input_tokens=10_000, output_tokens=10_000)
        call = Call(started_at=1, provider=provider, request_model=name, usage=usage)
        cost_nanousd = price(call, at_ns, book).cost_nanousd
        if (book.model(call), cost_nanousd) != (model, int((Decimal(given) + Decimal(gave)) * 10**7)):
            wrong.append((provider, name, model, book.model(call), cost_nanousd))
    assert wrong == []


def test_a_gateway_that_passes_on_its_vendors_prices_costs_what_they_cost() -> None:
    # developers.cloudflare.com/ai-gateway/usage/chat-completion: model "anthropic/claude-sonnet-4-5"
    usage = Usage(input_tokens=1_000, output_tokens=1_000)
    call = Call(started_at=1, provider="cloudflare", request_model="anthropic/claude-sonnet-4-5", usage=usage)
    assert price(call, 1_796_072_400_000_000_000, load_pricebook()).cost_nanousd == 18_000_000
