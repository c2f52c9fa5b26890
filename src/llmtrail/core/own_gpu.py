"""What calls cost on one's own GPUs at a declared speed. Pure: knows no file, no samples and no store.

A deployment costs its GPUs' price by the hour; a token costs the time that it keeps them busy. That is known when a
call is written, so budgets count it at once; what the hour really came to is settled later by measured time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import lru_cache
from typing import Final

from llmtrail.core.call import Call
from llmtrail.core.gpu_map import Asked, Deployment, GpuPrice, asked_of, deployment_of
from llmtrail.core.pricing import CostSource, Rates

_S_PER_HOUR: Final = 3_600
_S_PER_DAY: Final = 86_400
_NS_PER_S: Final = 1_000_000_000
# A rate counts 10**-15 dollars for a token.
_FEMTOUSD_PER_NANOUSD: Final = 1_000_000
# Models times servers that calls tell; what is beyond is worked out again.
_ASKED_MAX: Final = 10_000
_NOTHING: Final[Mapping[str, "tuple[StandardPrice, ...]"]] = {}


@dataclass(frozen=True, slots=True)
class OwnGpu:
    """How fast a deployment works when it does one thing only, from a second (since 1970, UTC) until before another."""

    deployment: str
    gpu: str  # the GPU's model, whose price counts where the deployment has none of its own
    gpus: Fraction
    input_tokens_s: Fraction | None  # of all its GPUs together; None: no price
    output_tokens_s: Fraction | None
    cache_read_tokens_s: Fraction | None  # None: as input
    valid_from_s: int
    valid_to_s: int


@dataclass(frozen=True, slots=True)
class StandardPrice:
    """What a deployment's tokens cost, from a second until before another."""

    valid_from_s: int
    valid_to_s: int
    rates: Rates


def gpu_price(prices: Iterable[GpuPrice], deployment: str, gpu: str, at_s: int) -> int | None:
    """Return what an hour of one GPU costs in nano-dollars: the deployment's own price goes before its GPU's model."""
    held = {one.gpu: one.nanousd_per_hour for one in prices if one.valid_from_s <= at_s < one.valid_to_s}
    return held.get(deployment, held.get(gpu))


def standard_prices(entries: Iterable[OwnGpu], prices: Sequence[GpuPrice]) -> dict[str, tuple[StandardPrice, ...]]:
    """Return each deployment's prices of tokens by time; there is none where no price of its GPUs holds."""
    found: dict[str, list[StandardPrice]] = {}
    for entry in entries:
        for start_s, end_s, nanousd in _spans(entry, prices):
            rates = _rates(entry, nanousd, start_s)
            found.setdefault(entry.deployment, []).append(StandardPrice(start_s, end_s, rates))
    return {name: tuple(sorted(spans, key=lambda span: span.valid_from_s)) for name, spans in found.items()}


def _spans(entry: OwnGpu, prices: Sequence[GpuPrice]) -> Iterable[tuple[int, int, int]]:
    """Yield (from, until, price of an hour) of an entry, a new one wherever that price changes."""
    edges = {at_s for one in prices for at_s in (one.valid_from_s, one.valid_to_s)}
    inner = sorted(at_s for at_s in edges if entry.valid_from_s < at_s < entry.valid_to_s)
    start_s, held = entry.valid_from_s, gpu_price(prices, entry.deployment, entry.gpu, entry.valid_from_s)
    for at_s in (*inner, entry.valid_to_s):
        price = gpu_price(prices, entry.deployment, entry.gpu, at_s)
        if at_s != entry.valid_to_s and price == held:
            continue
        if held is not None:
            yield start_s, at_s, held
        start_s, held = at_s, price


def _rates(entry: OwnGpu, nanousd_per_hour: int, start_s: int) -> Rates:
    return Rates(
        f"own_gpu:{entry.deployment}{_since(start_s)}",
        input=_rate(entry, nanousd_per_hour, entry.input_tokens_s),
        output=_rate(entry, nanousd_per_hour, entry.output_tokens_s),
        cache_read=_rate(entry, nanousd_per_hour, entry.cache_read_tokens_s),
        cost_source=CostSource.SELF_HOSTED.value,
    )


def _rate(entry: OwnGpu, nanousd_per_hour: int, tokens_s: Fraction | None) -> int | None:
    """Return what a token costs, rounded half to even to 10**-15 dollars."""
    if tokens_s is None:
        return None
    return round(entry.gpus * nanousd_per_hour * _FEMTOUSD_PER_NANOUSD / (_S_PER_HOUR * tokens_s))


def _since(start_s: int) -> str:
    if not start_s:
        return ""
    at = datetime.fromtimestamp(start_s, UTC)
    return f"@{at.date()}" if start_s % _S_PER_DAY == 0 else f"@{at:%Y-%m-%dT%H:%M:%SZ}"


class OwnGpuBook:
    """Finds the deployment of a call and what its tokens cost. Safe to ask from several threads."""

    def __init__(
        self,
        deployments: Iterable[Deployment],
        prices: Mapping[str, tuple[StandardPrice, ...]] = _NOTHING,
        hour_prices: Sequence[GpuPrice] = (),
    ) -> None:
        """Take all deployments, those without a price too: a call of theirs is none of another's."""
        self._deployments = tuple(deployments)
        self._prices = prices
        self._hour_prices = tuple(hour_prices)
        self._models = {one.model for one in self._deployments}
        self._found = lru_cache(_ASKED_MAX)(self._find)

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Return all deployments."""
        return self._deployments

    @property
    def hour_prices(self) -> tuple[GpuPrice, ...]:
        """Return what hours of GPUs cost."""
        return self._hour_prices

    @property
    def has_prices(self) -> bool:
        """Say whether any call has a price here."""
        return bool(self._prices)

    def deployment(self, call: Call) -> str | None:
        """Return the name of the deployment that answered a call; None: none of ours."""
        model = call.request_model or call.response_model or ""
        if model not in self._models and "" not in self._models:
            return None  # Most calls go elsewhere: they are to cost nothing here.
        asked = asked_of(call)
        return self._found(asked.model, asked.address, asked.port)

    def rates_of(self, deployment: str, at_s: int) -> Rates | None:
        """Return what a deployment's tokens cost at a second; None where that is not declared."""
        for span in self._prices.get(deployment, ()):
            if span.valid_from_s <= at_s < span.valid_to_s:
                return span.rates
        return None

    def rates(self, call: Call, started_at_ns: int) -> Rates | None:
        """Return what a call's tokens cost as of its start; None where it is none of ours or has no price."""
        if not self._prices:
            return None
        name = self.deployment(call)
        return None if name is None else self.rates_of(name, started_at_ns // _NS_PER_S)

    def _find(self, model: str, address: str, port: int | None) -> str | None:
        found = deployment_of(Asked(model, address, port), self._deployments)
        return None if found is None else found.name
