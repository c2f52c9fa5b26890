"""Read the file of one's own prices: contracts, fine-tunes, own models. Pure; knows no genai-prices and no calls.

`schemas/prices/example.toml` shows the form. Every mistake is an error that names file, line and cure.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any, Final

from llmtrail.core import toml_decode
from llmtrail.core.price_context import CONTEXT_KEYS, PriceContext, standard_word
from llmtrail.core.pricing import RATE_DECIMALS, Rates, UnpricedReason
from llmtrail.core.provider_names import provider_id

# Prices of token classes: dollars for a million tokens, as text so that no binary fraction gets in.
_TOKEN_PRICES: Final = (
    *("input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning"),
    *("input_audio", "output_audio", "input_image", "output_image", "cache_read_audio", "cache_read_image"),
    *("input_video", "citation"),
)
# Prices of things that are counted: dollars for a thousand.
_COUNT_PRICES: Final = {
    "web_search_per_thousand": "web_search",
    "file_search_per_thousand": "file_search",
    "code_interpreter_per_thousand": "code_interpreter",
    "request_per_thousand": "request",
}
_PRICES: Final = (*_TOKEN_PRICES, *_COUNT_PRICES)
# The prices of longer inputs, and what prices of one table stand for beside it.
_ABOVE: Final = "above"
_KEYS: Final = (
    *("name", "provider", "model", "valid_from", "valid_to", *CONTEXT_KEYS, _ABOVE, "source", "read_on"),
    *_PRICES,
)
_FACTOR_KEYS: Final = (
    *("name", "provider", "model", "valid_from", "valid_to", "times", "source", "read_on"),
    *CONTEXT_KEYS,
)
# gpu_hour and own_gpu are read by gpu_prices.
_TABLES: Final = frozenset({"price", "factor", "model", "gpu_hour", "own_gpu"})
_INPUT_TOKENS_MAX: Final = 2**40
_TIMES_MAX: Final = 100
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
    # The terms that it holds for: none are the standard ones, and a value "*" is any.
    context: PriceContext = ()

    def matches(self, providers: Iterable[str], models: Iterable[str]) -> bool:
        """Whether this price is for one of these names of a provider and one of these of a model, all lower-case."""
        return _is_named(self.provider, providers) and any(fnmatchcase(one, self.model) for one in models)

    def holds_for(self, context: PriceContext) -> bool:
        """Whether this price is for calls under these terms: exactly those that it names."""
        asked = dict(context)
        own = dict(self.context)
        return own.keys() >= asked.keys() and all(value == "*" or asked.get(key) == value for key, value in own.items())

    def rank(self) -> tuple[bool, int, bool, int]:
        """Return how specific this is: exact models first, then long patterns, named providers, then terms by name."""
        exact = not any(character in self.model for character in "*?[")
        return exact, len(self.model), self.provider != "*", -sum(value == "*" for _, value in self.context)


def _is_named(pattern: str, providers: Iterable[str]) -> bool:
    """Whether a pattern means one of a provider's names; a plain name means all that its provider goes by."""
    return pattern == "*" or any(
        fnmatchcase(one, pattern) or (one and one == provider_id(pattern)) for one in providers
    )


@dataclass(frozen=True, slots=True)
class Factor:
    """By how much more tokens cost under one term, such as a region, whatever they cost without it."""

    provider: str
    model: str
    valid_from_ns: int
    valid_to_ns: int
    context: PriceContext
    times: Fraction
    name: str

    def matches(self, providers: Iterable[str], models: Iterable[str]) -> bool:
        """Whether it is for one of these names of a provider and one of these of a model, all lower-case."""
        return _is_named(self.provider, providers) and any(fnmatchcase(one, self.model) for one in models)

    def holds_for(self, context: PriceContext) -> bool:
        """Whether it is for exactly these terms."""
        return self.context == context

    def applied(self, rates: Rates) -> Rates:
        """Return the rates of tokens multiplied, half to even; what is counted by the piece costs the same."""
        more: dict[str, Any] = {
            name: round(value * self.times) for name in _TOKEN_PRICES if (value := getattr(rates, name)) is not None
        }
        tiers = tuple((tokens, self.applied(tier)) for tokens, tier in rates.tiers)
        suffix = "".join(f";{key}={value}" for key, value in self.context)
        return replace(rates, **more, tiers=tiers, price_id=f"{rates.price_id}{suffix}")


@dataclass(frozen=True, slots=True)
class PriceFile:
    """What a file of prices says: prices, the most specific first, and factors."""

    prices: tuple[Override, ...]
    factors: tuple[Factor, ...] = ()
    models: tuple[str, ...] = ()  # models of their own, where a list has them under another's name


NO_PRICES: Final = PriceFile(())


def parse_price_file(text: str, file_name: str, kind: str = "override") -> PriceFile:
    """Return what a file's text says; `kind` begins the names of its prices. Raises PriceFileError."""
    try:
        document = toml_decode.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PriceFileError(f"{file_name}: not TOML: {error}.") from error
    unknown = set(document) - _TABLES
    if unknown:
        raise PriceFileError(
            f"{file_name}: unknown key {min(unknown)!r}; prices are written as [[price]], [[factor]], [[gpu_hour]] or "
            "[[own_gpu]] entries."
        )
    overrides = [_override(entry, place, kind) for entry, place in _placed(document, "price", text, file_name)]
    _refuse_overlaps(overrides, file_name)
    factors = [_factor(entry, place) for entry, place in _placed(document, "factor", text, file_name)]
    models = [_model(entry, place) for entry, place in _placed(document, "model", text, file_name)]
    return PriceFile(tuple(sorted(overrides, key=Override.rank, reverse=True)), tuple(factors), tuple(models))


def _placed(document: dict[str, Any], kind: str, text: str, file_name: str) -> list[tuple[Any, "_Place"]]:
    entries = document.get(kind, [])
    if not isinstance(entries, list) or len(entries) > _ENTRIES_MAX:
        raise PriceFileError(f"{file_name}: write up to {_ENTRIES_MAX} entries, each under its own [[{kind}]] line.")
    spans = enumerate(_spans(text, kind, len(entries)), 1)
    return list(zip(entries, [_Place(file_name, kind, number, *span) for number, span in spans], strict=True))


@dataclass(frozen=True, slots=True)
class _Place:
    file_name: str
    kind: str
    number: int
    line: int
    lines: tuple[str, ...]

    def error(self, key: str, message: str) -> PriceFileError:
        """Return an error that points at `key` of this entry."""
        offset = next((at for at, line in enumerate(self.lines) if re.match(rf"\s*[\"']?{re.escape(key)}\b", line)), 0)
        return PriceFileError(f"{self.file_name}:{self.line + offset}: {self.kind} {self.number}: {message}")


def _spans(text: str, kind: str, count: int) -> list[tuple[int, tuple[str, ...]]]:
    """Return (line number, lines) of each entry; where headers are not one a line, every entry is the whole file."""
    lines = tuple(text.splitlines())
    starts = [at for at, line in enumerate(lines) if re.match(rf"\s*\[\[\s*[\"']?{kind}[\"']?\s*\]\]", line)]
    if len(starts) != count or not starts:
        return [(1, lines)] * count
    return [(start + 1, lines[start:end]) for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _check_keys(entry: Any, keys: tuple[str, ...], place: _Place) -> None:
    if not isinstance(entry, dict):
        raise place.error("", f"an entry is a table under [[{place.kind}]].")
    for key in entry:
        if key not in keys:
            close = difflib.get_close_matches(key, keys, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(keys)}."
            raise place.error(key, f"unknown key {key!r}; {hint}")


def _model(entry: Any, place: _Place) -> str:
    _check_keys(entry, ("name", "source", "read_on"), place)
    name = _text(entry, "name", place)
    if not name:
        raise place.error("name", 'name the model: name = "deepseek-r1".')
    return name.lower()


def _factor(entry: Any, place: _Place) -> Factor:
    _check_keys(entry, _FACTOR_KEYS, place)
    model, context = _text(entry, "model", place), _context(entry, place)
    if not model or len(context) != 1:
        raise place.error("model", f"name the model and one of {', '.join(CONTEXT_KEYS)}.")
    try:
        times = Fraction(_text(entry, "times", place))
    except ValueError as error:
        raise place.error("times", 'write how much more it costs as text: times = "1.1".') from error
    if not 0 < times <= _TIMES_MAX:
        raise place.error("times", f'times must be more than 0 and at most {_TIMES_MAX}: times = "1.1".')
    return Factor(
        provider=(_text(entry, "provider", place) or "*").lower(),
        model=model.lower(),
        valid_from_ns=_time(entry, "valid_from", 0, place),
        valid_to_ns=_time(entry, "valid_to", _END_OF_TIME_NS, place),
        context=context,
        times=times,
        name=_text(entry, "name", place) or model,
    )


def _override(entry: Any, place: _Place, kind: str) -> Override:
    _check_keys(entry, _KEYS, place)
    model = _text(entry, "model", place)
    if not model:
        raise place.error("model", 'name the model: model = "ft:gpt-4o-mini-*"; * and ? stand for any text.')
    start, end = _time(entry, "valid_from", 0, place), _time(entry, "valid_to", _END_OF_TIME_NS, place)
    if start >= end:
        raise place.error("valid_to", "valid_to must lie after valid_from; it is the first moment of no validity.")
    provider = _text(entry, "provider", place) or "*"
    name = _text(entry, "name", place) or model
    since = f"@{datetime.fromtimestamp(start // 10**9, UTC).date()}" if start else ""
    price_id = f"{kind}:{name}{since}"
    rates = Rates(price_id, **_prices(entry, place))
    rates = replace(rates, tiers=tuple((tokens, replace(rates, **more)) for tokens, more in _above(entry, place)))
    return Override(
        line=place.line,
        provider=provider.lower(),
        model=model.lower(),
        valid_from_ns=start,
        valid_to_ns=end,
        rates=rates,
        context=_context(entry, place),
    )


def _prices(entry: dict[str, Any], place: _Place) -> dict[str, Any]:
    """Return the rates of an entry, by field; raises PriceFileError where it has none."""
    rates: dict[str, Any] = {key: _price(entry, key, place, 9) for key in _TOKEN_PRICES if key in entry}
    rates |= {field: _price(entry, key, place, 12) for key, field in _COUNT_PRICES.items() if key in entry}
    if not rates and _ABOVE not in entry:
        raise place.error("model", 'give a price: input = "2.50" is $2.50 for a million tokens.')
    return rates


def _above(entry: dict[str, Any], place: _Place) -> list[tuple[int, dict[str, Any]]]:
    """Return (tokens, rates) of longer inputs, the longest first: above = [{ tokens = 200_000, input = "6" }]."""
    found: dict[int, dict[str, Any]] = {}
    tables = entry.get(_ABOVE, [])
    for table in tables if isinstance(tables, list) else [tables]:
        tokens = table.get("tokens") if isinstance(table, dict) else None
        if type(tokens) is not int or not 0 < tokens <= _INPUT_TOKENS_MAX or tokens in found:
            raise place.error(_ABOVE, 'write above = [{ tokens = 200_000, input = "6", output = "22.50" }], each once.')
        for key in table:
            if key != "tokens" and key not in _PRICES:
                raise place.error(_ABOVE, f"unknown key {key!r} in above; known are tokens and prices.")
        found[tokens] = _prices({key: value for key, value in table.items() if key != "tokens"}, place)
    return sorted(found.items(), reverse=True)


def _context(entry: dict[str, Any], place: _Place) -> PriceContext:
    """Return the terms that an entry names, by the words that calls report."""
    named = ((key, standard_word(_text(entry, key, place))) for key in CONTEXT_KEYS if key in entry)
    return tuple((key, value) for key, value in named if value)


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
    former: dict[tuple[str, str, PriceContext], list[Override]] = {}
    for override in overrides:
        same = former.setdefault((override.provider, override.model, override.context), [])
        for other in same:
            if override.valid_from_ns < other.valid_to_ns and other.valid_from_ns < override.valid_to_ns:
                raise PriceFileError(
                    f"{file_name}:{override.line}: {override.model!r} already has a price at that time, on line "
                    f"{other.line}; end that one with valid_to where this one starts."
                )
        same.append(override)


def with_documented(listed: Rates | UnpricedReason, own: Rates) -> Rates | UnpricedReason:
    """Return the public list's rates with the classes that a provider documents besides, or otherwise."""
    if isinstance(listed, UnpricedReason):
        # An entry of fees alone prices no call.
        return listed if own.input is None and own.output is None else own
    said = _said(own)
    if own.tiers:
        tiers = tuple((tokens, replace(listed, **_said(tier), tiers=())) for tokens, tier in own.tiers)
    else:
        tiers = tuple((tokens, replace(tier, **said)) for tokens, tier in listed.tiers)
    is_renamed = bool(own.tiers) or any(name in _TOKEN_PRICES for name in said)
    price_id = f"{listed.price_id}+{own.price_id}" if is_renamed else listed.price_id
    return replace(
        listed, **said, tiers=tuple((at, replace(one, price_id=price_id)) for at, one in tiers), price_id=price_id
    )


def _said(rates: Rates) -> dict[str, Any]:
    """Return the classes that an entry prices."""
    fields = (*_TOKEN_PRICES, *_COUNT_PRICES.values())
    return {name: value for name in fields if (value := getattr(rates, name)) not in (None, 0)}
