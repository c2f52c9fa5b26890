"""Propose how fast a deployment works, from hours that were measured. Pure: knows no store and no price."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# Fewer hours tell one speed for all tokens; two speeds would be fitted to chance.
HOURS_MIN: Final = 6
# How far the hours' mixes of input and output have to differ (1 - cos² between them): of hours that are all alike, two
# speeds cannot be told apart.
SPREAD_MIN: Final = 0.01
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Worked:
    """What a deployment did in an hour."""

    input_tokens: int
    output_tokens: int
    busy_s: float  # of all its GPUs together
    gpus: int


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of all GPUs of a deployment together, when it does nothing else; both alike, or each its own."""

    gpus: int
    input_tokens_s: float
    output_tokens_s: float
    hours: int
    unexplained: float  # share of the busy time that this speed would have put into other hours, 0 to 1

    @property
    def is_one(self) -> bool:
        """Say whether input and output are taken alike."""
        return self.input_tokens_s == self.output_tokens_s


def proposed(hours: Sequence[Worked]) -> Speed | None:
    """Return the speed that the hours tell; None where nothing was done in them."""
    used = [hour for hour in hours if hour.busy_s > 0 and hour.input_tokens + hour.output_tokens > 0]
    if not used:
        return None
    gpus = max(hour.gpus for hour in used)
    times = _two_times(used) if len(used) >= HOURS_MIN else None
    if times is None:
        tokens = sum(hour.input_tokens + hour.output_tokens for hour in used)
        both = sum(hour.busy_s for hour in used) / tokens
        times = both, both
    of_input, of_output = times
    missed_s = sum(abs(hour.busy_s - hour.input_tokens * of_input - hour.output_tokens * of_output) for hour in used)
    return Speed(
        gpus,
        _rounded(gpus / of_input),
        _rounded(gpus / of_output),
        len(used),
        missed_s / 2 / sum(hour.busy_s for hour in used),
    )


def _two_times(hours: Sequence[Worked]) -> tuple[float, float] | None:
    """Return the GPU seconds of an input and an output token that fit best (least squares); None: they cannot be told.

    Both have to be above 0; scaled so that all hours together come to their busy time.
    """
    squares_in = sum(float(hour.input_tokens) ** 2 for hour in hours)
    squares_out = sum(float(hour.output_tokens) ** 2 for hour in hours)
    mixed = sum(float(hour.input_tokens) * hour.output_tokens for hour in hours)
    spread = squares_in * squares_out - mixed**2
    if not spread > SPREAD_MIN * squares_in * squares_out:
        return None
    by_in = sum(hour.input_tokens * hour.busy_s for hour in hours)
    by_out = sum(hour.output_tokens * hour.busy_s for hour in hours)
    of_input = (by_in * squares_out - by_out * mixed) / spread
    of_output = (by_out * squares_in - by_in * mixed) / spread
    if not (of_input > 0 and of_output > 0):
        return None
    told_s = sum(hour.input_tokens * of_input + hour.output_tokens * of_output for hour in hours)
    scale = sum(hour.busy_s for hour in hours) / told_s
    return of_input * scale, of_output * scale


def _rounded(tokens_s: float) -> float:
    """Return a speed to three digits: it was measured no closer."""
    return float(f"{tokens_s:.{_DIGITS}g}")
