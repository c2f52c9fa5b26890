"""How long each table keeps its rows. Knows nothing of what they mean."""

import re
from dataclasses import dataclass

from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle


@dataclass(frozen=True, slots=True)
class _Kept:
    tables: tuple[str, ...]
    day: str
    days: int


# View -> the tables behind it. Ids live as long as the calls they lead to.
_KEPT = {
    "calls": _Kept(("calls_data", "ids_data"), "ingest_day", 400),
    "bodies": _Kept(("bodies_data",), "ingest_day", 90),
    "dead_letters": _Kept(("dead_letters_data",), "received_day", 90),
    "price_corrections": _Kept(("price_corrections",), "corrected_day", 400),
    "stats_minute": _Kept(("stats_minute_data",), "day", 400),
    "alerts": _Kept(("alerts_data", "alert_refs_data"), "decided_day", 400),
    "audit": _Kept(("audit_data",), "changed_day", 400),
    "gpu_samples": _Kept(("gpu_samples_data", "engine_samples_data", "gpu_scrapes_data"), "sampled_day", 90),
    "gpu_5m": _Kept(("gpu_5m_data", "gpu_places_data"), "day", 400),
}
DEFAULT_DAYS = {table: kept.days for table, kept in _KEPT.items()}
# Longer than any law asks for; a number above it is a mistake of units.
DAYS_MAX = 36_500
_TTL = re.compile(r"TTL \S+ \+ toIntervalDay\((\d+)\)")


def set_retention(handle: Handle, table: str, days: int) -> None:
    """Keep the rows of `table`, one of those above, for `days` days; older ones go.

    Raises StoreError for an unknown table or a number of days outside 1 to 36,500.
    """
    kept = _KEPT.get(table)
    if kept is None:
        raise StoreError(f"Retention is set for {', '.join(_KEPT)}; there is no {table!r}.")
    if not 1 <= days <= DAYS_MAX:
        raise StoreError(f"Retention of {table} is {days} days; set 1 to {DAYS_MAX}.")
    for name in kept.tables:
        # Altering rewrites what the parts know of their age, so it is done only when something changes.
        if retention_days(handle, name) != days:
            handle.command(f"ALTER TABLE llmtrail.{name} MODIFY TTL {kept.day} + INTERVAL {days} DAY")


def retention_days(handle: Handle, table: str) -> int | None:
    """Return for how many days `table` keeps its rows; None where for ever."""
    rows = handle.query(
        "SELECT engine_full FROM system.tables WHERE database = 'llmtrail' AND name = {table:String}", {"table": table}
    )
    found = _TTL.search(str(rows[0][0])) if rows else None
    return int(found.group(1)) if found else None
