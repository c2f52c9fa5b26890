"""Tiers, batch, speed and region: what was served is what is priced; contracts win whatever name the answer bears."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from llmtrail.core.call import Call, Served, Usage
from llmtrail.core.price_context import context_of
from llmtrail.core.pricing import Priced, price
from llmtrail_ingest.price_overrides import PriceFileError
from llmtrail_ingest.pricebook import GenaiPriceBook, load_pricebook

BOOK = load_pricebook()
AT = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp()) * 10**9
MILLION = Usage(input_tokens=1_000_000, output_tokens=0)


def _call(provider: str, asked: str | None, answered: str | None = None, **fields: Any) -> Call:
    parameters = msgspec.json.encode(fields.pop("parameters")) if "parameters" in fields else b""
    served = fields.pop("served", None)
    return Call(
        started_at=1,
        provider=provider,
        request_model=asked,
        response_model=answered,
        parameters=msgspec.Raw(parameters),
        served=Served(**served) if served else None,
        **{"usage": MILLION, **fields},
    )


def _usd(book: GenaiPriceBook, call: Call) -> float | None:
    cost = price(call, AT, book).cost_nanousd
    return None if cost is None else cost / 10**9


def _book(tmp_path: Path, text: str, **settings: Any) -> GenaiPriceBook:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return load_pricebook(path, **settings)


@pytest.mark.parametrize(
    ("asked", "served", "dollars"),
    [
        ("auto", "priority", 2.5),  # money fault 11: asked nothing, billed priority
        (None, "priority", 2.5),
        ("priority", "default", 1.25),  # ramped down: the answer says so
        ("flex", "default", 1.25),
        ("flex", "flex", 0.625),
        ("priority", None, 2.5),  # nothing was answered: what was asked holds
        ("auto", None, 1.25),
        ("default", "default", 1.25),
        (None, "standard", 1.25),
    ],
)
def test_the_tier_that_was_served_is_priced(asked: str | None, served: str | None, dollars: float) -> None:
    fields: dict[str, Any] = {"parameters": {"service_tier": asked}} if asked else {}
    if served:
        fields["served"] = {"service_tier": served}
    assert _usd(BOOK, _call("openai", "gpt-5", "gpt-5-2025-08-07", **fields)) == dollars


@pytest.mark.parametrize(
    ("provider", "model", "served"),
    [
        ("openai", "gpt-5", {"service_tier": "scale"}),  # a contract's tier
        ("anthropic", "claude-sonnet-4-5", {"service_tier": "priority"}),  # committed capacity
        ("vertex_ai", "gemini-2.5-flash", {"service_tier": "PROVISIONED_THROUGHPUT"}),
        ("azure", "gpt-4o", {"service_tier": "priority"}),  # resold models have no variants of OpenAI's
        ("anthropic", "claude-sonnet-4-5", {"speed": "fast"}),
        ("aws.bedrock", "us.amazon.nova-lite-v1:0", {"service_tier": "flex"}),
        ("aws.bedrock", "us.amazon.nova-pro-v1:0", {"service_tier": "reserved"}),
    ],
)
def test_a_tier_without_a_listed_price_is_unpriced_and_never_standard(
    provider: str, model: str, served: dict[str, str]
) -> None:
    priced = price(_call(provider, model, served=served), AT, BOOK)
    assert (priced.cost_nanousd, priced.unpriced_reason) == (None, "missing_tier_price")


@pytest.mark.parametrize(
    ("provider", "model", "served"),
    [
        ("groq", "llama-3.1-8b-instant", {"service_tier": "on_demand"}),
        ("groq", "llama-3.1-8b-instant", {"service_tier": "flex"}),
        ("gcp.vertex_ai", "gemini-2.5-flash", {"service_tier": "ON_DEMAND"}),
        ("anthropic", "claude-sonnet-4-5", {"service_tier": "standard", "region": "not_available"}),
        ("aws.bedrock", "us.amazon.nova-pro-v1:0", {"service_tier": "default"}),
        ("anthropic", "claude-opus-4-8", {"speed": "standard", "region": "global"}),
    ],
)
def test_the_words_for_the_standard_tier_cost_the_standard_price(
    provider: str, model: str, served: dict[str, str]
) -> None:
    plain = price(_call(provider, model), AT, BOOK)
    assert plain.cost_nanousd is not None
    assert price(_call(provider, model, served=served), AT, BOOK) == plain


def test_anthropics_batch_is_a_tier_of_its_answers() -> None:
    at = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * 10**9
    call = _call("anthropic", "claude-opus-4-8", served={"service_tier": "batch"})
    assert price(call, at, BOOK).cost_nanousd == 2_500_000_000
    assert context_of(call) == (("processing", "batch"),)


def test_vertex_names_its_tiers_by_the_kind_of_traffic() -> None:
    call = _call("gcp.vertex_ai", "gemini-2.5-flash", served={"service_tier": "ON_DEMAND_PRIORITY"})
    assert context_of(call) == (("service_tier", "priority"),)


def test_claude_in_the_us_costs_a_tenth_more() -> None:
    call = _call("anthropic", "claude-opus-4-8", served={"region": "us"})
    assert _usd(BOOK, call) == 5.5
    assert price(call, AT, BOOK).price_id == "genai:anthropic/claude-opus-4-8@always;region=us"
    fast = _call("anthropic", "claude-opus-4-8", served={"region": "us", "speed": "fast"})
    assert _usd(BOOK, fast) == 11
    # Elsewhere the model's name, not the region, decides.
    assert (
        _usd(BOOK, _call("aws.bedrock", "global.anthropic.claude-opus-4-8-v1:0", served={"region": "us-east-1"})) == 5
    )


CONTRACT = """
[[price]]
name = "contract"
provider = "azure"
model = "gpt-4o"
input = "2.00"
output = "8.00"
[[price]]
name = "contract-batch"
provider = "azure"
model = "gpt-4o"
processing = "batch"
input = "1.00"
output = "4.00"
[[price]]
name = "contract-priority"
provider = "azure"
model = "gpt-4o"
service_tier = "priority"
input = "3.50"
output = "14.00"
"""


@pytest.mark.parametrize("provider", ["azure", "azure.ai.openai", "az.ai.openai", "azure_ai", "azure.chat", "Azure"])
@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("gpt-4o", None),
        ("gpt-4o", "gpt-4o-2024-08-06"),  # money fault 4
        ("azure/gpt-4o", "gpt-4o-2024-11-20"),
        ("prod-chat", "gpt-4o-2024-08-06"),
        ("prod-chat", None),  # by [models.aliases]
        ("gpt-4o", "some-name-of-a-proxy"),
    ],
)
def test_a_contract_wins_whatever_name_the_answer_bears(
    tmp_path: Path, provider: str, asked: str, answered: str | None
) -> None:
    book = _book(tmp_path, CONTRACT, aliases={"prod-chat": "gpt-4o"})
    assert price(_call(provider, asked, answered), AT, book).price_id == "override:contract"


def test_a_contract_knows_tiers_and_batch(tmp_path: Path) -> None:
    book = _book(tmp_path, CONTRACT)
    cases: tuple[tuple[dict[str, Any], float | None], ...] = (
        ({"parameters": {"processing": "batch"}}, 1),
        ({"served": {"service_tier": "priority"}}, 3.5),
        ({"parameters": {"service_tier": "priority"}, "served": {"service_tier": "default"}}, 2),
        ({"served": {"service_tier": "scale"}}, None),
    )
    for fields, dollars in cases:
        assert _usd(book, _call("azure", "gpt-4o", **fields)) == dollars


def test_an_entry_of_the_standard_tier_leaves_others_to_the_public_list(tmp_path: Path) -> None:
    book = _book(tmp_path, '[[price]]\nmodel="gpt-5"\ninput="1"\noutput="8"\n')
    assert _usd(book, _call("openai", "gpt-5")) == 1
    assert _usd(book, _call("openai", "gpt-5", served={"service_tier": "flex"})) == 0.625


def test_an_entry_may_hold_for_any_tier(tmp_path: Path) -> None:
    text = '[[price]]\nmodel="own-*"\nservice_tier="*"\nprocessing="*"\ninput="1"\noutput="8"\n'
    book = _book(tmp_path, text)
    cases: tuple[dict[str, Any], ...] = (
        {},
        {"served": {"service_tier": "priority"}},
        {"parameters": {"processing": "batch"}},
    )
    for fields in cases:
        assert _usd(book, _call("vllm", "own-7b", **fields)) == 1


def test_a_contract_is_not_that_of_another_model_that_answered(tmp_path: Path) -> None:
    book = _book(tmp_path, '[[price]]\nmodel="gpt-4o"\ninput="2"\noutput="8"\n')
    assert _usd(book, _call("openai", "gpt-4o", "gpt-4o-mini-2024-07-18")) == 0.15
    assert _usd(book, _call("openai", "gpt-4o-mini", "gpt-4o-mini-2024-07-18")) == 0.15
    assert _usd(book, _call("openai", "ft:gpt-4o-2024-08-06:acme::x")) == 3.75


def test_a_dated_entry_wins_over_that_of_the_family(tmp_path: Path) -> None:
    text = '[[price]]\nmodel="gpt-4o"\ninput="2"\n[[price]]\nmodel="gpt-4o-2024-05-13"\ninput="4"\n'
    book = _book(tmp_path, text)
    assert _usd(book, _call("openai", "gpt-4o", "gpt-4o-2024-05-13")) == 4
    assert _usd(book, _call("openai", "gpt-4o", "gpt-4o-2024-08-06")) == 2


def test_long_inputs_have_their_own_price_in_a_contract(tmp_path: Path) -> None:
    text = '[[price]]\nmodel="m"\ninput="3"\noutput="15"\nabove=[{tokens=200_000, input="6", output="22.50"}]\n'
    book = _book(tmp_path, text)

    def usd(tokens: int) -> float | None:
        return _usd(book, _call("x", "m", usage=Usage(input_tokens=tokens, output_tokens=1_000_000)))

    assert usd(200_000) == 15.6
    assert usd(200_001) == 23.700006


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[price]]\nmodel="m"\nabove=[{tokens=0, input="6"}]\n', "above"),
        ('[[price]]\nmodel="m"\nabove=[{tokens=9, inputs="6"}]\n', "'inputs'"),
        ('[[price]]\nmodel="m"\nservice_tier=1\ninput="6"\n', "service_tier must be text"),
        ('[[factor]]\nmodel="m"\ntimes="1.1"\n', "service_tier, processing, speed, region"),
        ('[[factor]]\nmodel="m"\nregion="us"\ntimes="x"\n', 'times = "1.1"'),
        ('[[price]]\nmodel="m"\ninput="1"\n[[price]]\nmodel="m"\nservice_tier="auto"\ninput="2"\n', "already has"),
    ],
)
def test_a_mistake_in_a_term_is_an_error_that_names_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PriceFileError, match=said.replace("(", "\\(")):
        _book(tmp_path, text)


def test_the_providers_own_cost_stands_in_where_there_is_no_price() -> None:
    told: dict[str, Any] = {
        "attributes": msgspec.Raw(b'{"llmtrail.reported_by":"provider"}'),
        "reported_cost_nanousd": 42,
    }
    assert price(_call("openrouter", "acme/unheard-of", **told), AT, BOOK) == Priced(42, "reported", "reported", None)
    # A caller's own number is taken only where the configuration trusts it.
    assert price(_call("openrouter", "acme/unheard-of", reported_cost_nanousd=42), AT, BOOK).cost_nanousd is None
    # Ours holds where there is one; the difference is counted beside it.
    assert price(_call("openai", "gpt-5", **told), AT, BOOK).cost_source == "computed"


# What others were billed or reported wrong, by their public threads: (provider, asked, answered, asked tier, served,
# usage, cents).
REPORTED_BILLS = (
    # defog-ai/defog#303: gpt-5-mini, flex, 2,000 in of which 1,000 cached, 500 out.
    ("openai", "gpt-5-mini", "flex", "flex", (2_000, 1_000, 500), "0.06375"),
    ("openai", "gpt-5-mini", "flex", "default", (2_000, 1_000, 500), "0.1275"),
    ("openai", "gpt-5-mini", "flex", None, (2_000, 1_000, 500), "0.06375"),
    # BerriAI/litellm#13810: flex is half of the standard price.
    ("openai", "openai/gpt-5-nano", "flex", "flex", (1_000_000, 0, 0), "2.5"),
    # BerriAI/litellm#31837: priority asked, default served.
    ("openai", "gpt-5", "priority", "default", (1_000, 0, 1_000), "1.125"),
    ("openai", "gpt-5", "priority", "priority", (1_000, 0, 1_000), "2.25"),
    # seakee/CPA-Manager-Plus#98: priority is 2.5 times on gpt-5.5, 2 times on gpt-5.4.
    ("openai", "gpt-5.5", None, "priority", (1_000_000, 0, 0), "1250"),
    ("openai", "gpt-5.4", None, "priority", (1_000_000, 0, 0), "500"),
    # aarora79/agentic-coding-harness-benchmarks#186: Bedrock's own tiers of Qwen3 Coder 30B.
    ("aws.bedrock", "qwen.qwen3-coder-30b-a3b-v1:0", None, None, (1_000_000, 0, 0), "15"),
    ("aws.bedrock", "qwen.qwen3-coder-30b-a3b-v1:0", None, "flex", (1_000_000, 0, 0), "7.5"),
    ("aws.bedrock", "qwen.qwen3-coder-30b-a3b-v1:0", None, "priority", (1_000_000, 0, 0), "26.25"),
    # dev.to, "Claude Batch API": 5,000 in and 800 out of Opus 5.5, plain and in a batch.
    ("anthropic", "claude-opus-5-5", None, "standard", (5_000, 0, 800), "3.6"),
    ("anthropic", "claude-opus-5-5", None, "batch", (5_000, 0, 800), "1.8"),
)


@pytest.mark.parametrize(("provider", "model", "asked", "served", "tokens", "cents"), REPORTED_BILLS)
def test_a_bill_that_was_reported_in_public_comes_out_right(
    provider: str, model: str, asked: str | None, served: str | None, tokens: tuple[int, int, int], cents: str
) -> None:
    fields: dict[str, Any] = {"parameters": {"service_tier": asked}} if asked else {}
    if served:
        fields["served"] = {"service_tier": served}
    given, cached, gave = tokens
    usage = Usage(input_tokens=given, cache_read_tokens=cached, output_tokens=gave)
    at_ns = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp()) * 10**9
    priced = price(_call(provider, model, usage=usage, **fields), at_ns, BOOK)
    assert priced.cost_nanousd == int(Decimal(cents) * 10**7), priced


def test_a_batch_of_azure_costs_half_and_one_of_claude_did_before_the_list_knew() -> None:
    batch: dict[str, Any] = {"parameters": {"processing": "batch"}}
    assert _usd(BOOK, _call("azure", "gpt-4o", **batch)) == 1.25
    call = _call("anthropic", "claude-sonnet-4-5", usage=Usage(input_tokens=100_000, output_tokens=0), **batch)
    before = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()) * 10**9
    assert price(call, before, BOOK).cost_nanousd == price(call, AT, BOOK).cost_nanousd == 150_000_000
    us = _call("anthropic", "claude-opus-4-8", served={"region": "us", "service_tier": "batch"})
    assert _usd(BOOK, us) == 2.75


def test_parts_that_the_answer_reports_are_billed_at_their_own_price() -> None:
    def usd(provider: str, model: str, **tokens: int) -> float | None:
        return _usd(BOOK, _call(provider, model, usage=Usage(**tokens)))

    # gpt-realtime: text 4/0.40, audio 32/0.40 cached; 1,000 in of which 600 audio, 512 cached of which 384 audio.
    audio = usd(
        "openai",
        "gpt-realtime",
        input_tokens=1_000,
        output_tokens=10,
        input_audio_tokens=600,
        cache_read_tokens=512,
        cache_read_audio_tokens=384,
    )
    assert audio == 0.0083648  # 128 x 0.4 + 384 x 0.4 + 216 x 32 + 272 x 4 + 10 x 16
    # gpt-image-1: text 5, image 10/2.50 cached; image output 40.
    image = usd(
        "openai",
        "gpt-image-1",
        input_tokens=1_000,
        output_tokens=100,
        output_image_tokens=100,
        input_image_tokens=800,
        cache_read_tokens=300,
        cache_read_image_tokens=300,
    )
    assert image == 0.01075  # 300 x 2.5 + 500 x 10 + 200 x 5 + 100 x 40
    # Perplexity bills citations and searches beside tokens.
    told = {"input_tokens": 108, "output_tokens": 76_504, "reasoning_tokens": 73_248, "citation_tokens": 7_299}
    assert usd("perplexity", "sonar-deep-research", **told, web_search_requests=74) == 0.630606
