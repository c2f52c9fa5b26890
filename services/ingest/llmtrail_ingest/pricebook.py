"""Know what a call's tokens cost at its time: own GPUs, own dated prices, then genai-prices. Knows no log, no store.

Rates are worked out once for a model and day (a minute where prices change by the hour), so that a known model costs
a look into a dictionary.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Final

import genai_prices
import msgspec
from genai_prices import data_snapshot
from genai_prices.types import ConditionalPrice, ModelInfo, ModelPrice, Provider, TieredPrices, TimeOfDateConstraint

from llmtrail.core.call import Call
from llmtrail.core.gpu_map import Deployment
from llmtrail.core.model_identity import ModelTable
from llmtrail.core.own_gpu import OwnGpuBook, standard_prices
from llmtrail.core.price_inputs import PRICE_PARAMETERS
from llmtrail.core.pricing import CostSource, Rates, UnpricedReason
from llmtrail_ingest.gpu_prices import parse_gpu_prices, parse_own_gpus
from llmtrail_ingest.model_table import model_table
from llmtrail_ingest.price_overrides import Override, PriceFileError, parse_overrides

# Models times days times tiers that are asked for; beyond that the oldest rates are worked out again.
_CACHE_ENTRIES_MAX: Final = 50_000
_FILE_BYTES_MAX: Final = 4 * 1024 * 1024  # some 10,000 entries
_NS_PER_MINUTE: Final = 60 * 10**9
_NS_PER_DAY: Final = 24 * 60 * _NS_PER_MINUTE
_MINUTES_PER_DAY: Final = 24 * 60
# Clocks may say anything; the year 9999 is the last that a date can hold.
_MINUTE_MAX: Final = 8_000 * 365 * _MINUTES_PER_DAY
# Names by which OpenTelemetry and SDKs know a provider, where genai-prices does not find it by itself.
_PROVIDERS: Final = {
    "aws.bedrock": "aws",
    "aws_bedrock": "aws",
    "az.ai.inference": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "azure_openai": "azure",
    "azure-openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "google_genai": "google",
    "vertex_ai": "google",
    "mistral_ai": "mistral",
    "mistralai": "mistral",
    "together_ai": "together",
    "x_ai": "x-ai",
    "xai": "x-ai",
    "fireworks_ai": "fireworks",
}
_CONTEXT_MARK: Final = re.compile(b'"(?:' + "|".join(PRICE_PARAMETERS).encode() + b')"')
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
    "web_searches_kcount": "web_search",
    "requests_kcount": "request",
}
_DECIMALS_PER_MILLION, _DECIMALS_PER_THOUSAND = 9, 12

_NO_ALIASES: Final[Mapping[str, str]] = {}
_Context = tuple[tuple[str, str], ...]
_PARAMETERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def load_pricebook(
    overrides: Path | None = None,
    *,
    trust_reported: bool = False,
    deployments: Sequence[Deployment] = (),
    aliases: Mapping[str, str] = _NO_ALIASES,
) -> "GenaiPriceBook":
    """Return the price book of the installed genai-prices and, if given, the file of one's own prices.

    `deployments` are those whose own GPUs the file may price, `aliases` are one's own names of models. Raises
    PriceFileError, whose text says where and what to do.
    """
    if overrides is None:
        return GenaiPriceBook(
            (), b"", trusts_reported=trust_reported, own_gpus=OwnGpuBook(deployments), aliases=aliases
        )
    try:
        content = overrides.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PriceFileError(f"{overrides}: cannot be read as UTF-8 text; check path and rights.") from error
    if len(content) > _FILE_BYTES_MAX:
        raise PriceFileError(
            f"{overrides}: larger than {_FILE_BYTES_MAX} bytes; use patterns instead of single models."
        )
    own_gpus = _own_gpus(text, overrides.name, deployments)
    # The same file says something else of other deployments.
    content += repr(deployments).encode() if own_gpus.has_prices else b""
    return GenaiPriceBook(
        parse_overrides(text, overrides.name),
        content,
        trusts_reported=trust_reported,
        own_gpus=own_gpus,
        aliases=aliases,
    )


def _own_gpus(text: str, file_name: str, deployments: Sequence[Deployment]) -> OwnGpuBook:
    prices = parse_gpu_prices(text, file_name)
    entries = parse_own_gpus(text, file_name, prices)
    known = {one.name: one for one in deployments}
    for entry in entries:
        name = entry.deployment
        if name not in known:
            raise PriceFileError(
                f"{file_name}: own_gpu {name!r}: no such deployment; write [gpu.deployments.{name}] in llmtrail.toml."
            )
        if not known[name].address and not known[name].model:
            raise PriceFileError(
                f"{file_name}: own_gpu {name!r}: [gpu.deployments.{name}] says neither address nor model: no call is "
                "known to be its."
            )
    return OwnGpuBook(deployments, standard_prices(entries, prices), prices)


class GenaiPriceBook:
    """Prices of genai-prices, under one's own. Safe to ask from several threads."""

    def __init__(
        self,
        overrides: tuple[Override, ...],
        content: bytes,
        *,
        trusts_reported: bool,
        own_gpus: OwnGpuBook,
        aliases: Mapping[str, str] = _NO_ALIASES,
    ) -> None:
        self._overrides = overrides
        self._models = model_table(overrides, aliases)
        self._own_gpus = own_gpus
        self._trusts_reported = trusts_reported
        self._own_change_by_hour = any(
            at_ns % _NS_PER_DAY for own in overrides for at_ns in (own.valid_from_ns, own.valid_to_ns)
        )
        named = repr(sorted(aliases.items())) if aliases else ""
        told = f"{genai_prices.__version__}\0{trusts_reported}\0{named}"
        digest = hashlib.sha256(told.encode() + content).hexdigest()
        self._book_id = f"genai-prices-{genai_prices.__version__}+{digest[:12]}"
        self._rates = lru_cache(_CACHE_ENTRIES_MAX)(self._work_out)
        self._changes_by_hour = lru_cache(_CACHE_ENTRIES_MAX)(self._does_change_by_hour)

    @property
    def book_id(self) -> str:
        """Return the version of genai-prices and the hash of all that prices depend on."""
        return self._book_id

    @property
    def own_gpus(self) -> OwnGpuBook:
        """Return what calls of one's own deployments cost."""
        return self._own_gpus

    @property
    def models(self) -> ModelTable:
        """Return by which names models go."""
        return self._models

    @property
    def trusts_reported(self) -> bool:
        """Say whether the caller's own cost is taken where no price is known."""
        return self._trusts_reported

    def model(self, call: Call) -> str:
        """Return the one name of a call's model; empty where no model is known."""
        return self._models.resolve(call.provider, call.request_model, call.response_model).model

    def rates(self, call: Call, started_at_ns: int) -> Rates | UnpricedReason:
        """Return what tokens cost for this call at its time.

        By the deployment that it asked, else by the model that answered, else by the one asked for.
        """
        own = self._own_gpus.rates(call, started_at_ns)
        if own is not None:
            return own
        models = (call.response_model, call.request_model)
        minute = min(max(started_at_ns // _NS_PER_MINUTE, 0), _MINUTE_MAX)
        if not self._changes_by_hour(call.provider, models):
            minute -= minute % _MINUTES_PER_DAY
        return self._rates(call.provider, models, minute, _context(call))

    def _does_change_by_hour(self, provider: str | None, models: tuple[str | None, ...]) -> bool:
        if self._own_change_by_hour:
            return True
        for model in models:
            found = _find(provider, model) if model else None
            if isinstance(found, tuple) and _has_time_of_day(found[1]):
                return True
        return False

    def _work_out(
        self, provider: str | None, models: tuple[str | None, ...], minute: int, context: _Context
    ) -> Rates | UnpricedReason:
        reason: UnpricedReason | None = None
        for model in dict.fromkeys(models):
            if not model:
                continue
            rates = self._own(provider or "", model, minute * _NS_PER_MINUTE) or _listed(
                provider, model, minute, context
            )
            if isinstance(rates, Rates):
                return rates
            reason = reason or rates
        return reason or UnpricedReason.UNKNOWN_MODEL

    def _own(self, provider: str, model: str, at_ns: int) -> Rates | None:
        for override in self._overrides:
            if override.valid_from_ns <= at_ns < override.valid_to_ns and override.matches(
                provider.lower(), model.lower()
            ):
                return override.rates
        return None


def _context(call: Call) -> _Context:
    """Return what the call's parameters say about its price: service tier, batch processing, speed."""
    parameters = bytes(call.parameters)
    if _CONTEXT_MARK.search(parameters) is None:
        return ()
    try:
        values = _PARAMETERS.decode(parameters)
        chosen = {key: msgspec.json.decode(values[key]) for key in PRICE_PARAMETERS if key in values}
    except msgspec.DecodeError:
        return ()
    return tuple((key, value) for key, value in chosen.items() if isinstance(value, str) and value != "auto")


def _find(provider: str | None, model: str) -> tuple[Provider, ModelInfo] | UnpricedReason:
    """Return the provider and model of genai-prices that these names mean."""
    snapshot = data_snapshot.get_snapshot()
    name = _PROVIDERS.get(provider.strip().lower(), provider) if provider else None
    try:
        snapshot.find_provider(model.lower(), name, None)
    except LookupError:
        return UnpricedReason.UNKNOWN_PROVIDER if name else UnpricedReason.UNKNOWN_MODEL
    try:
        return snapshot.find_provider_model(model, None, name, None)
    except LookupError:
        return UnpricedReason.UNKNOWN_MODEL


def _has_time_of_day(model: ModelInfo) -> bool:
    dated: list[object] = list(model.prices) if isinstance(model.prices, list) else []
    constraints = [price.constraint for price in dated if isinstance(price, ConditionalPrice)]
    constraints += [variant.constraint for variant in model.price_variants or ()]
    return any(isinstance(constraint, TimeOfDateConstraint) for constraint in constraints)


def _listed(provider: str | None, model: str, minute: int, context: _Context) -> Rates | UnpricedReason:
    found = _find(provider, model)
    if isinstance(found, UnpricedReason):
        return found
    seller, listed = found
    at = datetime.fromtimestamp(minute * 60, UTC)
    # A model that the seller resells has no variants of the seller's own; genai-prices leaves them out as well.
    own_model = any(listed is known for known in seller.models)
    prices = listed.get_prices(at, dict(context) if own_model else None)
    suffix = "".join(f";{key}={value}" for key, value in context) if own_model else ""
    return _rates_of(prices, f"genai:{seller.id}/{listed.id}@{_since(listed, at)}{suffix}")


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


def _rates_of(prices: ModelPrice, price_id: str) -> Rates | UnpricedReason:
    listed: dict[str, Decimal | TieredPrices] = {
        field: value for key, field in _RATES_OF_PRICES.items() if (value := getattr(prices, key)) is not None
    }
    if not listed:
        return UnpricedReason.MISSING_TOKEN_CLASS_PRICE
    starts = {tier.start for value in listed.values() if isinstance(value, TieredPrices) for tier in value.tiers}
    tiers = tuple((start, _flat(listed, start)) for start in sorted(starts, reverse=True))
    source = CostSource.COMPUTED.value
    above = tuple((start, Rates(price_id, **flat, tiers=(), cost_source=source)) for start, flat in tiers)
    return Rates(price_id, **_flat(listed, None), tiers=above, cost_source=source)


def _flat(listed: Mapping[str, Decimal | TieredPrices], start: int | None) -> dict[str, int]:
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
    decimals = _DECIMALS_PER_THOUSAND if field in {"web_search", "request"} else _DECIMALS_PER_MILLION
    # Exact for every price listed today; a finer one would be off by less than 10**-15 dollars for a token.
    return int(price_usd.scaleb(decimals).to_integral_value())
