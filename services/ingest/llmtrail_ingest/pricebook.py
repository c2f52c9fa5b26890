"""Know what a call's tokens cost at its time: own GPUs, own dated prices, then genai-prices. Knows no log, no store.

Rates are worked out once for a model and day (a minute where prices change by the hour), so that a known model costs
a look into a dictionary.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import genai_prices
from genai_prices.types import ModelInfo, Provider

from llmtrail.core.call import Call
from llmtrail.core.gpu_map import Deployment
from llmtrail.core.model_identity import ModelTable, normalized, spellings
from llmtrail.core.own_gpu import OwnGpuBook, standard_prices
from llmtrail.core.price_context import PriceContext, context_of
from llmtrail.core.pricing import Rates, UnpricedReason
from llmtrail.core.provider_names import provider_id
from llmtrail.schemas import schema_folder
from llmtrail_ingest.gpu_prices import parse_gpu_prices, parse_own_gpus
from llmtrail_ingest.listed_prices import find, has_time_of_day, rates_of
from llmtrail_ingest.model_table import model_table
from llmtrail_ingest.price_overrides import (
    NO_PRICES,
    Factor,
    Override,
    PriceFile,
    PriceFileError,
    parse_price_file,
    with_documented,
)

# Models times days times tiers that are asked for; beyond that the oldest rates are worked out again.
_CACHE_ENTRIES_MAX: Final = 50_000
_FILE_BYTES_MAX: Final = 4 * 1024 * 1024  # some 10,000 entries
_NS_PER_MINUTE: Final = 60 * 10**9
_NS_PER_DAY: Final = 24 * 60 * _NS_PER_MINUTE
_MINUTES_PER_DAY: Final = 24 * 60
# Clocks may say anything; the year 9999 is the last that a date can hold.
_MINUTE_MAX: Final = 8_000 * 365 * _MINUTES_PER_DAY
# Providers whose answers leave out of a model's name what decides its price, and requests do not: Bedrock's profile
# (global costs less than a geography), OpenRouter's variant.
_ASKED_NAME_SAYS_MORE: Final = frozenset({"aws", "openrouter"})
# What clients of gateways name, whoever sells: there a prefix of the model's name may say more. Cloudflare's AI Gateway
# passes on the vendors' prices (developers.cloudflare.com/ai-gateway, "Unified Billing").
_NAMED_FOR_OTHERS: Final = frozenset({None, "openai", "cloudflare"})
_DOCUMENTED: Final = "prices/documented.toml"

_NO_ALIASES: Final[Mapping[str, str]] = {}


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
        own_gpus = OwnGpuBook(deployments)
        return GenaiPriceBook(NO_PRICES, b"", trusts_reported=trust_reported, own_gpus=own_gpus, aliases=aliases)
    text = _read(overrides)
    own_gpus = _own_gpus(text, overrides.name, deployments)
    # The same file says something else of other deployments.
    content = text.encode() + (repr(deployments).encode() if own_gpus.has_prices else b"")
    return GenaiPriceBook(
        parse_price_file(text, overrides.name),
        content,
        trusts_reported=trust_reported,
        own_gpus=own_gpus,
        aliases=aliases,
    )


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PriceFileError(f"{path}: cannot be read as UTF-8 text; check path and rights.") from error
    if len(content) > _FILE_BYTES_MAX:
        raise PriceFileError(f"{path}: larger than {_FILE_BYTES_MAX} bytes; use patterns instead of single models.")
    return text


@cache
def documented_prices() -> tuple[PriceFile, bytes]:
    """Return the prices that providers document and genai-prices lacks, as shipped, and the file's content."""
    path = schema_folder() / _DOCUMENTED
    text = _read(path)
    return parse_price_file(text, path.name, "documented"), text.encode()


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
        own: PriceFile,
        content: bytes,
        *,
        trusts_reported: bool,
        own_gpus: OwnGpuBook,
        aliases: Mapping[str, str] = _NO_ALIASES,
    ) -> None:
        self._documented, documented = documented_prices()
        self._overrides = own.prices
        self._factors = (*own.factors, *self._documented.factors)
        self._models = model_table(own.prices, aliases, (*own.models, *self._documented.models))
        self._own_gpus = own_gpus
        self._trusts_reported = trusts_reported
        self._own_change_by_hour = any(
            at_ns % _NS_PER_DAY for one in own.prices for at_ns in (one.valid_from_ns, one.valid_to_ns)
        )
        named = repr(sorted(aliases.items())) if aliases else ""
        settings = f"{genai_prices.__version__}\0{trusts_reported}\0{named}"
        digest = hashlib.sha256(settings.encode() + content + b"\0" + documented).hexdigest()
        self._book_id = f"genai-prices-{genai_prices.__version__}+{digest[:12]}"
        self._rates = lru_cache(_CACHE_ENTRIES_MAX)(self._work_out)
        self._sought = lru_cache(_CACHE_ENTRIES_MAX)(self._work_out_sought)
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
        asked = (call.provider, call.request_model, call.response_model)
        minute = min(max(started_at_ns // _NS_PER_MINUTE, 0), _MINUTE_MAX)
        if not self._changes_by_hour(*asked):
            minute -= minute % _MINUTES_PER_DAY
        return self._rates(*asked, minute, context_of(call))

    def _does_change_by_hour(self, provider: str | None, asked: str | None, answered: str | None) -> bool:
        if self._own_change_by_hour:
            return True
        found = _listed(self._sought(provider, asked, answered))
        return isinstance(found, tuple) and has_time_of_day(found[1])

    def _work_out(
        self, provider: str | None, asked: str | None, answered: str | None, minute: int, context: PriceContext
    ) -> Rates | UnpricedReason:
        sought = self._sought(provider, asked, answered)
        if not sought.models:
            return UnpricedReason.UNKNOWN_MODEL
        return self._rates_for(sought, minute, context)

    def _rates_for(self, sought: "_Sought", minute: int, context: PriceContext) -> Rates | UnpricedReason:
        """Return the rates under these terms: the listed ones, else a documented multiple of those without a term."""
        at_ns = minute * _NS_PER_MINUTE
        rates = self._rates_under(sought, minute, context)
        if rates is not UnpricedReason.MISSING_TIER_PRICE:
            return rates
        for term in reversed(context):
            factor = next(
                (one for one in self._factors if one.holds_for((term,)) and _is_meant(one, sought, at_ns)), None
            )
            if factor is not None:
                rest = tuple(other for other in context if other != term)
                without = self._rates_for(sought, minute, rest)
                return without if isinstance(without, UnpricedReason) else factor.applied(without)
        return rates

    def _rates_under(self, sought: "_Sought", minute: int, context: PriceContext) -> Rates | UnpricedReason:
        at_ns = minute * _NS_PER_MINUTE
        own = next(_entries(self._overrides, sought, at_ns, context), None)
        if own is not None:
            return own.rates
        found = _listed(sought)
        listed = found if isinstance(found, UnpricedReason) else rates_of(*found, minute, context)
        # The most specific last: what it says holds.
        for entry in reversed(tuple(_entries(self._documented.prices, sought, at_ns, context))):
            listed = with_documented(listed, entry.rates)
        return listed

    def _work_out_sought(self, provider: str | None, asked: str | None, answered: str | None) -> "_Sought":
        """Return by which names of provider and model a price of a call is sought, those that say most first."""
        by_answer = self._models.resolve(provider, None, answered) if answered else None
        by_request = self._models.resolve(provider, asked, None) if asked else None
        names = [answered, asked]
        if by_answer and by_request and by_answer.known and by_request.known:
            if by_answer.model != by_request.model:
                names = [answered]  # another model than the one asked for answered: its price is not the other's
            elif by_answer.provider in _ASKED_NAME_SAYS_MORE:
                names = [asked, answered]
        prefixes = (normalized(None, name).provider for name in names if name)
        prefix = next((one for one in prefixes if one), None)
        seller = provider_id(provider) or prefix
        models: dict[str, None] = {}
        for name in names:
            if name and name.strip():
                models |= dict.fromkeys(spellings(name))
                behind = self._models.alias(provider, name)
                models |= dict.fromkeys([behind] if behind else [])
        own = self._models.resolve(provider, asked, answered).model
        return _Sought(
            seller=seller,
            prefix=prefix if seller in _NAMED_FOR_OTHERS else None,
            models=tuple(models),
            providers=tuple(dict.fromkeys([(provider or "").strip().lower(), seller or ""])),
            own_models=tuple(dict.fromkeys([*(name.lower() for name in models), *([own] if own else [])])),
        )


@dataclass(frozen=True, slots=True)
class _Sought:
    """By which names the price of a call is sought."""

    seller: str | None  # as genai-prices knows it
    prefix: str | None  # whom a prefix of the model's name names, where the provider's own word may be a client's
    models: tuple[str, ...]
    providers: tuple[str, ...]  # as one's own prices may name them
    own_models: tuple[str, ...]


def _listed(sought: _Sought) -> tuple[Provider, ModelInfo] | UnpricedReason:
    """Return the first entry of genai-prices that any of the names means, or why there is none."""
    reason: UnpricedReason | None = None
    for seller in dict.fromkeys((sought.seller, sought.prefix or sought.seller)):
        for model in sought.models:
            found = find(seller, model)
            if not isinstance(found, UnpricedReason):
                return found
            reason = reason or found
    return reason or UnpricedReason.UNKNOWN_MODEL


def _entries(prices: Iterable[Override], sought: _Sought, at_ns: int, context: PriceContext) -> Iterator[Override]:
    """Yield the entries that are meant, the most specific first."""
    return (one for one in prices if one.holds_for(context) and _is_meant(one, sought, at_ns))


def _is_meant(entry: Override | Factor, sought: _Sought, at_ns: int) -> bool:
    is_valid = entry.valid_from_ns <= at_ns < entry.valid_to_ns
    return is_valid and entry.matches(sought.providers, sought.own_models)
