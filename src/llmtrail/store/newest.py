"""Ask how far ahead of now stored call ids claim to be made. Knows nothing of why a writer asks."""

from llmtrail.store.handle import Handle

_MS_BITS = 80  # A UUIDv7 begins with 48 bits of milliseconds; 80 bits follow.


def newest_made_ms(handle: Handle, after_ms: int, before_ms: int) -> int | None:
    """Return the latest time, in epoch milliseconds, of a stored UUIDv7 made in [after_ms, before_ms), if any."""
    rows = handle.query(
        "SELECT max(toUInt128(call_id)), count() FROM llmtrail.calls_data "
        "WHERE toUInt128(call_id) >= {low:UInt128} AND toUInt128(call_id) < {high:UInt128} "
        "AND substring(toString(call_id), 15, 1) = '7'",
        {"low": after_ms << _MS_BITS, "high": before_ms << _MS_BITS},
    )
    newest, count = rows[0]
    return int(newest) >> _MS_BITS if count else None
