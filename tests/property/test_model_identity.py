"""Whatever a model is called: its dateless name is its own, and a date never makes another model."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmtrail.core.model_identity import normalized, spellings
from llmtrail_ingest.pricebook import load_pricebook

TABLE = load_pricebook().models
PREFIXES = (
    *("", "openai/", "models/", "openrouter/anthropic/", "azure/", "bedrock/converse/", "bedrock/us-east-1/"),
    *("publishers/google/models/", "projects/p-1/locations/us-central1/publishers/google/models/", "vertex_ai_beta/"),
    *("accounts/fireworks/models/", "litellm_proxy/", "us.anthropic.", "global.anthropic.", "eu.meta."),
    *("arn:aws:bedrock:us-east-1::foundation-model/", "arn:aws:bedrock:us-east-1:1:inference-profile/us."),
)
RELEASES = (
    *("", "-2024-08-06", "-20250929", "-0613", "-2411", "-latest", "@20250929", "@default", "-08-2024", ":free"),
    *(":nitro", ":floor", ":thinking", ":online", "[1m]", "-0709"),
)
prefixes, releases = st.sampled_from(PREFIXES), st.sampled_from(RELEASES)
known = st.sampled_from(TABLE.known())
texts = st.text(st.sampled_from("abgov145.-_/:@[]ft% "), max_size=24) | st.text(max_size=24)


@given(prefixes, texts, releases)
@settings(max_examples=400)
def test_the_dateless_name_of_any_text_is_its_own(prefix: str, text: str, release: str) -> None:
    named = normalized(None, prefix + text + release)
    assert normalized(None, named.name).name == named.name
    assert normalized(named.provider, named.name).name == named.name


@given(prefixes, known | texts, releases)
@settings(max_examples=400)
def test_resolving_the_one_name_gives_it_again(prefix: str, text: str, release: str) -> None:
    found = TABLE.resolve(None, prefix + text + release, None)
    assert TABLE.resolve(None, found.model, None).model == found.model


@given(known, st.sampled_from([release for release in RELEASES if not release.startswith(":")]))
@settings(max_examples=400)
def test_a_date_never_makes_another_model(model: str, release: str) -> None:
    assume(":" not in model and not model.endswith("]"))
    assert TABLE.resolve(None, model + release, None).model == model


@given(known, prefixes, releases)
@settings(max_examples=400)
def test_what_was_asked_and_what_answered_of_one_model_agree(model: str, prefix: str, release: str) -> None:
    asked = TABLE.resolve(None, model, None)
    assert TABLE.resolve(None, model, model + release if ":" not in model else model).model == asked.model


@given(texts)
@settings(max_examples=400)
def test_names_are_never_refused_and_the_written_one_is_always_sought(text: str) -> None:
    assert spellings(text)[0] == text.strip()
    assert TABLE.resolve(text, text, text).model == TABLE.resolve(text, text, None).model
