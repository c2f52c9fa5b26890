"""Read instants: RFC 3339 text or epoch nanoseconds, exact to the nanosecond. Pure: never asks what time it is."""

import re
from datetime import date, datetime
from decimal import Decimal

from llmtrail.core.outcome import BadEventError, RejectReason

# DateTime64(9) and int64 nanoseconds end here (2262-04-11); before 1970 nobody called a model.
NS_MAX = 2**63 - 1
# Epoch seconds, milliseconds and microseconds of our century are all below this; nanoseconds passed it in 1973.
PLAUSIBLE_NS_MIN = 10**17
_NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - only ever taken from times of the same, unnamed zone.
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# 2001-09-09 to 2100-01-01: between them a number tells its unit.
_UNITS_MIN_S, _UNITS_MAX_S = 10**9, 4_102_444_800
_RFC_3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,18}))?(?:([Zz])|([+-])(\d\d):?(\d\d))", re.ASCII
)


def to_ns(instant: str | int) -> int:
    """Return an instant as epoch nanoseconds.

    Text is RFC 3339 with an offset (a leap second counts as the next second's start); numbers are epoch nanoseconds.
    Raises BadEventError (bad_time) for anything else, and for instants outside 1970 to 2262.
    """
    if isinstance(instant, str):
        return _text_to_ns(instant)
    if PLAUSIBLE_NS_MIN <= instant <= NS_MAX:
        return instant
    if 0 < instant < PLAUSIBLE_NS_MIN:
        raise _bad(f"{instant} is no epoch time in nanoseconds; multiply seconds by 10^9, milliseconds by 10^6.")
    raise _bad(f"{instant} is outside 1970 to 2262 as epoch nanoseconds.")


def is_instant(instant: str | int) -> bool:
    """Say whether `to_ns` takes this."""
    try:
        to_ns(instant)
    except BadEventError:
        return False
    return True


def from_epoch(number: Decimal) -> int | None:
    """Return epoch seconds, milliseconds, microseconds or nanoseconds as nanoseconds; None for what is none of them.

    Which of them it is, its size says: of the years 2001 to 2099 no two have one number.
    """
    for per_unit in (_NS_PER_S, 10**6, 10**3, 1):
        if _UNITS_MIN_S <= number * per_unit / _NS_PER_S < _UNITS_MAX_S:
            return int(number * per_unit)
    return None


def _text_to_ns(text: str) -> int:
    quick = _utc_to_ns(text)
    return _any_text_to_ns(text) if quick is None else quick


def _utc_to_ns(text: str) -> int | None:
    """Return the usual form, `2026-05-01T12:00:00.123Z`, by the C reader of dates; None for any other."""
    if (
        len(text) < 20
        or text[4] + text[7] + text[10] + text[13] + text[16] + text[-1] != "--T::Z"
        or not text.isascii()
    ):
        return None
    fraction = text[20:-1]
    if text[19] == "." and not (fraction.isdigit() and len(fraction) <= 18):
        return None
    if text[19] != "." and len(text) != 20:
        return None
    try:
        since = datetime.fromisoformat(text[:19]) - _EPOCH
    except ValueError:
        return None  # A leap second, or no time at all: the exact reader knows.
    total = (since.days * 86_400 + since.seconds) * _NS_PER_S + (int(fraction[:9].ljust(9, "0")) if fraction else 0)
    return total if 0 <= total <= NS_MAX else None


def _any_text_to_ns(text: str) -> int:
    match = _RFC_3339.fullmatch(text)
    if match is None:
        raise _bad(f"{text[:40]!r} is no RFC 3339 time such as 2026-05-01T12:00:00.123Z (an offset is needed).")
    year, month, day, hour, minute, second, fraction, _, sign, offset_h, offset_min = match.groups()
    if int(hour) > 23 or int(minute) > 59 or int(second) > 60:
        raise _bad(f"{text[:40]!r} has no such time of day.")
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError as cause:
        raise _bad(f"{text[:40]!r} has no such day.") from cause
    seconds = days * 86_400 + int(hour) * 3_600 + int(minute) * 60 + int(second)
    if sign:
        if int(offset_h) > 23 or int(offset_min) > 59:
            raise _bad(f"{text[:40]!r} has no such offset.")
        offset_s = int(offset_h) * 3_600 + int(offset_min) * 60
        seconds += -offset_s if sign == "+" else offset_s
    total = seconds * _NS_PER_S + int(((fraction or "") + "000000000")[:9])
    if not 0 <= total <= NS_MAX:
        raise _bad(f"{text[:40]!r} is outside 1970 to 2262.")
    return total


def to_rfc_3339(instant_ns: int) -> str:
    """Return epoch nanoseconds as RFC 3339 text in UTC, with nine digits of fraction."""
    seconds, fraction = divmod(instant_ns, _NS_PER_S)
    days, in_day = divmod(seconds, 86_400)
    day = date.fromordinal(_EPOCH_DAY + days).isoformat()
    return f"{day}T{in_day // 3_600:02}:{in_day // 60 % 60:02}:{in_day % 60:02}.{fraction:09}Z"


def _bad(detail: str) -> BadEventError:
    return BadEventError(RejectReason.BAD_TIME, f"started_at: {detail}")
