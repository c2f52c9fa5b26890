"""Read what one's own GPUs cost, and how fast deployments work, from the file of one's own prices. Pure.

[[gpu_hour]]
gpu = "NVIDIA H200"        # a GPU's model as its samples tell it, or the name of a deployment, which goes first
price = "2.50"             # dollars for one GPU and hour
valid_from = 2026-01-01
valid_to = 2026-07-01

[[own_gpu]]
deployment = "llama"       # [gpu.deployments.llama] of llmtrail.toml: its calls get a price
gpu = "NVIDIA H200"        # whose price by the hour counts, where the deployment has none of its own
gpus = 2
input_tokens_s = 12_000    # what all of them together read in a second, doing nothing else
output_tokens_s = 900      # and write
valid_from = 2026-01-01
"""

import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

from llmtrail.core import toml_decode
from llmtrail.core.gpu_map import GpuPrice
from llmtrail.core.own_gpu import OwnGpu, standard_prices
from llmtrail_ingest.price_overrides import PriceFileError

_KEYS: Final = frozenset({"gpu", "price", "valid_from", "valid_to"})
_NANOUSD: Final = 10**9
_SPEEDS: Final = ("input_tokens_s", "output_tokens_s", "cache_read_tokens_s")
_OWN_KEYS: Final = frozenset({"deployment", "gpu", "gpus", "tokens_s", *_SPEEDS, "valid_from", "valid_to"})
# The largest cluster that anybody runs has a tenth of it.
_GPUS_MAX: Final = 1_000_000
# More than a rack of GPUs reads from its cache in a second; what is above was meant for an hour or a day.
_TOKENS_S_MAX: Final = 1_000_000_000
# No GPU is let for so much; a price above it was meant for a month.
_USD_MAX: Final = 1_000
# The last second that the store's column can hold: 2106-02-07.
END_S: Final = 2**32 - 1


def parse_gpu_prices(text: str, file_name: str) -> tuple[GpuPrice, ...]:
    """Return the prices of GPU hours of a file's text, by GPU and time. Raises PriceFileError."""
    entries = _entries(text, "gpu_hour", file_name)
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


def parse_own_gpus(text: str, file_name: str, prices: Sequence[GpuPrice]) -> tuple[OwnGpu, ...]:
    """Return how fast deployments work, by name and time. Raises PriceFileError, also where no hour has a price."""
    found = sorted(
        (
            _own(entry, f"{file_name}: own_gpu {number}")
            for number, entry in enumerate(_entries(text, "own_gpu", file_name), 1)
        ),
        key=lambda own: (own.deployment, own.valid_from_s),
    )
    for former, later in pairwise(found):
        if former.deployment == later.deployment and later.valid_from_s < former.valid_to_s:
            raise PriceFileError(
                f"{file_name}: {later.deployment!r} has two speeds at one time; end the earlier with valid_to where "
                "the later starts."
            )
    for own in found:
        if not standard_prices([own], prices):
            raise PriceFileError(
                f"{file_name}: own_gpu {own.deployment!r}: no hour of it has a price; write a [[gpu_hour]] with gpu = "
                f"{(own.gpu or own.deployment)!r}."
            )
    return tuple(found)


def _entries(text: str, kind: str, file_name: str) -> list[Any]:
    try:
        entries = toml_decode.loads(text).get(kind, [])
    except tomllib.TOMLDecodeError as error:
        raise PriceFileError(f"{file_name}: not TOML: {error}.") from error
    if not isinstance(entries, list):
        raise PriceFileError(f"{file_name}: write each entry under its own [[{kind}]] line.")
    return entries


def _table(entry: Any, keys: frozenset[str], place: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise PriceFileError(f"{place}: an entry is a table under [[…]].")
    unknown = set(entry) - keys
    if unknown:
        raise PriceFileError(f"{place}: unknown key {min(unknown)!r}; known are {', '.join(sorted(keys))}.")
    return entry


def _price(entry: Any, place: str) -> GpuPrice:
    entry = _table(entry, _KEYS, place)
    gpu = entry.get("gpu")
    if not isinstance(gpu, str) or not gpu.strip():
        raise PriceFileError(f'{place}: name the GPU or the deployment: gpu = "NVIDIA H200".')
    return GpuPrice(gpu.strip(), *_validity(entry, place), _nanousd(entry.get("price"), place))


def _own(entry: Any, place: str) -> OwnGpu:
    entry = _table(entry, _OWN_KEYS, place)
    name, gpu = entry.get("deployment"), entry.get("gpu", "")
    if not isinstance(name, str) or not name.strip():
        raise PriceFileError(f'{place}: name the deployment, as [gpu.deployments] does: deployment = "llama".')
    if not isinstance(gpu, str):
        raise PriceFileError(f'{place}: gpu is the GPU\'s model in quotes: gpu = "NVIDIA H200".')
    alike = _number(entry, "tokens_s", _TOKENS_S_MAX, place)
    speeds = [_number(entry, key, _TOKENS_S_MAX, place) for key in _SPEEDS]
    if alike is not None:
        if any(speed is not None for speed in speeds):
            raise PriceFileError(f"{place}: tokens_s is for all tokens alike; leave it out, or {', '.join(_SPEEDS)}.")
        speeds = [alike, alike, None]
    if speeds[0] is None:
        raise PriceFileError(f"{place}: say how fast it works: input_tokens_s and output_tokens_s, or tokens_s.")
    gpus = _number(entry, "gpus", _GPUS_MAX, place)
    if gpus is None:
        raise PriceFileError(f"{place}: say on how many GPUs it runs: gpus = 2")
    return OwnGpu(name.strip(), gpu.strip(), gpus, speeds[0], speeds[1], speeds[2], *_validity(entry, place))


def _validity(entry: dict[str, Any], place: str) -> tuple[int, int]:
    start_s, end_s = _second(entry, "valid_from", 0, place), _second(entry, "valid_to", END_S, place)
    if start_s >= end_s:
        raise PriceFileError(f"{place}: valid_to must lie after valid_from.")
    return start_s, end_s


def _number(entry: dict[str, Any], key: str, most: int, place: str) -> Fraction | None:
    """Return a number above 0, written as an integer or, with decimals, as text; None where it is left out."""
    value = entry.get(key)
    if value is None:
        return None
    wanted = f'{place}: {key} must be a number above 0, up to {most}; with decimals as text: {key} = "0.5"'
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PriceFileError(wanted)
    try:
        number = Decimal(value)
    except InvalidOperation as error:
        raise PriceFileError(wanted) from error
    if not number.is_finite() or not 0 < number <= most:
        raise PriceFileError(wanted)
    return Fraction(number)


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
