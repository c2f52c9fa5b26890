"""Compare a bill with our calls by UTC day and model, and say what explains each difference. Pure."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from llmtrail_ingest.bill.lines import BillLine

# Names that are printed of services, prices and reasons.
NAMES_MAX: Final = 3
# Every model of a day, where the export does not tell them apart.
ALL_MODELS: Final = "(all models)"
# Tokens that differ by no more are the same work: cancelled streams, rounding of images.
_SAME_TOKENS: Final = 0.005

Key = tuple[str, str]  # day, model


class Cause(StrEnum):
    """Why a bill and our figures differ."""

    UNPRICED = "unpriced"  # calls here have no price
    UNSEEN = "unseen"  # the provider served calls that never came here
    OTHER_PRICE = "other_price"  # the same tokens at another price
    ESTIMATED = "estimated"  # costs here are estimates of calls that broke off
    NOT_BILLED = "not_billed"  # calls here count as not billed
    FEES = "fees"  # the bill has fees in lines of their own
    UNBILLED = "unbilled"  # calls here that the bill does not have
    UNKNOWN = "unknown"  # the export holds no requests or tokens that could tell


@dataclass(slots=True)
class Billed:
    """What the bill says of one model on one day. None: the export does not say."""

    amount_nanousd: int | None = None
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    def add(self, line: BillLine) -> None:
        """Add a line."""
        self.amount_nanousd = _plus(self.amount_nanousd, line.amount_nanousd)
        self.requests = _plus(self.requests, line.requests)
        self.input_tokens = _plus(self.input_tokens, line.input_tokens)
        self.output_tokens = _plus(self.output_tokens, line.output_tokens)


@dataclass(slots=True)
class Ours:
    """What our calls of one model come to on one day."""

    calls: int = 0
    cost_nanousd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    unpriced: int = 0
    estimated: int = 0
    estimated_nanousd: int = 0
    not_billed: int = 0
    fee_requests: int = 0
    price_ids: tuple[str, ...] = ()
    unpriced_reasons: tuple[str, ...] = ()
    emitters: tuple[str, ...] = ()

    def add(self, other: "Ours") -> None:
        """Add the calls of another name of the model."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("price_ids", "unpriced_reasons", "emitters"):
            setattr(self, name, tuple(dict.fromkeys(getattr(self, name) + getattr(other, name))))


_SUMS: Final = (
    "calls", "cost_nanousd", "input_tokens", "output_tokens", "unpriced", "estimated", "estimated_nanousd",
    "not_billed", "fee_requests",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far apart two amounts may be and count as the same: the larger of the two."""

    share: float = 0.01
    nanousd: int = 10_000_000

    def holds(self, one: int, other: int) -> bool:
        """Whether two amounts are close enough."""
        return abs(one - other) <= max(self.nanousd, self.share * max(abs(one), abs(other)))


@dataclass(frozen=True, slots=True)
class Explained:
    """One cause of a difference, and what to mend."""

    cause: Cause
    text: str


@dataclass(frozen=True, slots=True)
class Compared:
    """One model on one day."""

    day: str
    model: str
    billed: Billed
    ours: Ours
    within: bool
    why: tuple[Explained, ...] = ()

    @property
    def difference_nanousd(self) -> int | None:
        """Ours less the bill's; None where the bill has no amount."""
        return None if self.billed.amount_nanousd is None else self.ours.cost_nanousd - self.billed.amount_nanousd


@dataclass(slots=True)
class Bill:
    """A bill by day and model, and its fees by day."""

    by_model: dict[Key, Billed] = field(default_factory=dict)
    fees: dict[Key, int] = field(default_factory=dict)
    lines: int = 0

    def add(self, line: BillLine, model: str) -> None:
        """Add a line; `model` is the one name of the line's model, empty for none."""
        self.lines += 1
        if not model and line.item and line.amount_nanousd is not None:
            self.fees[line.day, line.item] = self.fees.get((line.day, line.item), 0) + line.amount_nanousd
            return
        self.by_model.setdefault((line.day, model or ALL_MODELS), Billed()).add(line)

    def days(self) -> set[str]:
        """The days that the bill covers."""
        return {day for day, _ in (*self.by_model, *self.fees)}


def bill_of(lines: Iterable[BillLine], name_of: Callable[[BillLine], str]) -> Bill:
    """Add up a bill; `name_of` gives the one name of a line's model."""
    bill = Bill()
    for line in lines:
        bill.add(line, name_of(line) if line.model else "")
    return bill


def compare(bill: Bill, ours: Mapping[Key, Ours], tolerance: Tolerance) -> list[Compared]:
    """Compare every day and model that either side has, on the days of the bill; oldest first, then by money."""
    whole_days = {day for day, model in bill.by_model if model == ALL_MODELS}
    mine = _as_billed(ours, whole_days, bill.days())
    billed = _as_told(bill.by_model, whole_days)
    fees: dict[str, int] = {}
    for (day, _), amount in bill.fees.items():
        fees[day] = fees.get(day, 0) + amount
    rows = [
        _compared(key, billed.get(key), mine.get(key, Ours()), fees.get(key[0], 0), tolerance)
        for key in sorted({*billed, *mine})
    ]
    fee_days = {day for (day, _), calls in mine.items() if calls.fee_requests} | whole_days
    rows += [
        _fee(key, amount)
        for key, amount in bill.fees.items()
        if key[0] not in fee_days and not tolerance.holds(amount, 0)
    ]
    return sorted(rows, key=lambda row: (row.day, -max(row.billed.amount_nanousd or 0, row.ours.cost_nanousd)))


def _as_billed(ours: Mapping[Key, Ours], whole_days: set[str], days: set[str]) -> dict[Key, Ours]:
    found: dict[Key, Ours] = {}
    for (day, model), calls in ours.items():
        if day in days:
            found.setdefault((day, ALL_MODELS if day in whole_days else model), Ours()).add(calls)
    return found


def _as_told(by_model: Mapping[Key, Billed], whole_days: set[str]) -> dict[Key, Billed]:
    """On a day with a line for all models, every line of the day is one with it."""
    found: dict[Key, Billed] = {}
    for (day, model), billed in by_model.items():
        key = (day, ALL_MODELS if day in whole_days else model)
        total = found.setdefault(key, Billed())
        for name in ("amount_nanousd", "requests", "input_tokens", "output_tokens"):
            setattr(total, name, _plus(getattr(total, name), getattr(billed, name)))
    return found


def _compared(key: Key, billed: Billed | None, ours: Ours, fees: int, tolerance: Tolerance) -> Compared:
    bill = billed or Billed(amount_nanousd=0)
    why = _causes(key[1], bill, ours, fees, is_billed=billed is not None)
    if bill.amount_nanousd is None:
        within = not any(one.cause is Cause.UNSEEN for one in why) and _same_tokens(bill, ours) is not False
    else:
        within = tolerance.holds(ours.cost_nanousd, bill.amount_nanousd)
        # Our costs hold the fees of a call, the bill's lines of a model do not.
        over = ours.cost_nanousd - bill.amount_nanousd
        within = within or bool(ours.fee_requests and over > 0 and tolerance.holds(min(over, fees), over))
    return Compared(*key, bill, ours, within, () if within else tuple(why))


def _fee(key: Key, amount: int) -> Compared:
    """A fee of which no call of the day reports anything."""
    text = f"no call here reports it: let what runs {key[1]} send its usage, or count it in the agreed tolerance"
    return Compared(key[0], f"(fee) {key[1]}", Billed(amount), Ours(), within=False, why=(Explained(Cause.FEES, text),))


def _causes(model: str, billed: Billed, ours: Ours, fees: int, *, is_billed: bool) -> list[Explained]:
    less = billed.amount_nanousd is None or ours.cost_nanousd < billed.amount_nanousd
    found: list[Explained] = []
    if less and ours.unpriced:
        reasons = f" ({_some(ours.unpriced_reasons)})" if ours.unpriced_reasons else ""
        found.append(Explained(Cause.UNPRICED, f"{ours.unpriced:,} calls have no price{reasons}: add one for {model}"))
    if less and (unseen := _unseen(model, billed, ours)):
        found.append(Explained(Cause.UNSEEN, unseen))
    if ours.estimated:
        text = f"{ours.estimated:,} calls are estimated (${ours.estimated_nanousd / 1e9:,.2f})"
        found.append(Explained(Cause.ESTIMATED, text))
    if less and ours.not_billed:
        text = f"{ours.not_billed:,} failed calls count as not billed"
        found.append(Explained(Cause.NOT_BILLED, text))
    if not less and fees and ours.fee_requests:
        text = f"the bill has ${fees / 1e9:,.2f} of fees in lines of their own; here they are in the calls' cost"
        found.append(Explained(Cause.FEES, text))
    if not is_billed and ours.calls:
        who = _some(ours.emitters)
        text = f"the bill has none of it: another key, project or account than {who or 'that of these calls'}?"
        found.append(Explained(Cause.UNBILLED, text))
    if _is_other_price(billed, ours):
        prices = _some(ours.price_ids) or model
        found.append(Explained(Cause.OTHER_PRICE, f"the same tokens, another amount: mend the price {prices}"))
    return found or [Explained(Cause.UNKNOWN, _unknown(billed))]


def _unseen(model: str, billed: Billed, ours: Ours) -> str:
    """Say which of the provider's calls never came here."""
    came = f"calls of it come from {_some(ours.emitters)}" if ours.emitters else f"nothing here sends calls of {model}"
    if billed.requests is not None and billed.requests > ours.calls - ours.not_billed:
        missing = billed.requests - (ours.calls - ours.not_billed)
        return f"{missing:,} of {billed.requests:,} requests were not seen here; {came}"
    if _same_tokens(billed, ours) is False and (billed.input_tokens or 0) > ours.input_tokens:
        missing = (billed.input_tokens or 0) - ours.input_tokens
        return f"{missing:,} of {billed.input_tokens or 0:,} input tokens were not seen here; {came}"
    if not ours.calls and ((billed.amount_nanousd or 0) > 0 or (billed.output_tokens or 0) > 0):
        return f"no call of {model} came here: find what calls it, and wrap it"
    return ""


def _is_other_price(billed: Billed, ours: Ours) -> bool:
    same = _same_tokens(billed, ours)
    requests = billed.requests is not None and billed.requests == ours.calls - ours.not_billed
    priced = ours.calls > ours.unpriced and billed.amount_nanousd is not None
    return priced and (same is True or (same is None and requests)) and not ours.unpriced


def _same_tokens(billed: Billed, ours: Ours) -> bool | None:
    """Whether both counted the same tokens; None where the bill does not count them."""
    pairs = [(billed.input_tokens, ours.input_tokens), (billed.output_tokens, ours.output_tokens)]
    known = [(theirs, mine) for theirs, mine in pairs if theirs is not None]
    if not known:
        return None
    return all(abs(theirs - mine) <= _SAME_TOKENS * max(theirs, mine) for theirs, mine in known)


def _unknown(billed: Billed) -> str:
    if billed.requests is None and billed.input_tokens is None:
        return "this export has no requests or tokens; name the provider's usage report as well"
    return "neither requests nor tokens explain it; compare single calls with `llmtrail sql`"


def _some(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return ", ".join(names[:NAMES_MAX]) + more


def _plus(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other
