"""What is usual for a scope, from its own recent past. Pure; the past itself is kept elsewhere.

The usual value is a median, which half of what it is taken from must change before it moves (Hampel, "The influence
curve and its role in robust estimation", 1974): a storm takes half an hour to become usual. Where yesterday's same hour
is kept it counts as well, so that a busy morning is not news.
"""

from collections.abc import Callable
from statistics import median

# What is looked back at, in pieces of a minute: as long as minutes are kept.
BACK_S = 3_600
STEP_S = 60
# The last minutes are left out: they are what is asked about.
GAP_S = 300
# With less history than this nothing is usual yet.
MINUTES_MIN = 15
_DAY_S = 86_400
_QUARTER_S = 900


def usual(value_of: Callable[[int, int], int], window_s: int, now_s: int) -> float | None:
    """Return what a scope usually comes to in a window of `window_s` seconds; None where too little is known.

    `value_of(start_s, end_s)` tells what it came to in a stretch of the past.
    """
    end_s = (now_s - max(window_s, GAP_S)) // STEP_S * STEP_S
    lately = _active([value_of(at, at + STEP_S) for at in range(now_s // STEP_S * STEP_S - BACK_S, end_s, STEP_S)])
    first_s = (now_s - _DAY_S) // _QUARTER_S * _QUARTER_S
    yesterday = [value_of(at, at + _QUARTER_S) for at in (first_s, first_s + _QUARTER_S)]
    found = []
    if len(lately) >= MINUTES_MIN:
        found.append(median(lately) * window_s / STEP_S)
    if all(yesterday):
        found.append(median(yesterday) * window_s / _QUARTER_S)
    return max(found, default=None)


def _active(values: list[int]) -> list[int]:
    """Leave out the time before a scope was ever seen: nothing is not what it usually does."""
    first = next((place for place, value in enumerate(values) if value), len(values))
    return values[first:]
