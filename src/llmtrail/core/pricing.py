"""Price a call: integer arithmetic over the rates that a price book gives. Knows no provider and no file of prices.

Unknown is NULL with a reason, never 0: a class of tokens that were used and has no price makes the whole call unpriced.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from llmtrail.core.call import MONEY_NANOUSD_MAX, REPORTED_BY, Call, Usage
from llmtrail.core.estimate import Billing, Estimate, billing_of, estimate
from llmtrail.core.failure import FailureMode
from llmtrail.core.usage import adds_up

# Rates are integers: billionths of a dollar for a million tokens, that is 10**-15 dollars for one.
RATE_DECIMALS: Final = 9
_FEMTOUSD_PER_NANOUSD: Final = 1_000_000
_HALF_FEMTOUSD: Final = _FEMTOUSD_PER_NANOUSD // 2
_COMPUTED: Final = "computed"


class CostSource(StrEnum):
    """Where a cost comes from."""

    COMPUTED = "computed"
    # The provider's own, where ours has no price; the caller's, where the configuration trusts the caller besides.
    REPORTED = "reported"
    SELF_HOSTED = "self_hosted"  # tokens at the declared speed and the price of one's own GPUs
    SELF_HOSTED_FINAL = "self_hosted_final"  # its share of what those GPUs' busy time of its hour came to
    ESTIMATED = "estimated"  # from tokens estimated by the text that was sent and received
    NOT_BILLED = "not_billed"  # 0: the provider does not bill such a failure
    UNPRICED = "unpriced"


class UnpricedReason(StrEnum):
    """Why a call has no cost."""

    NO_USAGE = "no_usage"  # no tokens known: failed calls mostly
    INCOMPLETE_USAGE = "incomplete_usage"  # only one of input and output known
    INCONSISTENT_USAGE = "inconsistent_usage"  # parts exceed their total: another convention of counting, or a mistake
    AMBIGUOUS_USAGE = "ambiguous_usage"  # parts may overlap (cached audio) and have different prices
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PROVIDER = "unknown_provider"
    MISSING_TOKEN_CLASS_PRICE = "missing_token_class_price"  # noqa: S105 - a class of tokens, no secret
    MISSING_TIER_PRICE = "missing_tier_price"  # served in a tier, batch or speed that has no price of its own
    OUT_OF_RANGE = "out_of_range"  # more than a call can cost: the tokens or the price are wrong


@dataclass(frozen=True, slots=True)
class Rates:
    """What each class of tokens costs, in 10**-15 dollars for one; `None` is unknown.

    Cache reads and writes, input images and videos without a rate of their own are billed as input, reasoning as
    output, because that is what providers do; other classes without a rate are unpriced.
    """

    price_id: str
    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    input_audio: int | None = None
    output_audio: int | None = None
    input_image: int | None = None
    output_image: int | None = None
    cache_read_audio: int | None = None
    cache_read_image: int | None = None
    input_video: int | None = None
    citation: int | None = None
    web_search: int | None = None
    file_search: int | None = None
    code_interpreter: int | None = None
    request: int = 0
    # (tokens, rates) by falling number of tokens: with more input than that, all tokens cost these rates.
    tiers: "tuple[tuple[int, Rates], ...]" = ()
    cost_source: str = _COMPUTED


class Priced(msgspec.Struct, frozen=True, gc=False):
    """A call's cost, or why there is none. The texts are values of `CostSource` and `UnpricedReason`."""

    cost_nanousd: int | None
    cost_source: str
    price_id: str | None
    unpriced_reason: str | None
    # Of a call whose tokens nobody reports, by the text that was sent and received; None where they are known.
    estimated_input_tokens: int | None = None
    estimated_output_tokens: int | None = None


class PriceBook(Protocol):
    """Knows what calls cost at a time."""

    @property
    def book_id(self) -> str:
        """Return the name of this book's content: other content, other name."""

    @property
    def trusts_reported(self) -> bool:
        """Say whether the caller's own cost is taken where no price is known."""

    def model(self, call: Call) -> str:
        """Return the one name of a call's model; empty where no model is known."""

    def rates(self, call: Call, started_at_ns: int) -> Rates | UnpricedReason:
        """Return what tokens cost for this call at its time, or why that is unknown."""


# A call that the budget refused was never sent: that costs nothing, and is known to.
NOT_SENT: Final = Priced(0, CostSource.NOT_BILLED.value, "not_sent", None)
NOT_BILLED: Final = Priced(0, CostSource.NOT_BILLED.value, "not_billed", None)
_NO_USAGE: Final = Usage()
_BY_PROVIDER: Final = re.compile(rb'"%s"\s*:\s*"provider"' % re.escape(REPORTED_BY).encode())


def price(call: Call, started_at_ns: int, book: PriceBook, stored: Estimate | None = None) -> Priced:
    """Return what `call` cost as of its own time, rounded half to even to a nano-dollar, once, at the end.

    `stored` is what was estimated when the text was at hand, for calls that are priced again without it.
    """
    usage = call.usage or _NO_USAGE
    if usage.input_tokens is None or usage.output_tokens is None:
        uncounted = _uncounted(call, usage, started_at_ns, book, stored)
        if uncounted is not None:
            return uncounted
    if not adds_up(usage):
        return _unpriced(call, usage, UnpricedReason.INCONSISTENT_USAGE, book)
    rates = book.rates(call, started_at_ns)
    if isinstance(rates, UnpricedReason):
        return _unpriced(call, usage, rates, book)
    cost = cost_nanousd(usage, rates, needs_output=call.operation != "embeddings")
    if isinstance(cost, UnpricedReason):
        return _unpriced(call, usage, cost, book)
    return Priced(cost, rates.cost_source, rates.price_id, None)


def _uncounted(call: Call, usage: Usage, started_at_ns: int, book: PriceBook, stored: Estimate | None) -> Priced | None:
    """Return what a call cost whose tokens are not all counted; None where what is counted decides.

    An answered call has no cost until its tokens are known; what may have been billed is estimated.
    """
    nothing = usage.input_tokens is None and usage.output_tokens is None
    billing = billing_of(call)
    if billing is Billing.NOT_BILLED and nothing:
        return NOT_SENT if call.failure_mode is FailureMode.BUDGET_REFUSED else NOT_BILLED
    if not nothing and billing is not Billing.MAYBE:
        return None
    guess = stored or estimate(call)
    guess = Estimate(
        guess.input_tokens if usage.input_tokens is None else None,
        guess.output_tokens if usage.output_tokens is None else None,
    )
    if billing is Billing.MAYBE:
        cost = _estimated_cost(call, usage, started_at_ns, book, guess)
        if cost is not None:
            return cost
        if not nothing:
            return None
    unpriced = _unpriced(call, usage, UnpricedReason.NO_USAGE, book)
    return msgspec.structs.replace(
        unpriced, estimated_input_tokens=guess.input_tokens, estimated_output_tokens=guess.output_tokens
    )


def _estimated_cost(call: Call, usage: Usage, started_at_ns: int, book: PriceBook, guess: Estimate) -> Priced | None:
    """Return the cost by estimated tokens beside the counted ones; None where there is no price or nothing to go by."""
    given = guess.input_tokens if usage.input_tokens is None else usage.input_tokens
    gave = guess.output_tokens if usage.output_tokens is None else usage.output_tokens
    if given is None or (call.reported_cost_nanousd and is_reported_by_provider(call)):
        return None
    rates = book.rates(call, started_at_ns)
    if isinstance(rates, UnpricedReason):
        return None
    whole = msgspec.structs.replace(usage, input_tokens=given, output_tokens=gave or 0, total_tokens=None)
    cost = cost_nanousd(whole, rates) if adds_up(whole) else UnpricedReason.INCONSISTENT_USAGE
    if isinstance(cost, UnpricedReason):
        return None
    source = CostSource.ESTIMATED.value
    return Priced(cost, source, rates.price_id, None, guess.input_tokens, guess.output_tokens)


def cost_nanousd(usage: Usage, rates: Rates, *, needs_output: bool = True) -> int | UnpricedReason:
    """Return what these tokens cost in nano-dollars, or why that cannot be said."""
    exact = cost_femtousd(usage, rates, needs_output=needs_output)
    if isinstance(exact, UnpricedReason):
        return exact
    cost = _round_half_even(exact)
    return cost if cost <= MONEY_NANOUSD_MAX else UnpricedReason.OUT_OF_RANGE


def cost_femtousd(usage: Usage, rates: Rates, *, needs_output: bool = True) -> int | UnpricedReason:
    """Return what these tokens cost in 10**-15 dollars, before it is rounded, or why that cannot be said."""
    input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
    if input_tokens is None or (output_tokens is None and needs_output and rates.output is not None):
        return UnpricedReason.INCOMPLETE_USAGE
    for above_tokens, tier in rates.tiers:
        if input_tokens > above_tokens:
            rates = tier
            break
    asked = _input_cost(usage, input_tokens, rates)
    if isinstance(asked, UnpricedReason):
        return asked
    answered = _output_cost(usage, output_tokens or 0, rates)
    if isinstance(answered, UnpricedReason):
        return answered
    fees = _fees(usage, rates)
    if isinstance(fees, UnpricedReason):
        return fees
    return asked + answered + fees + rates.request


def _fees(usage: Usage, rates: Rates) -> int | UnpricedReason:
    """Return the cost of what is counted beside tokens, in 10**-15 dollars: searches, sessions, citations."""
    if not (
        usage.web_search_requests
        or usage.file_search_requests
        or usage.code_interpreter_sessions
        or usage.citation_tokens
    ):
        return 0
    cost = 0
    for count, rate in (
        (usage.web_search_requests, rates.web_search),
        (usage.file_search_requests, rates.file_search),
        (usage.code_interpreter_sessions, rates.code_interpreter),
        (usage.citation_tokens, rates.citation),
    ):
        if count:
            if rate is None:
                return UnpricedReason.MISSING_TOKEN_CLASS_PRICE
            cost += count * rate
    return cost


def _input_cost(usage: Usage, total: int, rates: Rates) -> int | UnpricedReason:
    """Return the cost of all input in 10**-15 dollars."""
    rate, read_rate = rates.input, rates.cache_read
    rare = (
        usage.cache_write_tokens
        or usage.cache_write_1h_tokens
        or usage.input_audio_tokens
        or usage.input_image_tokens
        or usage.input_video_tokens
    )
    reads = usage.cache_read_tokens or 0
    if rare or rate is None or reads > total:
        return _parted_input_cost(usage, total, rates)
    # Most calls have text and cache reads only; they are the ones that have to be quick.
    return total * rate if read_rate is None else (total - reads) * rate + reads * read_rate


def _parted_input_cost(usage: Usage, plain: int, rates: Rates) -> int | UnpricedReason:
    """Return the cost of all input in 10**-15 dollars: each part at its own rate, the rest as plain input."""
    if _may_overlap(usage, rates):
        return UnpricedReason.AMBIGUOUS_USAGE
    parts = tuple(_input_parts(usage, rates))
    if any(count < 0 for count, _, _ in parts) or sum(count for count, _, _ in parts) > plain:
        return UnpricedReason.INCONSISTENT_USAGE
    cost = 0
    for count, rate, is_needed in parts:
        if count and rate is not None:
            cost += count * rate
            plain -= count
        elif count and is_needed:
            return UnpricedReason.MISSING_TOKEN_CLASS_PRICE
    if plain and rates.input is None:
        return UnpricedReason.MISSING_TOKEN_CLASS_PRICE
    return cost + plain * (rates.input or 0)


def _input_parts(usage: Usage, rates: Rates) -> Iterator[tuple[int, int | None, bool]]:
    """Yield (tokens, rate, whether they must have one) of the parts of the input; none is part of another."""
    # The 1-hour writes are part of all writes, and both, as reads, are part of the input.
    hour = usage.cache_write_1h_tokens or 0
    writes = (usage.cache_write_tokens or hour) - hour
    cached_audio, cached_image = usage.cache_read_audio_tokens or 0, usage.cache_read_image_tokens or 0
    reads = (usage.cache_read_tokens or 0) - cached_audio - cached_image
    text = rates.cache_read
    yield hour, rates.cache_write_1h, True
    yield writes, rates.cache_write, False
    yield reads, text, False
    # Cached audio without a rate of its own is billed as audio: a provider that caches text does not always cache it.
    yield cached_audio, rates.input_audio if rates.cache_read_audio is None else rates.cache_read_audio, True
    yield cached_image, text if rates.cache_read_image is None else rates.cache_read_image, False
    yield (usage.input_audio_tokens or 0) - cached_audio, rates.input_audio, True
    yield (usage.input_image_tokens or 0) - cached_image, rates.input_image, False
    yield usage.input_video_tokens or 0, rates.input_video, False


def _may_overlap(usage: Usage, rates: Rates) -> bool:
    """Whether cached tokens and audio or images may be the same ones, which nobody reports, at different rates."""
    cached = usage.cache_read_tokens or usage.cache_write_tokens or usage.cache_write_1h_tokens
    if not cached:
        return False
    audio = usage.input_audio_tokens and usage.cache_read_audio_tokens is None
    image = usage.input_image_tokens and usage.cache_read_image_tokens is None and rates.input_image is not None
    return bool(audio or image)


def _output_cost(usage: Usage, total: int, rates: Rates) -> int | UnpricedReason:
    """Return the cost of all output in 10**-15 dollars."""
    rate = rates.output
    if rate is not None and not (usage.reasoning_tokens or usage.output_audio_tokens or usage.output_image_tokens):
        return total * rate
    return _parted_output_cost(usage, total, rates)


def _parted_output_cost(usage: Usage, plain: int, rates: Rates) -> int | UnpricedReason:
    """Return the cost of all output in 10**-15 dollars: each part at its own rate, the rest as plain output."""
    cost = 0
    audio, image, reasoning = (
        usage.output_audio_tokens or 0,
        usage.output_image_tokens or 0,
        usage.reasoning_tokens or 0,
    )
    if audio + image + reasoning > plain:
        return UnpricedReason.INCONSISTENT_USAGE
    if (audio and rates.output_audio is None) or (image and rates.output_image is None):
        return UnpricedReason.MISSING_TOKEN_CLASS_PRICE
    for count, rate in ((audio, rates.output_audio), (image, rates.output_image), (reasoning, rates.reasoning)):
        if count and rate is not None:
            cost += count * rate
            plain -= count
    if plain and rates.output is None:
        return UnpricedReason.MISSING_TOKEN_CLASS_PRICE
    return cost + plain * (rates.output or 0)


def _round_half_even(femtousd: int) -> int:
    nanousd, rest = divmod(femtousd, _FEMTOUSD_PER_NANOUSD)
    if rest < _HALF_FEMTOUSD or (rest == _HALF_FEMTOUSD and nanousd % 2 == 0):
        return nanousd
    return nanousd + 1


def _unpriced(call: Call, usage: Usage, reason: UnpricedReason, book: PriceBook) -> Priced:
    """Return the caller's own cost where it is trusted and says something, else no cost and the reason."""
    reported = call.reported_cost_nanousd
    # A client without a price reports 0: that is a cost only where it is known that nothing was used.
    nothing_used = usage.input_tokens == 0 and not usage.output_tokens
    if reported is not None and (reported or nothing_used) and (book.trusts_reported or is_reported_by_provider(call)):
        return Priced(reported, CostSource.REPORTED.value, "reported", None)
    return Priced(None, CostSource.UNPRICED.value, None, reason.value)


def is_reported_by_provider(call: Call) -> bool:
    """Whether the reported cost is what the provider's own answer says, rather than what a caller worked out."""
    return _BY_PROVIDER.search(bytes(call.attributes)) is not None
