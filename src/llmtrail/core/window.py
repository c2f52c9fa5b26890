"""Rolling windows over slots: which slots make up a window now, and what they come to. Pure.

A window ends now. It counts the slots that began within it, finest ones where they are still kept, so its far edge is
exact to ten seconds for a window of minutes, to a minute for an hour, to a quarter of an hour for a day. A calendar day
or month begins at midnight of its zone. Users' percentiles and the heaviest requests, sessions and prompts are kept for
an hour: a longer window does not tell them, rather than tell those of its last hour.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec

from llmtrail.core.calendar import day_start_s, month_start_s
from llmtrail.core.cell import Cell
from llmtrail.core.scope import USER_KINDS, kind_of
from llmtrail.core.sketch import quantiles
from llmtrail.core.slot import MINUTE_S, QUARTER_S, SECONDS_OF, SlotKey, SlotState, Tier

PERCENTILES = (0.5, 0.9, 0.95, 0.99)


class Window(StrEnum):
    """The windows that are kept."""

    MINUTE = "1m"
    FIVE_MINUTES = "5m"
    HOUR = "1h"
    DAY = "1d"
    TODAY = "today"  # the calendar day so far
    MONTH = "month"  # the calendar month so far


_SECONDS = {Window.MINUTE: 60, Window.FIVE_MINUTES: 300, Window.HOUR: 3_600, Window.DAY: 86_400}

# What is kept for an hour is whole in these.
_SHORT = frozenset({Window.MINUTE, Window.FIVE_MINUTES, Window.HOUR})


class Percentiles(msgspec.Struct, frozen=True):
    """Estimates, each within 0.79 % of a value of that rank; None where nothing was told."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What one scope came to in one window. What no call told is None, never 0."""

    calls: int
    errors: int
    error_rate: float | None
    cost_nanousd: int | None  # of the priced calls; None where no call was
    unpriced: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    attempts: int
    retries: int | None  # None where no call told its retries
    failures: dict[str, int]
    latency_ms: Percentiles
    time_to_first_token_ms: Percentiles


def is_short(window: Window) -> bool:
    """Say whether a window tells what is kept for an hour: users' percentiles, the heaviest requests."""
    return window in _SHORT


def is_counted(key: SlotKey, window: Window, now_s: int, zone: str = "UTC") -> bool:
    """Say whether a live slot belongs to a window that ends at `now_s`; raises UnknownZoneError."""
    if key.start_s > now_s:
        return False
    if window is Window.MONTH:
        return (key.tier is not Tier.MONTH or key.zone == zone) and key.start_s >= month_start_s(now_s, zone)
    if key.tier is Tier.MONTH:
        return False
    if window is Window.TODAY:
        return key.start_s >= day_start_s(now_s, zone)
    seconds = SECONDS_OF[key.tier]
    began_s = now_s - _SECONDS[window]
    return key.start_s >= -(-began_s // seconds) * seconds


def is_dead(key: SlotKey, through_of: Callable[[SlotKey], int], zone: str = "UTC") -> bool:
    """Say whether a coarser slot has absorbed this one already. `through_of` returns -1 where there is no slot.

    A quarter of an hour is dead once the month of `zone` has it: only the calendar month reads both.
    """
    match key.tier:
        case Tier.MONTH:
            return False
        case Tier.QUARTER:
            above = SlotKey(key.shard, Tier.MONTH, month_start_s(key.start_s, zone), zone)
        case Tier.MINUTE:
            above = SlotKey(key.shard, Tier.QUARTER, key.start_s // QUARTER_S * QUARTER_S)
        case Tier.TEN_SECONDS:
            above = SlotKey(key.shard, Tier.MINUTE, key.start_s // MINUTE_S * MINUTE_S)
    return through_of(above) >= key.start_s + SECONDS_OF[key.tier]


def summed(slots: Iterable[SlotState], wanted: Callable[[str], bool], window: Window = Window.HOUR) -> dict[str, Cell]:
    """Add up some slots by scope, of the scopes that are wanted and of what `window` tells."""
    short = window in _SHORT
    sums: dict[str, Cell] = {}
    for slot in slots:
        for cells in (slot.cells, slot.hitters) if short else (slot.cells,):
            for scope, cell in cells.items():
                if wanted(scope):
                    sums.setdefault(scope, Cell()).add(cell)
    for scope, cell in sums.items():
        if not short and (cell.latency or cell.time_to_first_token) and kind_of(scope) in USER_KINDS:
            cell.latency, cell.time_to_first_token = {}, {}
    return {scope: cell for scope, cell in sums.items() if cell.calls > 0}


def figures(cell: Cell) -> Figures:
    """Return what a cell says."""
    return Figures(
        calls=cell.calls,
        errors=cell.errors,
        error_rate=cell.errors / cell.calls if cell.calls else None,
        cost_nanousd=cell.cost_nanousd if cell.calls > cell.unpriced else None,
        unpriced=cell.unpriced,
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        cache_read_tokens=cell.cache_read_tokens,
        cache_write_tokens=cell.cache_write_tokens,
        reasoning_tokens=cell.reasoning_tokens,
        attempts=cell.attempts,
        retries=cell.retries if cell.calls > cell.retry_unknown else None,
        failures=dict(sorted(cell.failures.items())),
        latency_ms=Percentiles(*quantiles(cell.latency, PERCENTILES)),
        time_to_first_token_ms=Percentiles(*quantiles(cell.time_to_first_token, PERCENTILES)),
    )
