"""Read [[test]] blocks: events in, alerts out, with time. Pure."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from llmtrail.core.calendar import UnknownZoneError, check_zone
from llmtrail.core.failure import FailureMode
from llmtrail.core.scope import MACHINE_KINDS, ScopeKind
from llmtrail_alerts.model import Reason, Target
from llmtrail_alerts.quantity import QuantityError, duration_ms, nanousd, whole
from llmtrail_alerts.read_gpu import read_machine
from llmtrail_alerts.read_samples import MIDNIGHT, Clock, read_samples
from llmtrail_alerts.read_target import TARGET_KEYS, read_target
from llmtrail_alerts.rule_case import Case, Event, Samples, Want
from llmtrail_alerts.targets import MACHINE_KEYS
from llmtrail_alerts.toml_table import Table, nearest, shown

_NS: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_DAY: Final = date(2026, 1, 5)  # a Monday without a change of clocks, where a test names no day
# Decided each second of a test: two days of that are seconds of work.
_SPAN_MAX: Final = timedelta(days=2)
_CALLS_MAX: Final = 1_000_000  # of one event
_AFTER_LAST: Final = timedelta(minutes=1)
_HANDLED: Final = ("fallback_model", "cached_answer", "static_message", "retried", "raised")

_Value = TypeVar("_Value")
# What each rule is about, by its name.
Kinds = Mapping[str, ScopeKind]


def read_cases(root: Table, rules: Kinds) -> tuple[Case, ...]:
    """Return the tests of a file; `rules` are the names that they may want alerts of, and what each is about."""
    return tuple(_case(table, rules) for table in root.tables("test", "test"))


def _case(table: Table, rules: Kinds) -> Case:
    name = table.text("name", needed='name it: name = "search is told at 80 %".')
    zone = _zone(table)
    clock = _clock(table, zone)
    events = tuple(_event(one, clock) for one in table.tables("events", f"{table.where} event"))
    samples = read_samples(table, clock)
    if "events" not in table and "samples" not in table:
        table.wrong("", 'has no events; write events = [{ at = "10:00:00", feature = "search" }], or samples of GPUs.')
    if "want" not in table:
        table.wrong("", "says not what it wants; write want = [...], or want = [] where nothing may be told.")
    wants = tuple(_want(one, clock, rules) for one in table.tables("want", f"{table.where} want"))
    named = table.texts("rules")
    for rule in named:
        if rule not in rules:
            table.wrong("rules", f"{rule!r} is no rule; {nearest(rule, rules)}")
    comings: list[Event | Samples] = [*events, *samples]
    start_ns = min((one.at_ns for one in comings), default=clock(MIDNIGHT))
    ends = [one.at_ns + one.every_ns * one.count for one in comings] + [want.to_ns for want in wants]
    end_ns = table.read("until", clock, max(ends, default=start_ns) + int(_AFTER_LAST.total_seconds()) * _NS)
    if end_ns - start_ns > _SPAN_MAX.total_seconds() * _NS:
        table.wrong("", f"lasts longer than {_SPAN_MAX.days} days; move its events together.")
        end_ns = start_ns
    table.done()
    return Case(
        name=name,
        file=table.file_name,
        line=table.line,
        events=events,
        samples=samples,
        wants=wants,
        rules=named or tuple(sorted({want.rule for want in wants})),
        start_ns=start_ns,
        end_ns=max(end_ns, start_ns),
        zone=zone,
    )


def _zone(table: Table) -> str:
    zone = table.text("zone", "UTC")
    try:
        check_zone(zone)
    except UnknownZoneError as error:
        table.wrong("zone", str(error))
        return "UTC"
    return zone


def _clock(table: Table, zone: str) -> Clock:
    """Return what reads a time of the test's day: "10:00:05", or "+1 00:10" on the day after."""
    day = table.raw("date")
    if day is not None and (not isinstance(day, date) or isinstance(day, datetime)):
        table.wrong("date", "date is no day; write date = 2026-11-21 (without quotes).")
        day = None
    first: date = day or _DAY

    def read(value: object) -> int:
        text = value.strip() if isinstance(value, str) else ""
        later, text = text.startswith("+1 "), text.removeprefix("+1 ").strip()
        for form in ("%H:%M:%S", "%H:%M"):
            try:
                found = datetime.strptime(text, form).time()  # noqa: DTZ007 - the zone is put to it below
            except ValueError:
                continue
            local = datetime.combine(first + timedelta(days=later), found, ZoneInfo(zone))
            return int(local.astimezone(UTC).timestamp()) * _NS
        raise QuantityError('is no time of day; write "10:00:05", or "+1 00:10" for the day after.')

    return read


def _event(table: Table, clock: Clock) -> Event:
    if "at" not in table:
        table.wrong("", 'write when: at = "10:00:05".')
    count = table.read("count", whole, 1)
    if not 1 <= count <= _CALLS_MAX:
        table.wrong("count", f"count lies between 1 and {_CALLS_MAX:,}.")
    unpriced = table.flag("unpriced")
    cost = table.read("cost_usd", nanousd, 0)
    if unpriced and cost:
        table.wrong("unpriced", "an unpriced call has no cost; take one of the two out.")
    event = Event(
        at_ns=table.read("at", clock, clock(MIDNIGHT)),
        count=min(max(count, 1), _CALLS_MAX),
        every_ns=table.read("every", duration_ms, 0) * _NS_PER_MS,
        tenant=table.text("tenant"),
        **{key: table.text(key) for key in TARGET_KEYS},
        cost_nanousd=None if unpriced else cost,
        input_tokens=table.read("input_tokens", whole, 0),
        output_tokens=table.read("output_tokens", whole, 0),
        attempts=max(table.read("attempts", whole, 1), 1),
        latency_ms=_optional(table, "latency", duration_ms),
        first_token_ms=_optional(table, "first_token", duration_ms),
        failure=_one_of(table, "failure", list(FailureMode)),
        handled_by=_one_of(table, "handled_by", _HANDLED),
    )
    table.done()
    return event


def _optional(table: Table, key: str, how: Callable[[object], _Value]) -> _Value | None:
    found: list[_Value] = []
    table.read(key, lambda value: found.append(how(value)), None)
    return found[0] if found else None


def _one_of(table: Table, key: str, known: Collection[str]) -> str:
    text = table.text(key)
    if text and text not in known:
        table.wrong(key, f"{key} = {shown(text)} is unknown; {nearest(text, known)}")
    return text


def _want(table: Table, clock: Clock, rules: Kinds) -> Want:
    rule = table.text("rule", needed='write whose alert: rule = "search-day".')
    if rule and rule not in rules:
        table.wrong("rule", f"{rule!r} is no rule; {nearest(rule, rules)}")
    from_ns, to_ns = _between(table, clock)
    has_target = any(key in table for key in (*TARGET_KEYS, "tenant"))
    kind = rules.get(rule)
    if kind in MACHINE_KINDS:
        has_target = any(key in table for key in MACHINE_KEYS[kind])
    target: Target | None = read_machine(table, kind) if kind in MACHINE_KINDS else read_target(table, needed=False)
    reason = table.choice("reason", Reason, Reason.FIRST)
    count = table.read("count", whole, 1)
    want = Want(
        line=table.line,
        rule=rule,
        from_ns=from_ns,
        to_ns=to_ns,
        target=target if has_target else None,
        reason=reason,
        level=table.text("level"),
        count=count,
    )
    table.done()
    return want


def _between(table: Table, clock: Clock) -> tuple[int, int]:
    """Return the bounds: at = "10:00:05" is that second; between = ["10:00:00", "10:00:30"] both ends."""
    if ("at" in table) == ("between" in table):
        table.wrong("", 'write at = "10:00:05" or between = ["10:00:00", "10:00:30"].')
    if "at" in table:
        at_ns = table.read("at", clock, clock(MIDNIGHT))
        table.raw("between")
        return at_ns, at_ns + _NS - 1
    table.raw("at")
    pair = table.raw("between")
    if not isinstance(pair, list) or len(pair) != 2:
        if pair is not None:
            table.wrong("between", 'between takes two times: between = ["10:00:00", "10:00:30"].')
        return clock(MIDNIGHT), clock(MIDNIGHT)
    try:
        bounds = clock(pair[0]), clock(pair[1]) + _NS - 1
    except QuantityError as error:
        table.wrong("between", f"between {error}")
        return clock(MIDNIGHT), clock(MIDNIGHT)
    if bounds[0] > bounds[1]:
        table.wrong("between", "the second time lies before the first.")
    return bounds
