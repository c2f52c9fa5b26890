"""Ask how new stored call ids claim to be. Knows nothing of why a writer asks."""

from llmtrail.store.handle import Handle

_MS_BITS = 80  # A UUIDv7 begins with 48 bits of milliseconds; 80 bits follow.
_MS_PER_DAY = 86_400_000
# No id that is trusted to tell its age is ahead of its arrival by more than this, in milliseconds.
_AHEAD_MS_MAX = 60_000
# A clock that is more than a year ahead is none that ours will ever reach while a sender still repeats its calls.
_AHEAD_DAYS_MAX = 400


def newest_made_ms(handle: Handle, before_ms: int) -> int | None:
    """Return a time, in epoch milliseconds, after which no stored UUIDv7 was made, of those made before `before_ms`.

    None where nothing is stored. Only the last day of ingest is read: what came on an earlier one is older than it.
    """
    last = handle.query("SELECT toUInt32(max(ingest_day)), count() FROM llmtrail.calls_data")
    if not last[0][1]:
        return None
    day_ms = int(last[0][0]) * _MS_PER_DAY
    rows = handle.query(
        "SELECT max(toUInt128(call_id)) FROM llmtrail.calls_data WHERE ingest_day = toDate({day:UInt32}) "
        "AND toUInt128(call_id) < {high:UInt128} AND substring(toString(call_id), 15, 1) = '7'",
        {"day": last[0][0], "high": before_ms << _MS_BITS},
    )
    return max(int(rows[0][0]) >> _MS_BITS, min(day_ms + _AHEAD_MS_MAX, before_ms))


def ahead_of(handle: Handle, after_ms: int, ids_max: int) -> list[int]:
    """Return the stored calls whose UUIDv7 claims to be made after a time, the latest first, `ids_max` at most.

    Whatever day they came on. The bounds reach the key, so that other ids cost next to nothing.
    """
    until_ms = after_ms + _AHEAD_DAYS_MAX * _MS_PER_DAY
    rows = handle.query(
        "SELECT toString(toUInt128(call_id)) FROM llmtrail.calls_data "  # noqa: S608 - a number
        "WHERE toUInt128(call_id) >= {low:UInt128} AND toUInt128(call_id) < {high:UInt128} "
        "AND substring(toString(call_id), 15, 1) = '7' "
        f"GROUP BY call_id ORDER BY toUInt128(call_id) DESC LIMIT {int(ids_max)}",
        {"low": (after_ms + 1) << _MS_BITS, "high": until_ms << _MS_BITS},
    )
    return [int(row[0]) for row in rows]
