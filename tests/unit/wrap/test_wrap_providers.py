"""Hosts of compatible servers: the provider that is named is the one that the public price list knows."""

import re

import pytest
from genai_prices.data import providers

from llmtrail.core.provider_names import provider_id
from llmtrail.emit.wrap.providers import provider_of

# Where a provider of the price list answers: host and path.
ADDRESSES = {
    "anthropic": ("api.anthropic.com", "/v1/messages"),
    "arcee": ("api.arcee.ai", "/api/v1/chat/completions"),
    "avian": ("api.avian.io", "/v1/chat/completions"),
    "aws": ("bedrock-runtime.eu-central-1.amazonaws.com", "/openai/v1/chat/completions"),
    "azure": ("res.openai.azure.com", "/openai/v1/chat/completions"),
    "baseten": ("inference.baseten.co", "/v1/chat/completions"),
    "cerebras": ("api.cerebras.ai", "/v1/chat/completions"),
    "cloudflare": ("api.cloudflare.com", "/client/v4/accounts/a/ai/v1/chat/completions"),
    "cohere": ("api.cohere.ai", "/compatibility/v1/chat/completions"),
    "databricks": ("dbc-1.cloud.databricks.com", "/serving-endpoints/chat/completions"),
    "deepseek": ("api.deepseek.com", "/chat/completions"),
    "doubleword": ("api.doubleword.ai", "/v1/chat/completions"),
    "elevenlabs": ("api.eu.residency.elevenlabs.io", "/v1/chat/completions"),
    "fireworks": ("api.fireworks.ai", "/inference/v1/chat/completions"),
    "github-copilot": ("api.githubcopilot.com", "/chat/completions"),
    "google": ("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions"),
    "groq": ("api.groq.com", "/openai/v1/chat/completions"),
    "huggingface_cerebras": ("router.huggingface.co", "/cerebras/v1/chat/completions"),
    "huggingface_groq": ("router.huggingface.co", "/groq/openai/v1/chat/completions"),
    "huggingface_together": ("router.huggingface.co", "/together/v1/chat/completions"),
    "meta": ("api.meta.ai", "/v1/chat/completions"),
    "minimax": ("api.minimax.io", "/v1/chat/completions"),
    "mistral": ("api.mistral.ai", "/v1/chat/completions"),
    "modal": ("acme--serve.modal.run", "/v1/chat/completions"),
    "moonshotai": ("api.moonshot.ai", "/v1/chat/completions"),
    "novita": ("api.novita.ai", "/v3/openai/chat/completions"),
    "openai": ("eu.api.openai.com", "/v1/chat/completions"),
    "openrouter": ("openrouter.ai", "/api/v1/chat/completions"),
    "ovhcloud": ("oai.endpoints.kepler.ai.cloud.ovh.net", "/v1/chat/completions"),
    "perplexity": ("api.perplexity.ai", "/chat/completions"),
    "quicksilverpro": ("api.quicksilverpro.io", "/v1/chat/completions"),
    "together": ("api.together.xyz", "/v1/chat/completions"),
    "typesafe": ("api.typesafe.ai", "/v1/chat/completions"),
    "voyageai": ("api.voyageai.com", "/v1/embeddings"),
    "x-ai": ("api.x.ai", "/v1/chat/completions"),
    "zai": ("api.z.ai", "/api/paas/v4/chat/completions"),
    "zhipuai": ("open.bigmodel.cn", "/api/paas/v4/chat/completions"),
}
# Sellers that no client of OpenAI's or Anthropic's calls, and parts of OpenAI's and Hugging Face's.
ELSEWHERE = {"cursor", "openai-decisions"}
OTHER_AZURE = ("r.cognitiveservices.azure.com", "r.services.ai.azure.com", "gateway.azure-api.net")


@pytest.mark.parametrize(("seller", "address"), ADDRESSES.items())
def test_a_seller_of_the_price_list_is_known_by_its_address(seller: str, address: tuple[str, str]) -> None:
    assert provider_id(provider_of(("OpenAI",), "openai", *address)) == seller


def test_every_seller_of_the_price_list_has_an_address_here_that_is_its_own() -> None:
    for provider in providers:
        if provider.id in ELSEWHERE or provider.id.startswith("huggingface_"):
            continue
        host, path = ADDRESSES[provider.id]
        # Regional hosts of OpenAI are OpenAI's too; the list knows the first alone.
        url = f"https://{host.removeprefix('eu.') if provider.id == 'openai' else host}{path}"
        assert re.match(provider.api_pattern, url), (provider.id, url)


@pytest.mark.parametrize("host", OTHER_AZURE)
def test_azures_other_hosts_are_azure(host: str) -> None:
    assert provider_of(("OpenAI",), "openai", host) == "azure"


def test_hugging_faces_own_router_names_no_seller() -> None:
    assert provider_of(("OpenAI",), "openai", "router.huggingface.co", "/v1/chat/completions") == "huggingface"
