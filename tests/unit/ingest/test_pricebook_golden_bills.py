"""Bills worked out by hand from the providers' price lists, and the mistakes that others made with them."""

from datetime import UTC, datetime

import msgspec
import pytest

from llmtrail.core.call import Call, Usage
from llmtrail.core.failure import FailureMode, Status
from llmtrail.core.pricing import Priced, price
from llmtrail_ingest.pricebook import load_pricebook

BOOK = load_pricebook()
SONNET = ("anthropic", "claude-opus-4-1-20250805")


def _at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> int:
    return int(datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()) * 10**9


def _bill(provider: str | None, model: str, at_ns: int = _at(2026, 3, 1), **tokens: int) -> Priced:
    call = Call(started_at=1, provider=provider, request_model=model, usage=Usage(**tokens))
    return price(call, at_ns, BOOK)


def _usd(amount: str) -> int:
    whole, _, part = amount.partition(".")
    return int(whole) * 10**9 + int(part.ljust(9, "0"))


def test_gpt_4o_with_most_of_its_input_cached() -> None:
    # 2,000 x $2.50/M + 8,000 x $1.25/M: cached input is neither free nor full price.
    assert _bill(
        "openai", "gpt-4o", input_tokens=10_000, output_tokens=0, cache_read_tokens=8_000
    ).cost_nanousd == _usd("0.015")


def test_o3_before_and_after_its_price_fell() -> None:
    before = _bill("openai", "o3-2025-04-16", _at(2025, 6, 9, 23, 59), input_tokens=1_000_000, output_tokens=100_000)
    after = _bill("openai", "o3-2025-04-16", _at(2025, 6, 10), input_tokens=1_000_000, output_tokens=100_000)
    assert (before.cost_nanousd, after.cost_nanousd) == (_usd("14"), _usd("2.8"))
    assert after.price_id == "genai:openai/o3@2025-06-10"


def test_reasoning_is_inside_the_output_and_not_billed_twice() -> None:
    plain = _bill("openai", "o3", input_tokens=100, output_tokens=1_000)
    thinking = _bill("openai", "o3", input_tokens=100, output_tokens=1_000, reasoning_tokens=900)
    assert plain.cost_nanousd == thinking.cost_nanousd == _usd("0.0082")


def test_gemini_thinking_is_billed_as_output_and_cache_as_cache() -> None:
    # 20,000 plain x $1.25/M + 80,000 cached x $0.125/M + 3,000 out (2,500 of it thoughts) x $10/M.
    bill = _bill(
        "gcp.gemini",
        "gemini-2.5-pro",
        input_tokens=100_000,
        output_tokens=3_000,
        cache_read_tokens=80_000,
        reasoning_tokens=2_500,
    )
    assert bill.cost_nanousd == _usd("0.065")


def test_gemini_above_200k_costs_the_higher_tier_for_all_tokens() -> None:
    below = _bill("google", "gemini-2.5-pro", input_tokens=200_000, output_tokens=1_000)
    above = _bill("google", "gemini-2.5-pro", input_tokens=200_001, output_tokens=1_000)
    assert below.cost_nanousd == _usd("0.26")
    assert above.cost_nanousd == _usd("0.5150025")


def test_anthropic_cache_reads_and_both_kinds_of_writes() -> None:
    # Opus 4.1: 1,000 plain x $15 + 10,000 read x $1.50 + 2,000 5-minute x $18.75 + 3,000 1-hour x $30 + 500 out x $75.
    bill = _bill(
        *SONNET,
        input_tokens=16_000,
        output_tokens=500,
        cache_read_tokens=10_000,
        cache_write_tokens=5_000,
        cache_write_1h_tokens=3_000,
    )
    assert bill.cost_nanousd == _usd("0.195")


def test_a_long_conversation_whose_cache_writes_are_most_of_the_bill() -> None:
    # The shape of a real bill of $0.343 that another tool showed as $0.014: the writes to the cache were left out.
    bill = _bill(
        "anthropic",
        "claude-sonnet-4-20250514",
        input_tokens=90_010,
        output_tokens=500,
        cache_read_tokens=5_000,
        cache_write_tokens=85_000,
    )
    # 10 x $3/M + 5,000 x $0.30/M + 85,000 x $3.75/M + 500 x $15/M.
    assert bill.cost_nanousd == _usd("0.32778")


def test_cache_writes_of_server_tools_are_all_billed() -> None:
    # Streamed server tools report writes in parts; the parts of a total that was stated are all billed.
    with_tools = _bill(*SONNET, input_tokens=50_000, output_tokens=0, cache_write_tokens=49_000, web_search_requests=3)
    assert with_tools.cost_nanousd == _usd("0.96375")  # 1,000 x $15 + 49,000 x $18.75 + 3 searches of $0.01


def test_the_raw_anthropic_convention_is_flagged_and_not_guessed() -> None:
    # Anthropic's own input_tokens leave the cache out; ours include it. 10 < 5,000 cannot be ours.
    bill = _bill(*SONNET, input_tokens=10, output_tokens=5, cache_read_tokens=5_000)
    assert bill == Priced(None, "unpriced", None, "inconsistent_usage")


@pytest.mark.parametrize(
    ("provider", "model", "tokens", "reason"),
    [
        ("openai", "gpt-99-unheard-of", {"input_tokens": 1, "output_tokens": 1}, "unknown_model"),
        ("our-gateway", "gpt-4o", {"input_tokens": 1, "output_tokens": 1}, "unknown_provider"),
        (None, "our-model", {"input_tokens": 1, "output_tokens": 1}, "unknown_model"),
        ("openai", "gpt-4o", {}, "no_usage"),
        ("openai", "gpt-4o", {"input_tokens": 5}, "incomplete_usage"),
        ("openai", "gpt-4o", {"output_tokens": 5}, "incomplete_usage"),
        (
            "openai",
            "gpt-4o",
            {"input_tokens": 9, "output_tokens": 1, "input_audio_tokens": 9},
            "missing_token_class_price",
        ),
        (
            "openai",
            "gpt-4o",
            {"input_tokens": 9, "output_tokens": 1, "cache_write_1h_tokens": 9},
            "missing_token_class_price",
        ),
        ("openai", "gpt-4o", {"input_tokens": 1, "output_tokens": 2, "reasoning_tokens": 3}, "inconsistent_usage"),
        (
            "openai",
            "gpt-realtime",
            {"input_tokens": 9, "output_tokens": 1, "cache_read_tokens": 3, "input_audio_tokens": 3},
            "ambiguous_usage",
        ),
        ("openai", "gpt-4o", {"input_tokens": 2**40, "output_tokens": 2**40}, "out_of_range"),
    ],
)
def test_what_cannot_be_priced_is_null_with_its_reason(
    provider: str | None, model: str, tokens: dict[str, int], reason: str
) -> None:
    assert _bill(provider, model, **tokens) == Priced(None, "unpriced", None, reason)


def test_the_model_that_answered_is_billed_and_the_one_asked_for_is_the_fallback() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=0)
    served = Call(
        started_at=1, provider="azure.ai.openai", request_model="my-deployment", response_model="gpt-4o", usage=usage
    )
    asked = Call(
        started_at=1, provider="openai", request_model="gpt-4o", response_model="served-by-someone", usage=usage
    )
    assert price(served, _at(2026, 3, 1), BOOK).cost_nanousd == _usd("2.5")
    assert price(asked, _at(2026, 3, 1), BOOK).cost_nanousd == _usd("2.5")


def test_a_service_tier_has_its_own_price_and_auto_has_none() -> None:
    def bill(parameters: bytes) -> Priced:
        usage = Usage(input_tokens=1_000_000, output_tokens=0)
        call = Call(
            started_at=1, provider="openai", request_model="gpt-5", usage=usage, parameters=msgspec.Raw(parameters)
        )
        return price(call, _at(2026, 11, 1), BOOK)

    assert bill(b'{"service_tier":"flex"}').cost_nanousd == _usd("0.625")
    assert bill(b'{"service_tier":"flex"}').price_id == "genai:openai/gpt-5@always;service_tier=flex"
    assert bill(b'{"service_tier":"priority"}').cost_nanousd == _usd("2.5")
    assert bill(b'{"service_tier":"auto"}').cost_nanousd == _usd("1.25")
    assert bill(b'{"service_tier":[1]}').cost_nanousd == _usd("1.25")


def test_a_price_that_depends_on_the_hour_is_taken_by_the_hour() -> None:
    night = _bill("deepseek", "deepseek-chat", _at(2025, 6, 1, 20), input_tokens=1_000_000, output_tokens=0)
    day = _bill("deepseek", "deepseek-chat", _at(2025, 6, 1, 12), input_tokens=1_000_000, output_tokens=0)
    assert night.cost_nanousd is not None
    assert day.cost_nanousd == 2 * night.cost_nanousd


def test_a_call_that_the_budget_refused_cost_nothing() -> None:
    call = Call(started_at=1, request_model="gpt-4o", status=Status.ERROR, failure_mode=FailureMode.BUDGET_REFUSED)
    assert price(call, 1, BOOK) == Priced(0, "not_billed", "not_sent", None)


def test_a_failed_call_without_tokens_has_an_unknown_cost() -> None:
    call = Call(started_at=1, request_model="gpt-4o", status=Status.ERROR, failure_mode=FailureMode.TIMEOUT)
    assert price(call, 1, BOOK) == Priced(None, "unpriced", None, "no_usage")


def test_a_callers_cost_counts_only_where_it_is_trusted_and_says_something() -> None:
    trusting = load_pricebook(trust_reported=True)
    usage = Usage(input_tokens=10, output_tokens=1)

    def call(model: str, reported: int) -> Call:
        return Call(started_at=1, provider="openai", request_model=model, usage=usage, reported_cost_nanousd=reported)

    assert price(call("own-model", 500), 1, trusting) == Priced(500, "reported", "reported", None)
    assert price(call("own-model", 500), 1, BOOK).cost_nanousd is None
    assert price(call("own-model", 0), 1, trusting).unpriced_reason == "unknown_model"
    assert price(call("gpt-4o", 500), 1, trusting).cost_source == "computed"
    assert trusting.book_id != BOOK.book_id


@pytest.mark.parametrize(
    ("model", "cost_nanousd"), [("text-embedding-3-small", 20_000), ("text-embedding-3-large", 130_000)]
)
def test_a_model_that_only_its_vendor_lists_has_a_price_without_a_provider(model: str, cost_nanousd: int) -> None:
    """OpenInference's spans of embeddings name no provider, and these names have not the form of OpenAI's others."""
    asked = Call(started_at=1, request_model=model, operation="embeddings", usage=Usage(input_tokens=1_000))
    assert price(asked, 1, BOOK).cost_nanousd == cost_nanousd


@pytest.mark.parametrize(
    ("model", "tokens", "cost_nanousd"),
    [
        ("gpt-4o-audio-preview", {"input_tokens": 9, "output_tokens": 1, "input_audio_tokens": 9}, 370_000),
        ("gpt-4o-search-preview", {"input_tokens": 0, "output_tokens": 0, "web_search_requests": 1}, 25_000_000),
        (
            "gpt-4o-mini-search-preview-2025-03-11",
            {"input_tokens": 0, "output_tokens": 0, "web_search_requests": 1},
            25_000_000,
        ),
    ],
)
def test_documented_classes_that_the_list_lacks_have_a_price(
    model: str, tokens: dict[str, int], cost_nanousd: int
) -> None:
    assert _bill("openai", model, **tokens).cost_nanousd == cost_nanousd
