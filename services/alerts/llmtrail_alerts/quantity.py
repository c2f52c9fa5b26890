"""Read amounts as people write them in rules: dollars, shares, durations, times. Pure and exact: no binary fraction.

TOML's numbers come here as `int` or `Decimal`, so that 0.1 is a tenth and not its nearest double.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

NANOUSD_PER_USD: Final = 1_000_000_000
# A hundred million dollars: more is a mistake, and its nano-dollars still fit 64 bits.
USD_MAX: Final = 100_000_000
# A year: more is a mistake.
DURATION_MS_MAX: Final = 366 * 86_400_000
NUMBER_MAX: Final = 10**12  # of a multiple, or of anything else that is counted in no unit
_DIGITS_MAX: Final = 40  # of a number: far more than any amount has

_MONEY: Final = re.compile(r"\$?\s*(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)\s*(?:usd|dollars?)?", re.IGNORECASE)
_SHARE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_TIMES: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:x|times)?", re.IGNORECASE)
_DURATION_PART: Final = re.compile(r"(\d+)\s*(ms|s|m|min|h|d)\s*")
_MS_OF: Final = {"ms": 1, "s": 1_000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


class QuantityError(ValueError):
    """A text that is no such amount; the text says how to write one."""


def nanousd(value: object) -> int:
    """Return dollars as nano-dollars; raises QuantityError for what is no amount or finer than a nano-dollar."""
    dollars = _decimal(value, _MONEY)
    if dollars is None:
        raise QuantityError('is no amount of dollars; write 12.50, "12.50" or "$12.50".')
    if dollars < 0 or dollars > USD_MAX:
        raise QuantityError(f"lies outside $0 to ${USD_MAX:,}.")
    exact = Fraction(dollars) * NANOUSD_PER_USD
    if exact.denominator != 1:
        raise QuantityError("is finer than a nano-dollar; write at most nine decimals.")
    return exact.numerator


def share(value: object) -> Fraction:
    """Return a share as an exact fraction: "80 %" or 0.8 is 4/5; raises QuantityError."""
    percent = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if percent is not None:
        return Fraction(percent[1]) / 100
    plain = None if isinstance(value, str) else _decimal(value, _TIMES)
    # Numbers above one are percents that lack their sign: 80 for 80 %.
    if plain is None or not 0 <= plain <= 1:
        raise QuantityError('is no share; write "80 %" or 0.8.')
    return Fraction(plain)


def duration_ms(value: object) -> int:
    """Return a duration in milliseconds: "90s", "5m", "1h 30m", "250ms"; raises QuantityError."""
    if not isinstance(value, str) or not value.strip():
        raise QuantityError('is no duration; write "30s", "5m", "4h", "1d" or "1h 30m".')
    text, at, total = value.strip().lower(), 0, 0
    while at < len(text):
        part = _DURATION_PART.match(text, at)
        if part is None:
            raise QuantityError('is no duration; write "30s", "5m", "4h", "1d" or "1h 30m".')
        total += int(part[1][:15]) * _MS_OF[part[2]]
        at = part.end()
    if total > DURATION_MS_MAX:
        raise QuantityError("is longer than a year.")
    return total


def duration_s(value: object) -> int:
    """Return a duration in whole seconds; raises QuantityError."""
    total = duration_ms(value)
    if total % 1_000:
        raise QuantityError("is finer than a second; write whole seconds.")
    return total // 1_000


def times(value: object) -> Fraction:
    """Return a multiple: 3, 2.5, "3x" or "3 times"; raises QuantityError."""
    found = _decimal(value, _TIMES)
    if found is None or not 0 <= found <= NUMBER_MAX:
        raise QuantityError('is no multiple; write 3, 2.5 or "3x".')
    return Fraction(found)


def whole(value: object) -> int:
    """Return a count: a whole number >= 0, as a number or as text with separators; raises QuantityError."""
    if isinstance(value, str):
        digits = value.strip().replace(",", "").replace("_", "")
        if digits.isascii() and digits.isdigit() and len(digits) <= 18:
            return int(digits)
    elif isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
        return value
    raise QuantityError("is no whole number; write 1000 or 1_000.")


def number(found: Fraction) -> int | float:
    """Return a fraction as a level holds it: an int where it is whole, else the nearest double."""
    return found.numerator if found.denominator == 1 else float(found)


def _decimal(value: object, form: re.Pattern[str]) -> Decimal | None:
    """Return the exact number of a TOML number or of a text of that form; None where it is none."""
    found: Decimal | None = None
    if isinstance(value, str):
        match = form.fullmatch(value.strip()[:_DIGITS_MAX])
        found = Decimal(match[1].replace(",", "")) if match else None
    elif isinstance(value, int) and not isinstance(value, bool):
        found = Decimal(value)
    elif isinstance(value, Decimal) and value.is_finite():
        found = value
    # A number such as 1e999999 would be written out digit by digit.
    return found if found is not None and abs(found.adjusted()) < _DIGITS_MAX else None
