"""Our integers against genai-prices' decimals, for every model it lists."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal

import genai_prices
import msgspec
from genai_prices import data_snapshot
from genai_prices.types import TieredPrices
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrail.core.call import Call, Usage
from llmtrail.core.pricing import UnpricedReason, price
from llmtrail_ingest.pricebook import GenaiPriceBook, load_pricebook

BOOK: GenaiPriceBook = load_pricebook()


def _is_found(provider: str, model: str) -> bool:
    """Say whether an id of the list is also a name that the list itself finds again; some ids are families."""
    try:
        found = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return False
    return found[1].id == model


_REFS = sorted(
    (provider.id, model.id)
    for provider in data_snapshot.get_snapshot().providers
    for model in provider.models
    if _is_found(provider.id, model.id)
)
_counts = st.integers(0, 300_000)


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    plain, reads, writes, hour = draw(_counts), draw(_counts), draw(_counts), draw(_counts)
    output, reasoning = draw(_counts), draw(_counts)
    return Usage(
        input_tokens=plain + reads + writes + hour,
        output_tokens=output + reasoning,
        cache_read_tokens=reads,
        cache_write_tokens=writes + hour,
        cache_write_1h_tokens=draw(st.sampled_from([0, hour])),
        reasoning_tokens=reasoning,
        web_search_requests=draw(st.integers(0, 5)),
    )


def _theirs(provider: str, model: str, at: datetime, usage: Usage) -> int:
    found = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            cache_write_1h_tokens=usage.cache_write_1h_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
            web_searches=usage.web_search_requests,
        ),
        model,
        provider_id=provider,
        genai_request_timestamp=at,
    )
    return int(found.total_price.scaleb(9).quantize(Decimal(1), ROUND_HALF_EVEN))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(_REFS), st.integers(1_700_000_000, 1_800_000_000), _usages())
def test_every_cost_equals_that_of_genai_prices_or_is_unpriced_for_a_reason(
    ref: tuple[str, str], second: int, usage: Usage
) -> None:
    provider, model = ref
    call = Call(started_at=1, provider=provider, request_model=model, usage=usage)
    ours = price(call, second * 10**9, BOOK)
    if ours.cost_nanousd is None:
        assert ours.unpriced_reason in set(UnpricedReason)
    else:
        slack_nanousd = 1 if _finest_decimals(*ref) > 9 else 0
        theirs = _theirs(provider, model, datetime.fromtimestamp(second, UTC), usage)
        assert abs(ours.cost_nanousd - theirs) <= slack_nanousd


def test_every_listed_model_with_an_input_price_can_be_priced() -> None:
    assert len(_REFS) > 1_900
    at = datetime(2026, 5, 1, tzinfo=UTC)
    for provider, model in _REFS:
        call = Call(
            started_at=1, provider=provider, request_model=model, usage=Usage(input_tokens=1_000, output_tokens=0)
        )
        listed = data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)[1].get_prices(at)
        priced = price(call, int(at.timestamp()) * 10**9, BOOK)
        # A model that the list names without a price is not free: its price is unknown.
        assert (priced.cost_nanousd is None) == (listed.input_mtok is None), (provider, model)


def test_almost_every_listed_price_is_exact_in_our_integers() -> None:
    inexact = [ref for ref in _REFS if _finest_decimals(*ref) > 9]
    # Prices that went through binary fractions on their way into the list: we round them to what was meant.
    assert {provider.partition("_")[0] for provider, _ in inexact} <= {"huggingface", "openrouter"}
    assert len(inexact) < 40


def _finest_decimals(provider_id: str, model_id: str) -> int:
    """Return the most decimals of any token price of a model."""
    _, model = data_snapshot.get_snapshot().find_provider_model(model_id, None, provider_id, None)
    dated = [d.prices for d in model.prices] if isinstance(model.prices, list) else [model.prices]
    values: list[Decimal] = []
    for prices in [*dated, *(variant.prices for variant in model.price_variants or ())]:
        for key, value in vars(prices).items():
            if isinstance(value, TieredPrices):
                values += [value.base, *(tier.price for tier in value.tiers)]
            elif isinstance(value, Decimal) and key.endswith("_mtok"):
                values.append(value)
    return max((-int(value.normalize().as_tuple().exponent) for value in values), default=0)


@given(_usages(), st.integers(0, 10**6))
def test_more_tokens_never_cost_less(usage: Usage, more: int) -> None:
    def cost(tokens: Usage) -> int | None:
        return price(Call(started_at=1, provider="openai", request_model="gpt-4.1", usage=tokens), 1, BOOK).cost_nanousd

    usage = msgspec.structs.replace(usage, cache_write_1h_tokens=0)
    grown = msgspec.structs.replace(usage, output_tokens=(usage.output_tokens or 0) + more)
    less, greater = cost(usage), cost(grown)
    assert less is not None
    assert greater is not None
    assert greater >= less
