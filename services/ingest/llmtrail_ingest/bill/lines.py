"""What one line of a provider's export says, whatever format it stands in. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final

# Money of a line that is more than this is damage, not a bill.
_DOLLARS_MAX: Final = Decimal(10**9)
_NANO: Final = Decimal(10**9)
_COUNT_MAX: Final = 10**18
_SECONDS: Final = re.compile(r"\d{9,11}(\.0+)?")


class BillError(ValueError):
    """A file that is no export known here, or a line that cannot be read; the text says where and what to do."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """Some money, requests or tokens of one UTC day. None is unknown: the export does not say.

    A line without a model is a fee (`item` says for what), or covers every model where `item` is empty too.
    """

    day: str
    provider: str
    model: str = ""
    item: str = ""
    amount_nanousd: int | None = None
    requests: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


def nanousd(text: object, unit: Decimal = Decimal(1)) -> int:
    """Return an amount in nano-dollars; `unit` is what one of it is worth in dollars. Raises BillError."""
    try:
        amount = Decimal(str(text).strip().lstrip("$").replace("_", "")) * unit
    except InvalidOperation:
        raise BillError(f"{str(text)[:40]!r} is no amount; write 12.34, without a comma") from None
    if not amount.is_finite() or abs(amount) > _DOLLARS_MAX:
        raise BillError(f"{str(text)[:40]!r} is no amount of a bill")
    return int((amount * _NANO).to_integral_value())


def in_dollars(currency: object) -> None:
    """Raise BillError for another currency than US dollars."""
    if currency not in {None, ""} and str(currency).strip().upper() not in {"USD", "US$", "$"}:
        raise BillError(f"the amounts are in {str(currency)[:20]!r}; only USD is compared, since prices are in USD")


def whole(value: object) -> int | None:
    """Return a count; None where there is none. Raises BillError."""
    if value is None or value == "":
        return None
    try:
        number = Decimal(str(value).replace(",", "").replace("_", ""))
    except InvalidOperation:
        raise BillError(f"{str(value)[:40]!r} is no count") from None
    if not number.is_finite() or not 0 <= number <= _COUNT_MAX or number != number.to_integral_value():
        raise BillError(f"{str(value)[:40]!r} is no count")
    return int(number)


def day_of(value: object) -> str:
    """Return the UTC day of a date, a time or epoch seconds. Raises BillError."""
    text = str(value).strip()
    try:
        if _SECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(Decimal(text)), UTC).date().isoformat()
        at = datetime.fromisoformat(text.replace("/", "-"))
    except (ValueError, OverflowError):
        raise BillError(f"{text[:40]!r} is no day; write 2026-11-30") from None
    return (at if at.tzinfo is None else at.astimezone(UTC)).date().isoformat()


def added(parts: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """Return the sum of counts; None where none of them is there. Raises BillError."""
    known = [count for name in names if (count := whole(parts.get(name))) is not None]
    return sum(known) if known else None
