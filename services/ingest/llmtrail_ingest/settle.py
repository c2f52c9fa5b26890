"""Settle what calls on own GPUs cost by what their hour really came to. Pure: reads no store and writes none.

A call's cost at its writing is a standard: tokens at a declared speed. Once the hour is over, the price of the time in
which the deployment's GPUs were busy is laid on its calls, in proportion to that standard and to the last nano-dollar.
Time in which they did nothing is told apart, and laid on nobody unless that is asked for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Final

from llmtrail.core.call import Usage
from llmtrail.core.gpu_map import Deployment, GpuPrice, Place, Target, Told
from llmtrail.core.own_gpu import gpu_price
from llmtrail.core.pricing import CostSource, Rates, UnpricedReason, cost_femtousd
from llmtrail.store.gpu_hours import HOUR_S, SLOT_S, GpuTime
from llmtrail.store.rows import Correction
from llmtrail_ingest.own_gpu_speed import Worked
from llmtrail_ingest.reprice import CorrectionReason, StoredCost

# An hour is settled when it has been over for so long: its calls have ended and its samples have come. What comes later
# still is taken in when the hour is settled again.
CLOSED_AFTER_S: Final = 1_800
# Samples have to cover so much of the five minutes in which calls began; a restart of a collector is less.
COVERED_SHARE_MIN: Final = Fraction(9, 10)
_NS_PER_S: Final = 1_000_000_000
_FEMTOUSD_PER_NANOUSD: Final = 1_000_000
_NO_USAGE: Final = Usage()


class OnCalls(StrEnum):
    """What is laid on calls."""

    BUSY = "busy"  # the time in which GPUs worked
    ALL = "all"  # idle time too


class HourOutcome(StrEnum):
    """Whether an hour of a deployment was settled, and if not, why."""

    SETTLED = "settled"
    NO_SPEED = "no_speed"  # no [[own_gpu]] holds when it begins
    NO_PRICE = "no_price"  # a GPU has no price
    NOT_SAMPLED = "not_sampled"  # of the time in which calls began, samples lack too much
    NO_TOKENS = "no_tokens"  # no call with tokens began in it: nobody to lay it on


@dataclass(frozen=True, slots=True)
class OwnCall:
    """A stored call of a deployment, as far as settling needs it."""

    tenant: str
    call_key: int
    ingest_day: int
    revision: int
    started_at_s: int
    input_tokens: int
    output_tokens: int
    femtousd: int | None  # its standard cost in 10**-15 dollars; None: unknown, and nothing is laid on it
    cost_nanousd: int | None
    cost_source: str
    price_id: str | None


@dataclass(frozen=True, slots=True)
class Terms:
    """By what an hour is settled."""

    deployments: Sequence[Deployment]
    prices: Sequence[GpuPrice]
    rates: Mapping[str, Rates]  # by deployment, as they hold when the hour begins
    on_calls: OnCalls = OnCalls.BUSY


@dataclass(frozen=True, slots=True)
class SettledHour:
    """What an hour of a deployment came to. Money is in nano-dollars; None is unknown."""

    deployment: str
    start_s: int
    outcome: HourOutcome
    calls: int
    calls_without_tokens: int
    standard_nanousd: int
    busy_nanousd: int | None
    idle_nanousd: int | None
    worked: Worked | None  # None: not known well enough to learn a speed from
    shares: tuple[tuple[OwnCall, int], ...] = ()  # what each call costs
    price_id: str = ""


def weighed(row: StoredCost, rates: Rates | None) -> OwnCall:
    """Return a stored call with its standard cost by the rates of its hour."""
    exact: int | UnpricedReason = UnpricedReason.NO_USAGE
    usage = row.call.usage or _NO_USAGE
    if rates is not None:
        exact = cost_femtousd(usage, rates, needs_output=row.call.operation != "embeddings")
    return OwnCall(
        tenant=row.tenant,
        call_key=row.call_key,
        ingest_day=row.ingest_day,
        revision=row.revision,
        started_at_s=row.started_at_ns // _NS_PER_S,
        input_tokens=usage.input_tokens or 0,
        output_tokens=usage.output_tokens or 0,
        femtousd=None if isinstance(exact, UnpricedReason) else exact,
        cost_nanousd=row.cost_nanousd,
        cost_source=row.cost_source,
        price_id=row.price_id,
    )


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Share an amount by weights, none of them negative and not all 0, so that the shares add up to it.

    Each share is its exact one rounded down or up; those that lost most by rounding down get what is left.
    """
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    lost = sorted(range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place))
    for place in lost[: total - sum(shares)]:
        shares[place] += 1
    return shares


def settle_hour(
    start_s: int, gpus: Sequence[GpuTime], calls: Mapping[str, Sequence[OwnCall]], terms: Terms
) -> list[SettledHour]:
    """Return what an hour of each deployment that names its nodes or pods came to, and what of it each call costs.

    A GPU of several deployments is shared by them as their calls' standard costs are; where there are none, equally.
    """
    sums = _sums(gpus, {name: _femtousd(some) for name, some in calls.items()}, terms)
    return [
        _settled(start_s, name, calls.get(name, ()), sums[name], terms)
        for name in sorted(sums)
        if sums[name].covered_s or calls.get(name)
    ]


def corrections_of(hour: SettledHour, book_id: str, now_ns: int) -> list[Correction]:
    """Return an entry for each call whose stored cost is not what its hour came to. Applied, none is left."""
    source = CostSource.SELF_HOSTED_FINAL.value
    return [
        Correction(
            tenant=call.tenant,
            call_key=call.call_key,
            ingest_day=call.ingest_day,
            revision=call.revision,
            old_cost_nanousd=call.cost_nanousd,
            new_cost_nanousd=nanousd,
            old_price_id=call.price_id,
            new_price_id=hour.price_id,
            new_cost_source=source,
            new_unpriced_reason=None,
            reason=CorrectionReason.SETTLED.value,
            corrected_at_ns=now_ns,
            book_id=book_id,
        )
        for call, nanousd in hour.shares
        if (call.cost_nanousd, call.cost_source, call.price_id) != (nanousd, source, hour.price_id)
    ]


@dataclass(slots=True)
class _Sum:
    """What the GPUs of a deployment came to, exactly, in nano-dollars."""

    busy: Fraction = Fraction()
    idle: Fraction = Fraction()
    has_price: bool = True
    is_shared: bool = False
    busy_s: float = 0.0
    # By five minutes: seconds that samples tell of, and those that they might.
    covered_s: dict[int, float] = field(default_factory=dict)
    possible_s: dict[int, int] = field(default_factory=dict)


def _sums(gpus: Sequence[GpuTime], femtousd: Mapping[str, int], terms: Terms) -> dict[str, _Sum]:
    targets = {
        one.name: Target(Told.CONFIG, one.hosts, one.gpus, one.pods, one.name)
        for one in terms.deployments
        # Without either, every GPU there is would be its.
        if one.hosts or one.pods
    }
    sums = {name: _Sum() for name in targets}
    holders: dict[Place, tuple[str, ...]] = {}
    sliced = {_device(gpu) for gpu in gpus if gpu.mig_instance}
    for gpu in gpus:
        if gpu.busy_s is None and not gpu.mig_instance and _device(gpu) in sliced:
            continue  # What it does its slices tell: the driver, read besides, tells nothing of the whole.
        if gpu.place not in holders:
            holders[gpu.place] = tuple(name for name, target in targets.items() if target.holds(gpu.place))
        names = holders[gpu.place]
        for name, share in zip(names, _shares(names, femtousd), strict=True):
            sums[name].is_shared |= len(names) > 1
            _add(sums[name], gpu, share, _price(terms.prices, name, gpu))
    return sums


def _device(gpu: GpuTime) -> tuple[int, str, str]:
    return gpu.start_s, gpu.place.host, gpu.place.gpu_uuid


def _shares(names: Sequence[str], femtousd: Mapping[str, int]) -> list[Fraction]:
    weights = [femtousd.get(name, 0) for name in names]
    whole = sum(weights)
    return [Fraction(weight, whole) if whole else Fraction(1, len(names)) for weight in weights]


def _price(prices: Sequence[GpuPrice], deployment: str, gpu: GpuTime) -> int | None:
    # A slice of a GPU does not cost what the GPU does: its deployment has to say what.
    return gpu_price(prices, deployment, "" if gpu.mig_instance else gpu.gpu_name, gpu.start_s)


def _add(found: _Sum, gpu: GpuTime, share: Fraction, nanousd_per_hour: int | None) -> None:
    found.possible_s[gpu.start_s] = found.possible_s.get(gpu.start_s, 0) + SLOT_S
    if gpu.busy_s is None:
        return
    found.busy_s += gpu.busy_s
    found.covered_s[gpu.start_s] = found.covered_s.get(gpu.start_s, 0.0) + gpu.covered_s
    if nanousd_per_hour is None:
        found.has_price = False
        return
    price = share * nanousd_per_hour / HOUR_S
    found.busy += Fraction(gpu.busy_s) * price
    found.idle += (Fraction(gpu.covered_s) - Fraction(gpu.busy_s)) * price


def _settled(start_s: int, name: str, calls: Sequence[OwnCall], came_to: _Sum, terms: Terms) -> SettledHour:
    weighing = sorted(
        (call for call in calls if call.femtousd is not None), key=lambda call: (call.call_key, call.tenant)
    )
    weights = [call.femtousd or 0 for call in weighing]
    outcome = _outcome(calls, came_to, terms.rates.get(name), any(weights))
    busy_nanousd, idle_nanousd = round(came_to.busy), round(came_to.idle)
    shares: tuple[tuple[OwnCall, int], ...] = ()
    price_id = ""
    if outcome is HourOutcome.SETTLED:
        with_idle = terms.on_calls is OnCalls.ALL
        shared = allocate(busy_nanousd + idle_nanousd if with_idle else busy_nanousd, weights)
        shares = tuple(zip(weighing, shared, strict=True))
        price_id = terms.rates[name].price_id + ("+idle" if with_idle else "")
    return SettledHour(
        deployment=name,
        start_s=start_s,
        outcome=outcome,
        calls=len(calls),
        calls_without_tokens=len(calls) - len(weighing),
        standard_nanousd=sum(round(Fraction(weight, _FEMTOUSD_PER_NANOUSD)) for weight in weights),
        busy_nanousd=busy_nanousd if came_to.has_price and came_to.covered_s else None,
        idle_nanousd=idle_nanousd if came_to.has_price and came_to.covered_s else None,
        worked=_worked(calls, came_to),
        shares=shares,
        price_id=price_id,
    )


def _outcome(calls: Sequence[OwnCall], came_to: _Sum, rates: Rates | None, weighs: bool) -> HourOutcome:
    if rates is None:
        return HourOutcome.NO_SPEED
    if not came_to.has_price:
        return HourOutcome.NO_PRICE
    if not weighs:
        return HourOutcome.NO_TOKENS
    return HourOutcome.SETTLED if _is_covered(calls, came_to) else HourOutcome.NOT_SAMPLED


def _worked(calls: Sequence[OwnCall], came_to: _Sum) -> Worked | None:
    """Return what was done in how much time, where calls and GPUs are known, and the GPUs were nobody else's."""
    tokens = sum(call.input_tokens for call in calls), sum(call.output_tokens for call in calls)
    if came_to.is_shared or not any(tokens) or not _is_covered(calls, came_to):
        return None
    return Worked(*tokens, came_to.busy_s, max(came_to.possible_s.values()) // SLOT_S)


def _is_covered(calls: Sequence[OwnCall], came_to: _Sum) -> bool:
    slots = {call.started_at_s // SLOT_S * SLOT_S for call in calls}
    if not slots <= came_to.covered_s.keys():
        return False
    told_s = sum(Fraction(came_to.covered_s[slot]) for slot in slots)
    return told_s >= COVERED_SHARE_MIN * sum(came_to.possible_s[slot] for slot in slots)


def _femtousd(calls: Sequence[OwnCall]) -> int:
    return sum(call.femtousd or 0 for call in calls)
