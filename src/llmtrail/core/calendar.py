"""Days and months of a time zone, in epoch seconds. Pure: the zone's rules come from the IANA database."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# The longest is America/Argentina/ComodRivadavia.
_NAME = re.compile(r"(?=.{1,40}$)[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+){0,2}")
_SHOWN_MAX = 80  # characters of a wrong name


class UnknownZoneError(ValueError):
    """A name that is no IANA time zone."""


def day_start_s(instant_s: int, zone: str) -> int:
    """Return when the day that holds an instant began in a zone; raises UnknownZoneError."""
    local = datetime.fromtimestamp(instant_s, _zone(zone))
    return _epoch_s(local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0))


def day_end_s(instant_s: int, zone: str) -> int:
    """Return when the day that holds an instant ends in a zone: 23, 24 or 25 hours after it began."""
    local = datetime.fromtimestamp(instant_s, _zone(zone))
    return _epoch_s(local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0) + timedelta(days=1))


@lru_cache(maxsize=4_096)
def month_start_s(instant_s: int, zone: str) -> int:
    """Return when the calendar month that holds an instant began in a zone; raises UnknownZoneError."""
    local = datetime.fromtimestamp(instant_s, _zone(zone))
    return _epoch_s(local.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0))


@lru_cache(maxsize=4_096)
def month_end_s(instant_s: int, zone: str) -> int:
    """Return when the calendar month that holds an instant ends in a zone."""
    local = datetime.fromtimestamp(instant_s, _zone(zone))
    first = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0, fold=0)
    year, month = (first.year + 1, 1) if first.month == 12 else (first.year, first.month + 1)
    return _epoch_s(first.replace(year=year, month=month))


def check_zone(zone: str) -> None:
    """Raise UnknownZoneError where `zone` is no IANA time zone."""
    _zone(zone)


@lru_cache(maxsize=64)
def _zone(zone: str) -> ZoneInfo:
    # The name becomes a path and a module's name, each part of which is looked for: no other name may.
    if not _NAME.fullmatch(zone):
        raise _unknown(zone)
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as cause:
        raise _unknown(zone) from cause


def _unknown(zone: str) -> UnknownZoneError:
    return UnknownZoneError(f"{zone[:_SHOWN_MAX]!r} is no time zone; one looks like Europe/Berlin or UTC.")


def _epoch_s(local: datetime) -> int:
    # A midnight that a change of clocks skips is the moment of the change.
    return int(local.astimezone(UTC).timestamp())
