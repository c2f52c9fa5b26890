"""Read what an hour of one's own GPUs costs from the file of one's own prices. Pure; knows no calls.

[[gpu_hour]]
gpu = "NVIDIA H200"        # a GPU's model as its samples tell it, or the name of a deployment, which goes first
price = "2.50"             # dollars for one GPU and hour
valid_from = 2026-01-01
valid_to = 2026-07-01
"""

import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Final

from llmtrail.core.gpu_map import GpuPrice
from llmtrail_ingest.price_overrides import PriceFileError

_KEYS: Final = frozenset({"gpu", "price", "valid_from", "valid_to"})
_NANOUSD: Final = 10**9
# No GPU is let for so much; a price above it was meant for a month.
_USD_MAX: Final = 1_000
# The last second that the store's column can hold: 2106-02-07.
END_S: Final = 2**32 - 1


def parse_gpu_prices(text: str, file_name: str) -> tuple[GpuPrice, ...]:
    """Return the prices of GPU hours of a file's text, by GPU and time. Raises PriceFileError."""
    try:
        entries = tomllib.loads(text).get("gpu_hour", [])
    except tomllib.TOMLDecodeError as error:
        raise PriceFileError(f"{file_name}: not TOML: {error}.") from error
    if not isinstance(entries, list):
        raise PriceFileError(f"{file_name}: write each price of GPU hours under its own [[gpu_hour]] line.")
    prices = sorted(
        (_price(entry, f"{file_name}: gpu_hour {number}") for number, entry in enumerate(entries, 1)),
        key=lambda price: (price.gpu, price.valid_from_s),
    )
    for former, later in pairwise(prices):
        if former.gpu == later.gpu and later.valid_from_s < former.valid_to_s:
            raise PriceFileError(
                f"{file_name}: {later.gpu!r} has two prices at one time; end the earlier with valid_to where the later "
                "starts."
            )
    return tuple(prices)


def _price(entry: Any, place: str) -> GpuPrice:
    if not isinstance(entry, dict):
        raise PriceFileError(f"{place}: an entry is a table under [[gpu_hour]].")
    unknown = set(entry) - _KEYS
    if unknown:
        raise PriceFileError(f"{place}: unknown key {min(unknown)!r}; known are {', '.join(sorted(_KEYS))}.")
    gpu = entry.get("gpu")
    if not isinstance(gpu, str) or not gpu.strip():
        raise PriceFileError(f'{place}: name the GPU or the deployment: gpu = "NVIDIA H200".')
    start_s, end_s = _second(entry, "valid_from", 0, place), _second(entry, "valid_to", END_S, place)
    if start_s >= end_s:
        raise PriceFileError(f"{place}: valid_to must lie after valid_from.")
    return GpuPrice(gpu.strip(), start_s, end_s, _nanousd(entry.get("price"), place))


def _nanousd(value: Any, place: str) -> int:
    wanted = f'{place}: write the price of one GPU and hour in dollars, as text: price = "2.50"'
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PriceFileError(wanted)
    try:
        amount = Decimal(value)
    except InvalidOperation as error:
        raise PriceFileError(wanted) from error
    if not amount.is_finite() or not 0 <= amount <= _USD_MAX:
        raise PriceFileError(f"{place}: {value!r} must be from 0 to {_USD_MAX} dollars for an hour.")
    exact = amount * _NANOUSD
    if exact != exact.to_integral_value():
        raise PriceFileError(f"{place}: {value!r} has more than 9 decimals; round it.")
    return int(exact)


def _second(entry: dict[str, Any], key: str, default_s: int, place: str) -> int:
    value = entry.get(key)
    if value is None:
        return default_s
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise PriceFileError(f"{place}: {key} must be a date or a date-time with a zone: {key} = 2026-01-01")
    return max(0, min(int(value.timestamp()), END_S))
