"""Write amounts as people read them: dollars, tokens, shares, times. Pure."""

from typing import assert_never

from llmtrail_alerts.model import Unit

_NANOUSD_CENT = 10_000_000
_MS_SECOND = 1_000
_S_MINUTE = 60
_S_HOUR = 3_600


def amount(value: float, unit: Unit) -> str:
    """Return `value` of `unit` in words: "$12.40", "1,200 tokens", "3.5 %", "2.4 s", "3 times the usual"."""
    match unit:
        case Unit.NANOUSD:
            text = dollars(int(value))
        case Unit.TOKENS | Unit.CALLS:
            text = f"{int(value):,} {unit.value}"
        case Unit.SHARE:
            text = f"{_short(value * 100)} %"
        case Unit.MILLISECONDS:
            text = f"{_short(value)} ms" if value < _MS_SECOND else f"{_short(value / _MS_SECOND)} s"
        case Unit.SECONDS:
            text = _seconds(value)
        case Unit.TIMES:
            text = f"{_short(value)} times the usual"
        case Unit.CELSIUS:
            text = f"{_short(value)} °C"
        case Unit.INTERVALS:
            text = f"{_short(value)} intervals"
        case Unit.COUNT:
            text = _short(value)
        case _:
            assert_never(unit)
    return text


def dollars(nanousd: int) -> str:
    """Return an amount of nano-dollars in dollars: whole cents from one cent on, all its digits below."""
    sign = "-" if nanousd < 0 else ""
    size = abs(nanousd)
    if size >= _NANOUSD_CENT or size == 0:
        cents = size // _NANOUSD_CENT  # rounded down: a limit is never shown as reached before it is
        return f"{sign}${cents // 100:,}.{cents % 100:02d}"
    return f"{sign}$0.{size:09d}".rstrip("0")


def _seconds(value: float) -> str:
    if value < _S_MINUTE:
        return f"{_short(value)} s"
    return f"{_short(value / _S_MINUTE)} min" if value < _S_HOUR else f"{_short(value / _S_HOUR)} h"


def _short(value: float) -> str:
    """Return a number with at most two decimals and no empty ones."""
    text = f"{value:,.2f}"
    return text.rstrip("0").rstrip(".")
