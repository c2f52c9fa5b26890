"""By which names a limited model is stopped: what the SDK knows of names, held against what the server resolves."""

from functools import cache
from typing import Any

import pytest
from genai_prices import data_snapshot

from llmtrail.core.limit import Behaviour, Caller, LimitLevel, LimitState, LimitTable, decode_limit, encode_limit
from llmtrail.core.model_identity import ModelTable
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_alerts.model_names import with_names
from llmtrail_ingest.pricebook import load_pricebook


@cache
def models() -> ModelTable:
    return load_pricebook().models


def limit_of(limited: str, feature: str = "", **changed: Any) -> LimitState:
    kind, values = (ScopeKind.FEATURE_MODEL, (feature, limited)) if feature else (ScopeKind.MODEL, (limited,))
    fields: dict[str, Any] = {
        "rule": f"day {limited}",
        "scope": Scope("", kind, values).text(),
        "state": LimitLevel.HARD,
        "spent": 2,
        "limit": 1,
        "unit": "nanousd",
        "period": "day",
    }
    limit = with_names(LimitState(**(fields | changed)), models())
    # As it comes to a process: over HTTP or the topic.
    return decode_limit(encode_limit(limit))


def stops(limit: LimitState, asked: str, provider: str | None = None, feature: str | None = None) -> bool:
    caller = Caller("", feature=feature, model=asked, provider=provider)
    return LimitTable().put(limit).refusing(caller, 1) is not None


@pytest.mark.parametrize(
    ("model", "provider", "asked"),
    [
        ("gpt-4o", "openai", "gpt-4o"),
        ("gpt-4o", "openai", "gpt-4o-2024-08-06"),
        ("gpt-4o", "azure", "gpt-4o"),
        ("gpt-4o", None, "openai/gpt-4o"),
        ("gpt-4o", None, "azure/gpt-4o"),
        ("gpt-4o", "openrouter", "openai/gpt-4o:nitro"),
        ("gpt-4", "openai", "gpt-4-0613"),
        ("gpt-3.5-turbo", "openai", "gpt-3.5-turbo-0125"),
        ("gpt-3.5-turbo", "azure", "gpt-35-turbo"),
        ("gpt-4o-mini", "openai", "gpt-4o-mini-2024-07-18"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5-latest"),
        ("claude-sonnet-4-5", "google-vertex", "claude-sonnet-4-5@20250929"),
        # litellm#37736: a Bedrock id never matched a budget of the bare name.
        ("claude-sonnet-4-5", "aws.bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("claude-sonnet-4-5", "aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("claude-sonnet-4-5", None, "bedrock/global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (
            "claude-sonnet-4-5",
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        ("claude-sonnet-4-5", "openrouter", "anthropic/claude-sonnet-4.5"),
        ("claude-sonnet-4-5", None, "openrouter/anthropic/claude-sonnet-4.5"),
        # litellm#25549: tracked as one name, enforced as the other, so that no limit ever held.
        ("claude-opus-4-6", "vertex_ai", "vertex_ai/claude-opus-4-6@default"),
        ("claude-3-7-sonnet", "anthropic", "claude-3-7-sonnet-latest"),
        ("gemini-2.5-flash", "google", "models/gemini-2.5-flash"),
        ("gemini-2.5-flash", "gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash"),
        ("gemini-2.5-flash", None, "gemini/gemini-2.5-flash"),
        ("gemini-2.0-flash", "google", "gemini-2.0-flash-001"),
        ("mistral-large", "mistral", "mistral-large-latest"),
        ("mistral-large", "mistral", "mistral-large-2411"),
        ("grok-4", "xai", "grok-4-0709"),
        ("grok-4", None, "xai/grok-4-latest"),
        ("o3-mini", "azure", "o3-mini-2025-01-31"),
        # OpenRouter's own slugs and canonical slugs, as its guardrails list them.
        ("claude-opus-4-5", "openrouter", "anthropic/claude-4.5-opus-20251124"),
        ("deepseek-r1", "openrouter", "deepseek/deepseek-r1-0528:free"),
    ],
)
def test_a_limited_model_is_stopped_by_whatever_name_it_is_asked(model: str, provider: str | None, asked: str) -> None:
    assert stops(limit_of(model), asked, provider)
    assert stops(limit_of(model, feature="search"), asked, provider, "search")
    assert not stops(limit_of(model, feature="search"), asked, provider, "chat")


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o", "gpt-4o-mini-2024-07-18"),
        ("gpt-4o", "gpt-4o-audio-preview"),
        ("gpt-4o", "openai/gpt-4.1"),
        ("gpt-4", "gpt-4-turbo"),
        ("gpt-4", "gpt-4.1"),
        ("o3", "o3-mini"),
        ("claude-sonnet-4", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5", "claude-haiku-4-5"),
        ("claude-opus-4", "claude-opus-4-6"),
        ("gemini-2.5-flash", "gemini-2.5-flash-lite"),
        ("gemini-2.5-pro", "models/gemini-2.5-flash"),
        ("grok-4", "grok-4-fast-reasoning"),
        ("mistral-large", "mistral-small-latest"),
    ],
)
def test_a_limit_stops_no_other_model(model: str, asked: str) -> None:
    assert not stops(limit_of(model), asked)


def names() -> list[tuple[str | None, str]]:
    """Return names as callers ask by: every model that genai-prices lists, bare and as routers, files and clouds do."""
    listed = {
        (provider.id, model.id) for provider in data_snapshot.get_snapshot().providers for model in provider.models
    }
    return sorted(
        (asked_of, form.format(name))
        for provider, name in listed
        for asked_of, form in (
            (provider, "{}"),
            (provider, provider + "/{}"),
            (provider, "models/{}"),
            (provider, "{}-latest"),
        )
    )


def test_the_sdk_and_the_server_agree_on_every_known_name() -> None:
    """What a call is counted under is what its limit stops, and nothing else of the same table is stopped with it."""
    table, wrong = models(), []
    known = set(table.known())
    limits = LimitTable().changed({one.key: one for one in (limit_of(model) for model in sorted(known))})
    for provider, asked in names():
        found = table.resolve(provider, asked, None)
        if found.model not in known:
            continue
        stopped = limits._models.meant(asked, provider)  # The index itself: which models it takes it for.
        if stopped != (found.model,):
            wrong.append((provider, asked, found.model, stopped))
    assert not wrong, (len(wrong), wrong[:20])


def test_a_deployment_that_the_settings_name_is_stopped_as_its_model() -> None:
    table = load_pricebook(aliases={"my-4o-prod": "gpt-4o", "chatgpt-functioncalling": "gpt-3.5-turbo"}).models
    limit = with_names(limit_of("gpt-4o"), table)
    assert stops(limit, "my-4o-prod", "azure")
    assert stops(limit, "azure/my-4o-prod")
    assert not stops(limit, "chatgpt-functioncalling", "azure")


def test_a_call_that_already_asks_for_the_cheaper_model_by_another_name_is_what_the_rule_wants() -> None:
    limit = limit_of("gpt-4o", behaviour=Behaviour.CHEAPER_MODEL, model="gpt-4o-mini")
    assert limit.wants("gpt-4o-mini-2024-07-18", "openai")
    assert limit.wants("openai/gpt-4o-mini")
    assert not limit.wants("gpt-4o-2024-08-06", "openai")
    assert not limit.wants(None)


def test_limits_of_a_server_that_knows_no_names_stop_what_is_spelt_alike() -> None:
    bare = LimitState(
        rule="day",
        scope=Scope("", ScopeKind.MODEL, ("gpt-4o",)).text(),
        state=LimitLevel.HARD,
        spent=2,
        limit=1,
        unit="calls",
        period="day",
    )
    assert stops(bare, "gpt-4o-2024-08-06", "openai")
    assert stops(bare, "openai/gpt-4o")
    assert not stops(bare, "gpt-4o-mini")


def test_a_name_is_worked_out_once_until_other_models_are_limited() -> None:
    table = LimitTable().changed({one.key: one for one in map(limit_of, models().known())})
    index = table._models  # What the speed of a check rests on.
    first = index.meant("openai/gpt-4o-2024-08-06", "openrouter")
    assert first == ("gpt-4o",)
    assert index.meant("openai/gpt-4o-2024-08-06", "openrouter") is first

    user = LimitState(
        rule="u",
        scope=Scope("", ScopeKind.USER, ("u-1",)).text(),
        state=LimitLevel.HARD,
        spent=2,
        limit=1,
        unit="calls",
        period="day",
    )
    again = table.put(user).put(limit_of("gpt-4o", spent=3))
    assert again._models.meant("openai/gpt-4o-2024-08-06", "openrouter") is first
    assert not again.delete(limit_of("gpt-4o").key)._models.meant("gpt-4o", None)
