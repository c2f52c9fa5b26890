"""Read genai-prices: which of its entries a model's name means, and what that costs at a time and under which terms."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Final

from genai_prices import data_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

from llmtrail.core.model_identity import unpunctuated
from llmtrail.core.price_context import PriceContext
from llmtrail.core.pricing import Rates, UnpricedReason
from llmtrail.core.provider_names import provider_id

_RATES_OF_PRICES: Final = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cache_read",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
    "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
    "input_image_mtok": "input_image",
    "output_image_mtok": "output_image",
    "cache_audio_read_mtok": "cache_read_audio",
    "cache_image_read_mtok": "cache_read_image",
    "input_video_mtok": "input_video",
    "output_citation_mtok": "citation",
    "web_searches_kcount": "web_search",
    "storage_searches_kcount": "file_search",
    "requests_kcount": "request",
}
_PER_THOUSAND: Final = frozenset({"web_search", "file_search", "request"})
_DECIMALS_PER_MILLION, _DECIMALS_PER_THOUSAND = 9, 12


def find(provider: str | None, model: str) -> tuple[Provider, ModelInfo] | UnpricedReason:
    """Return the provider and model of genai-prices that these names mean."""
    snapshot = data_snapshot.get_snapshot()
    name = provider_id(provider)
    try:
        snapshot.find_provider(model.lower(), name, None)
    except LookupError:
        return UnpricedReason.UNKNOWN_PROVIDER if name else _of_its_vendor(model)
    try:
        return snapshot.find_provider_model(model, None, name, None)
    except LookupError:
        same = _by_spelling(name).get(_spelt(model)) if name else None
        return same or UnpricedReason.UNKNOWN_MODEL


@cache
def _by_spelling(provider: str) -> Mapping[str, tuple[Provider, ModelInfo]]:
    """Return a seller's models by their whole ids without punctuation, where only one is spelt so."""
    found: dict[str, list[tuple[Provider, ModelInfo]]] = {}
    for seller in data_snapshot.get_snapshot().providers:
        for listed in seller.models if seller.id == provider else ():
            found.setdefault(_spelt(listed.id), []).append((seller, listed))
    return {name: several[0] for name, several in found.items() if len(several) == 1}


def _spelt(model: str) -> str:
    return unpunctuated(model.strip().lower())


def _of_its_vendor(model: str) -> tuple[Provider, ModelInfo] | UnpricedReason:
    """Return the model that just one vendor lists: the forms by which names tell a vendor leave some of theirs out."""
    providers = data_snapshot.get_snapshot().providers
    vendors = [provider for provider in providers if provider.model_match is not None]
    found = [(vendor, known) for vendor in vendors for known in vendor.models if known.is_match(model)]
    return found[0] if len(found) == 1 else UnpricedReason.UNKNOWN_MODEL


def has_time_of_day(model: ModelInfo) -> bool:
    """Whether a price of this model changes within a day."""
    dated: list[object] = list(model.prices) if isinstance(model.prices, list) else []
    constraints = [price.constraint for price in dated if isinstance(price, ConditionalPrice)]
    constraints += [variant.constraint for variant in model.price_variants or ()]
    return any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints)


def rates_of(seller: Provider, listed: ModelInfo, minute: int, context: PriceContext) -> Rates | UnpricedReason:
    """Return what a listed model costs at a minute since 1970 under these terms."""
    at = datetime.fromtimestamp(minute * 60, UTC)
    if any(not _has_variant(seller, listed, at, key, value) for key, value in context):
        return UnpricedReason.MISSING_TIER_PRICE
    prices = listed.get_prices(at, dict(context) or None)
    suffix = "".join(f";{key}={value}" for key, value in context)
    return _rates(prices, f"genai:{seller.id}/{listed.id}@{_since(listed, at)}{suffix}")


def _has_variant(seller: Provider, listed: ModelInfo, at: datetime, key: str, value: str) -> bool:
    """Whether the list has a price of its own for one term; resold models have none of the seller's."""
    return any(listed is known for known in seller.models) and any(
        variant.when.get(key) == value and (variant.constraint is None or variant.constraint.active(at))
        for variant in listed.price_variants or ()
    )


def _since(model: ModelInfo, at: datetime) -> str:
    """Return since when this price holds, for its name: a date, a time of day, or `always`."""
    if isinstance(model.prices, list):
        for dated in reversed(model.prices):
            if dated.constraint is None or dated.constraint.active(at):
                constraint = dated.constraint
                if constraint is None:
                    return "always"
                if isinstance(constraint, TimeOfDateConstraint):
                    return f"{constraint.start_time:%H:%M}-{constraint.end_time:%H:%M}"
                return constraint.start_date.isoformat()
    return "always"


def _rates(prices: ModelPrice, price_id: str) -> Rates | UnpricedReason:
    listed: dict[str, Decimal | TieredPrices] = {
        field: value for key, field in _RATES_OF_PRICES.items() if (value := getattr(prices, key)) is not None
    }
    if not listed:
        return UnpricedReason.MISSING_TOKEN_CLASS_PRICE
    starts = {tier.start for value in listed.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    tiers = tuple((start, Rates(price_id, **_flat(listed, start))) for start in sorted(starts, reverse=True))
    return Rates(price_id, **_flat(listed, None), tiers=tiers)


def _flat(listed: Mapping[str, Decimal | TieredPrices], start: int | None) -> dict[str, Any]:
    """Return the rates that hold with more input than `start` tokens, or below every tier."""
    return {field: _integer(field, _at_tier(value, start)) for field, value in listed.items()}


def _at_tier(value: Decimal | TieredPrices, start: int | None) -> Decimal:
    if not isinstance(value, TieredPrices):
        return value
    if start is not None:
        for tier in reversed(value.tiers):
            if tier.start <= start:
                return tier.price
    return value.base


def _integer(field: str, price_usd: Decimal) -> int:
    decimals = _DECIMALS_PER_THOUSAND if field in _PER_THOUSAND else _DECIMALS_PER_MILLION
    # Exact for every price listed today; a finer one would be off by less than 10**-15 dollars for a token.
    return int(price_usd.scaleb(decimals).to_integral_value())
