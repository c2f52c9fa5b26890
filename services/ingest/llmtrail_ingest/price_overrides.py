"""Read the file of one's own prices: contracts, fine-tunes, own models. Pure; knows no genai-prices and no calls.

`schemas/prices/example.toml` shows the form. Every mistake is an error that names file, line and cure.
"""

import difflib
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final

from llmtrail.core.pricing import RATE_DECIMALS, CostSource, Rates

# Prices of token classes: dollars for a million tokens, as text so that no binary fraction gets in.
_TOKEN_PRICES: Final = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning"),
    *("input_audio", "output_audio", "input_image", "output_image"),
)
# Prices of things that are counted: dollars for a thousand.
_COUNT_PRICES: Final = {"web_search_per_thousand": "web_search", "request_per_thousand": "request"}
_KEYS: Final = ("name", "provider", "model", "valid_from", "valid_to", *_TOKEN_PRICES, *_COUNT_PRICES)
# No provider asks more for a million tokens; the dearest model ever listed asked 600.
_TOKEN_PRICE_USD_MAX: Final = 10_000
# No provider asks less than this, but for free: what is lower was meant for one token.
_TOKEN_PRICE_USD_MIN: Final = Decimal("0.0005")
_COUNT_PRICE_USD_MAX: Final = 100_000
_ENTRIES_MAX: Final = 10_000  # the file is searched entry by entry for each new model
_END_OF_TIME_NS: Final = 200_000 * 86_400 * 10**9  # the year 2517, at midnight


class PriceFileError(ValueError):
    """A price file that cannot be used; the text says where and what to do."""


@dataclass(frozen=True, slots=True)
class Override:
    """One dated price of one's own. `model` and `provider` are lower-case patterns; `provider` "*" is any."""

    line: int
    provider: str
    model: str
    valid_from_ns: int
    valid_to_ns: int
    rates: Rates

    def matches(self, provider: str, model: str) -> bool:
        """Say whether this price is for that provider and model, both lower-case."""
        return fnmatchcase(model, self.model) and fnmatchcase(provider, self.provider)

    def rank(self) -> tuple[bool, int, bool]:
        """Return how specific this is: exact models first, then long patterns, then named providers."""
        exact = not any(character in self.model for character in "*?[")
        return exact, len(self.model), self.provider != "*"


def parse_overrides(text: str, file_name: str) -> tuple[Override, ...]:
    """Return the prices of a file's text, the most specific first. Raises PriceFileError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PriceFileError(f"{file_name}: not TOML: {error}.") from error
    unknown = set(document) - {"price", "gpu_hour", "own_gpu"}  # the latter are read by gpu_prices
    if unknown:
        raise PriceFileError(
            f"{file_name}: unknown key {min(unknown)!r}; prices are written as [[price]], [[gpu_hour]] or "
            "[[own_gpu]] entries."
        )
    entries = document.get("price", [])
    if not isinstance(entries, list) or len(entries) > _ENTRIES_MAX:
        raise PriceFileError(f"{file_name}: write up to {_ENTRIES_MAX} entries, each under its own [[price]] line.")
    places = [_Place(file_name, number, *span) for number, span in enumerate(_spans(text, len(entries)), 1)]
    overrides = [_override(entry, place) for entry, place in zip(entries, places, strict=True)]
    _refuse_overlaps(overrides, file_name)
    return tuple(sorted(overrides, key=Override.rank, reverse=True))


@dataclass(frozen=True, slots=True)
class _Place:
    file_name: str
    number: int
    line: int
    lines: tuple[str, ...]

    def error(self, key: str, message: str) -> PriceFileError:
        """Return an error that points at `key` of this entry."""
        offset = next((at for at, line in enumerate(self.lines) if re.match(rf"\s*[\"']?{re.escape(key)}\b", line)), 0)
        return PriceFileError(f"{self.file_name}:{self.line + offset}: price {self.number}: {message}")


def _spans(text: str, count: int) -> list[tuple[int, tuple[str, ...]]]:
    """Return (line number, lines) of each entry; where headers are not one a line, every entry is the whole file."""
    lines = tuple(text.splitlines())
    starts = [at for at, line in enumerate(lines) if re.match(r"\s*\[\[\s*[\"']?price[\"']?\s*\]\]", line)]
    if len(starts) != count or not starts:
        return [(1, lines)] * count
    return [(start + 1, lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _override(entry: Any, place: _Place) -> Override:
    if not isinstance(entry, dict):
        raise place.error("", "an entry is a table under [[price]].")
    for key in entry:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(_KEYS)}."
            raise place.error(key, f"unknown key {key!r}; {hint}")
    model = _text(entry, "model", place)
    if not model:
        raise place.error("model", 'name the model: model = "ft:gpt-4o-mini-*"; * and ? stand for any text.')
    start, end = _time(entry, "valid_from", 0, place), _time(entry, "valid_to", _END_OF_TIME_NS, place)
    if start >= end:
        raise place.error("valid_to", "valid_to must lie after valid_from; it is the first moment of no validity.")
    provider = _text(entry, "provider", place) or "*"
    name = _text(entry, "name", place) or model
    since = f"@{datetime.fromtimestamp(start // 10**9, UTC).date()}" if start else ""
    rates = {key: _price(entry, key, place, 9) for key in _TOKEN_PRICES if key in entry}
    rates |= {field: _price(entry, key, place, 12) for key, field in _COUNT_PRICES.items() if key in entry}
    if not rates:
        raise place.error("model", 'give a price: input = "2.50" is $2.50 for a million tokens.')
    return Override(
        line=place.line,
        provider=provider.lower(),
        model=model.lower(),
        valid_from_ns=start,
        valid_to_ns=end,
        rates=Rates(f"override:{name}{since}", **rates, tiers=(), cost_source=CostSource.COMPUTED.value),
    )


def _text(entry: dict[str, Any], key: str, place: _Place) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise place.error(key, f"{key} must be text in quotes.")
    return value.strip()


def _time(entry: dict[str, Any], key: str, default_ns: int, place: _Place) -> int:
    value = entry.get(key)
    if value is None:
        return default_ns
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise place.error(key, f"{key} must be a date (midnight UTC) or a date-time with a zone: {key} = 2026-01-01")
    if value.second or value.microsecond:
        raise place.error(key, f"{key} must be a whole minute: prices are looked up by the minute.")
    return int(value.timestamp()) * 10**9


def _price(entry: dict[str, Any], key: str, place: _Place, decimals: int) -> int:
    """Return a price as an integer rate: dollars times 10**decimals."""
    value = entry[key]
    try:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise place.error(key, f'write the price as text, so that it stays exact: {key} = "{value}"')
        amount = Decimal(value)
    except InvalidOperation as error:
        raise place.error(key, f'{value!r} is no number of dollars; write {key} = "2.50"') from error
    if not amount.is_finite() or amount < 0:
        raise place.error(key, f"{value!r} must be 0 or more.")
    if key in _TOKEN_PRICES:
        _refuse_wrong_unit(amount, key, place)
    elif amount > _COUNT_PRICE_USD_MAX:
        raise place.error(key, f"${amount} for a thousand is more than any provider asks; was it meant for a million?")
    rate = amount.scaleb(decimals)
    if rate != rate.to_integral_value():
        raise place.error(key, f"{value!r} has more than {RATE_DECIMALS} decimals; round it.")
    return int(rate)


def _refuse_wrong_unit(amount: Decimal, key: str, place: _Place) -> None:
    if amount > _TOKEN_PRICE_USD_MAX:
        raise place.error(
            key,
            f"${amount} for a million tokens is more than any provider asks ($10,000 is the limit); prices are dollars "
            "for a million tokens: was this one in another currency or unit (cents, nano-dollars, a billion tokens)?",
        )
    if 0 < amount < _TOKEN_PRICE_USD_MIN:
        raise place.error(
            key,
            f"${amount} for a million tokens is less than any provider asks; if it is the price of one token, "
            f'multiply by 1,000,000: {key} = "{(amount * 1_000_000).normalize():f}"',
        )


def _refuse_overlaps(overrides: list[Override], file_name: str) -> None:
    """Refuse two prices for the same thing at the same time: which one holds would be a guess."""
    former: dict[tuple[str, str], list[Override]] = {}
    for override in overrides:
        same = former.setdefault((override.provider, override.model), [])
        for other in same:
            if override.valid_from_ns < other.valid_to_ns and other.valid_from_ns < override.valid_to_ns:
                raise PriceFileError(
                    f"{file_name}:{override.line}: {override.model!r} already has a price at that time, on line "
                    f"{other.line}; end that one with valid_to where this one starts."
                )
        same.append(override)
