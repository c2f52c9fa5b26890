"""Read silences and windows of maintenance of owners.toml. Pure."""

import re
from datetime import UTC, datetime
from typing import Final

from llmtrail.core.calendar import UnknownZoneError, check_zone
from llmtrail.core.pattern import EVERY
from llmtrail_alerts.model import KEYS
from llmtrail_alerts.owners import Maintenance, Matcher, Silence
from llmtrail_alerts.rules import Place
from llmtrail_alerts.toml_table import Gravity, Table, nearest, shown

_NS: Final = 1_000_000_000
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
# What a group may carry besides its tenant.
_LABELS: Final = tuple(dict.fromkeys(key for keys in KEYS.values() for key in keys))

_Places = dict[tuple[str, str], Place]


def read_silences(root: Table, places: _Places) -> tuple[Silence, ...]:
    """Return the silences: who wants not to hear of what, why, and from when until when."""
    found = []
    for number, table in enumerate(root.tables("silence", "silence"), start=1):
        who = table.text("who", needed='say who does not want to hear: who = "ana".')
        why = table.text("why", needed='say why: why = "load test".')
        start_ns, end_ns = _moment_ns(table, "from"), _moment_ns(table, "until")
        if start_ns is not None and end_ns is not None and start_ns >= end_ns:
            table.wrong("until", "until must lie after from.")
        name = table.text("name") or f"silence {number}"
        silence = Silence(
            name=name, who=who, why=why, start_ns=start_ns or 0, end_ns=end_ns or 0, matcher=_matcher(table)
        )
        places["silence", name] = Place(table.file_name, table.line)
        table.done()
        found.append(silence)
    return tuple(found)


def read_maintenance(root: Table, places: _Places) -> tuple[Maintenance, ...]:
    """Return the windows that come again: on which days, from when until when, in whose time."""
    found = []
    for number, table in enumerate(root.tables("maintenance", "maintenance"), start=1):
        name = table.text("name") or f"maintenance {number}"
        start, end = _minute(table, "from"), _minute(table, "until")
        zone = table.text("zone", needed='say whose time it is: zone = "Europe/Berlin".')
        try:
            check_zone(zone or "UTC")
        except UnknownZoneError as error:
            table.wrong("zone", str(error))
        window = Maintenance(
            name=name,
            why=table.text("why", needed='say why: why = "nightly re-index".'),
            start_minute=start,
            end_minute=end,
            zone=zone or "UTC",
            weekdays=_weekdays(table),
            matcher=_matcher(table),
        )
        places["maintenance", name] = Place(table.file_name, table.line)
        table.done()
        found.append(window)
    return tuple(found)


def _matcher(table: Table) -> Matcher:
    """Return which groups are meant: rules and tenant by pattern, and each label that they must carry.

    A feature's silence is one of its users and models too, a node's one of its GPUs: they carry its name as well.
    """
    labels = {label: table.texts(label) for label in _LABELS if label in table}
    for label in _LABELS:
        table.raw(label)
    for label, patterns in labels.items():
        if not patterns:
            table.wrong(label, f'{label} names nothing; write a name, {label} = "*" for any, or leave it out.')
    if labels and not any(set(labels) <= set(keys) for keys in KEYS.values()):
        table.wrong(
            next(iter(labels)), f"no alarm or budget carries {' and '.join(labels)} together; it is never meant."
        )
    if not labels and "rules" not in table and "tenant" not in table:
        # Who means all of it says so: what is forgotten here is heard of nowhere.
        table.wrong("", 'is of everything; if that is meant, write rules = ["*"].', Gravity.WARNING)
    return Matcher(
        rules=table.texts("rules") or (EVERY,),
        tenant=table.text("tenant", EVERY),
        labels=tuple(labels.items()),
    )


def _moment_ns(table: Table, key: str) -> int | None:
    value = table.raw(key)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return int(value.astimezone(UTC).timestamp()) * _NS
    what = "has no zone" if isinstance(value, datetime) else "is no moment" if key in table else "is missing"
    table.wrong(key if key in table else "", f"{key} {what}; write {key} = 2026-11-21T10:00:00Z (without quotes).")
    return None


def _minute(table: Table, key: str) -> int:
    text = table.text(key, needed=f'write {key} = "02:00".')
    found = _CLOCK.fullmatch(text)
    if found is None:
        if text:
            table.wrong(key, f'{key} = {shown(text)} is no time of day; write {key} = "02:00".')
        return 0
    return int(found[1]) * 60 + int(found[2])


def _weekdays(table: Table) -> frozenset[int]:
    days = [day.lower()[:3] for day in table.texts("on")]
    for day in days:
        if day not in _DAYS:
            table.wrong("on", f"{day!r} is no day; {nearest(day, _DAYS)}")
    return frozenset(_DAYS.index(day) for day in days if day in _DAYS) or frozenset(range(7))
