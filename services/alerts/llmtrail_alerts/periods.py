"""The aligned periods that budgets are counted over, each with one start, one end and one name. Pure."""

from datetime import UTC, datetime
from typing import NamedTuple, assert_never
from zoneinfo import ZoneInfo

from llmtrail.core.calendar import day_end_s, day_start_s, month_end_s, month_start_s
from llmtrail_alerts.model import Budget, Period

# All of a request or a session, as far as it is remembered.
TOTAL_S = 3_600
_MINUTE_S, _HOUR_S = 60, 3_600


class Bounds(NamedTuple):
    """A period: its name, which sorts by time, and its bounds in epoch seconds. `end_s` is 0 where it has no end."""

    name: str
    start_s: int
    end_s: int


def period_of(budget: Budget, now_s: int) -> Bounds:
    """Return the period of a budget that holds a moment."""
    match budget.period:
        case Period.MINUTE:
            start_s = now_s // _MINUTE_S * _MINUTE_S
            return Bounds(_utc(start_s, "%Y-%m-%dT%H:%MZ"), start_s, start_s + _MINUTE_S)
        case Period.HOUR:
            start_s = now_s // _HOUR_S * _HOUR_S
            return Bounds(_utc(start_s, "%Y-%m-%dT%H:00Z"), start_s, start_s + _HOUR_S)
        case Period.DAY:
            local = datetime.fromtimestamp(now_s, ZoneInfo(budget.zone))
            return Bounds(local.strftime("%Y-%m-%d"), day_start_s(now_s, budget.zone), day_end_s(now_s, budget.zone))
        case Period.MONTH:
            local = datetime.fromtimestamp(now_s, ZoneInfo(budget.zone))
            return Bounds(local.strftime("%Y-%m"), month_start_s(now_s, budget.zone), month_end_s(now_s, budget.zone))
        case Period.TOTAL:
            # To the minute, because that is as fine as an hour is kept.
            return Bounds("total", (now_s - TOTAL_S) // _MINUTE_S * _MINUTE_S + _MINUTE_S, 0)
        case _:
            assert_never(budget.period)


def _utc(start_s: int, form: str) -> str:
    return datetime.fromtimestamp(start_s, UTC).strftime(form)
