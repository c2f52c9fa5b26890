"""When a budget's limit is reached, at the pace of late. Pure."""

from llmtrail_alerts.model import Period

_NS = 1_000_000_000
# The pace is that of so long before now: long enough that a burst is spread over it, short enough to follow a change.
# (Google's SRE workbook, chapter 5, pairs a window with a twelfth of it for the same reason.)
PACE_S = {Period.MINUTE: 60, Period.HOUR: 300, Period.DAY: 3_600, Period.MONTH: 3_600, Period.TOTAL: 300}


def forecast_ns(spent: int, limit: int, used_lately: int, lately_s: int, now_ns: int, end_ns: int) -> int | None:
    """Return when `spent` reaches `limit` if it goes on as over the last `lately_s` seconds; None: not before `end_ns`.

    Never in the past: a limit that is reached is no forecast. `end_ns` 0 means that there is no end.
    """
    left = limit - spent
    if left <= 0 or used_lately <= 0 or lately_s <= 0:
        return None
    at_ns = now_ns + left * lately_s * _NS // used_lately
    return at_ns if not end_ns or at_ns < end_ns else None
