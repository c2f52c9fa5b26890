"""A provider for tests that drive real clients: one simulator a module, and clients of it that are wrapped."""

from collections.abc import Iterator

import anthropic
import openai
import pytest

import llmtrail
from llmtrail.testing.provider import ProviderSimulator


@pytest.fixture(scope="module")
def provider() -> Iterator[ProviderSimulator]:
    with ProviderSimulator(seed=3, speed=500) as simulator:
        yield simulator


@pytest.fixture
def client(provider: ProviderSimulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-test", base_url=provider.base_url) as made:
        yield llmtrail.wrap(made)


@pytest.fixture
def claude(provider: ProviderSimulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-test", base_url=provider.root_url) as made:
        yield llmtrail.wrap(made)
