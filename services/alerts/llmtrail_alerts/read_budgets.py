"""Read budgets.toml: how much a scope may use in a period, who is told when, and what a hard limit does. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import Final

from llmtrail.core.calendar import UnknownZoneError, check_zone
from llmtrail.core.limit import MESSAGE_LENGTH_MAX, Behaviour
from llmtrail.core.scope import ScopeKind
from llmtrail_alerts.model import Budget, HardLimit, Level, Period, Severity, Unit
from llmtrail_alerts.quantity import duration_s, nanousd, share, whole
from llmtrail_alerts.read_target import read_name, read_target
from llmtrail_alerts.rules import Place
from llmtrail_alerts.toml_table import Table

_LIMITS: Final = {"limit_usd": Unit.NANOUSD, "limit_tokens": Unit.TOKENS, "limit_calls": Unit.CALLS}
_NOT_BUDGETED: Final = {ScopeKind.VERSION, ScopeKind.PROMPT}
# A request has no calendar: all of it counts.
_TOTALLED: Final = {ScopeKind.REQUEST, ScopeKind.SESSION}
# Told where a budget names no threshold of its own.
_SOFT_DEFAULT: Final = (Fraction(8, 10),)
_SOFT_DEFAULT_ALONE: Final = (Fraction(8, 10), Fraction(1))
_WHOLE: Final = Fraction(1)
# A soft level is left so much of the limit below it, so that a corrected price does not tell it twice.
_CLEAR_SHARE: Final = Fraction(2, 100)
HARD_LABEL: Final = "hard limit"
_SOFT_SHARE_MAX: Final = 10  # of the limit: ten times over is the last that is worth a message


def read_budgets(root: Table, places: dict[tuple[str, str], Place]) -> tuple[Budget, ...]:
    """Return the budgets of a file; what is wrong is noted in it, and where each stands in `places`."""
    zone = _zone(root, "UTC")
    ceiling = root.read("unpriced_call_usd", nanousd, None) if "unpriced_call_usd" in root else None
    names: set[str] = set()
    found = []
    for table in root.tables("budget", "budget"):
        budget = _budget(table, names, zone, ceiling)
        found.append(budget)
        places["budget", budget.name] = Place(table.file_name, table.line)
    return tuple(found)


def _budget(table: Table, names: set[str], zone: str, ceiling: int | None) -> Budget:
    name = read_name(table, names)
    target = read_target(table)
    if target.kind in _NOT_BUDGETED:
        table.wrong("", "budgets are kept per tenant, feature, user, model, request and session only.")
    unit, limit = _limit(table)
    hard = _hard(table)
    budget = Budget(
        name=name,
        target=target,
        unit=unit,
        limit=limit,
        period=_period(table, target.kind),
        zone=_zone(table, zone),
        levels=_levels(table, limit, hard=hard is not None),
        hard=hard,
        unpriced_ceiling_nanousd=_ceiling(table, unit, ceiling),
        owner=table.text("owner"),
        repeat_s=table.read("repeat", duration_s, 0),
    )
    table.done()
    return budget


def _zone(table: Table, default: str) -> str:
    zone = table.text("zone", default)
    try:
        check_zone(zone)
    except UnknownZoneError as error:
        table.wrong("zone", str(error))
        return default
    return zone


def _limit(table: Table) -> tuple[Unit, int]:
    named = [key for key in _LIMITS if key in table]
    for key in _LIMITS:
        table.raw(key)
    if len(named) != 1:
        table.wrong(named[1] if named else "", f"give exactly one of {', '.join(_LIMITS)}.")
        return Unit.CALLS, 1
    unit = _LIMITS[named[0]]
    limit = table.read(named[0], nanousd if unit is Unit.NANOUSD else whole, 1)
    if limit < 1:
        table.wrong(named[0], f"{named[0]} is nothing; a limit is at least one call, token or nano-dollar.")
    return unit, max(limit, 1)


def _period(table: Table, kind: ScopeKind) -> Period:
    if kind in _TOTALLED:
        period = table.choice("per", Period, Period.TOTAL)
        if period is not Period.TOTAL:
            table.wrong("per", f'a {kind} is counted as a whole; leave out per, or write per = "total".')
        return Period.TOTAL
    period = table.choice("per", Period, None, needed='write per = "minute", "hour", "day" or "month".')
    if period is Period.TOTAL:
        table.wrong("per", "a total is kept of requests and sessions only; write a minute, an hour, a day or a month.")
    return period or Period.DAY


def _hard(table: Table) -> HardLimit | None:
    """Return what a hard limit does: hard = "refuse", or a table with `do` and what it needs."""
    value = table.raw("hard")
    if value is None:
        return None
    if isinstance(value, str):
        behaviour = table.choice("hard", Behaviour, Behaviour.REFUSE) or Behaviour.REFUSE
        return _complete(table, "hard", HardLimit(behaviour))
    inner = table.table("hard")
    if inner is None:
        return HardLimit()
    done = inner.choice("do", Behaviour, None, needed=f"write one of {', '.join(Behaviour)}.")
    hard = HardLimit(done or Behaviour.REFUSE, inner.text("model"), inner.text("message"))
    inner.done()
    return _complete(table, "hard", hard)


def _complete(table: Table, key: str, hard: HardLimit) -> HardLimit:
    if hard.behaviour is Behaviour.CHEAPER_MODEL and not hard.model:
        table.wrong(key, 'cheaper_model needs a model: hard = { do = "cheaper_model", model = "gpt-4o-mini" }.')
    if hard.behaviour is Behaviour.STATIC_MESSAGE and not hard.message:
        table.wrong(key, 'static_message needs a message: hard = { do = "static_message", message = "..." }.')
    if hard.model and hard.behaviour is not Behaviour.CHEAPER_MODEL:
        table.wrong(key, f"{hard.behaviour} takes no model.")
    if hard.message and hard.behaviour is not Behaviour.STATIC_MESSAGE:
        table.wrong(key, f"{hard.behaviour} takes no message.")
    if len(hard.message) > MESSAGE_LENGTH_MAX:
        table.wrong(key, f"the message is longer than {MESSAGE_LENGTH_MAX} characters.")
    return hard


def _levels(table: Table, limit: int, *, hard: bool) -> tuple[Level, ...]:
    soft = _soft(table, hard=hard)
    levels = [_level(limit, one, severity) for one, severity in sorted(soft.items())]
    if hard:
        # Left as soon as it is below: nobody is refused for what was given back.
        levels.append(Level(HARD_LABEL, limit, limit - 1, Severity.CRITICAL, hard=True))
    if not levels:
        table.wrong("soft", 'nobody is ever told; write soft = ["80 %", "100 %"] or hard = "refuse".')
    if any(one >= _WHOLE for one in soft) and hard:
        table.wrong("soft", "a soft threshold at or beyond a hard limit is never reached; the hard limit tells it.")
    for former, later in pairwise(levels):
        if former.at == later.at:
            table.wrong("soft", f"{former.label} and {later.label} of so small a limit are the same amount.")
    return tuple(levels)


def _soft(table: Table, *, hard: bool) -> Mapping[Fraction, Severity]:
    """Return the soft thresholds as shares of the limit: "80 %", or { at = "80 %", severity = "error" }."""
    value = table.raw("soft")
    if value is None:
        return {one: _severity(one) for one in (_SOFT_DEFAULT if hard else _SOFT_DEFAULT_ALONE)}
    found: dict[Fraction, Severity] = {}
    for one in value if isinstance(value, list) else [value]:
        at, said = (one.get("at"), one.get("severity")) if isinstance(one, dict) else (one, None)
        if isinstance(one, dict) and not set(one) <= {"at", "severity"}:
            table.wrong("soft", f"knows at and severity, not {', '.join(sorted(set(one) - {'at', 'severity'}))}.")
        try:
            part = _part(at)
            severity = Severity(said) if said is not None else _severity(part)
        except ValueError as error:
            what = (
                str(error) if said is None or said in list(Severity) else f"severity is one of {', '.join(Severity)}."
            )
            table.wrong("soft", f"soft: {what}")
            continue
        if part in found:
            table.wrong("soft", f"{_label(part)} is there twice.")
        found[part] = severity
    return found


def _part(value: object) -> Fraction:
    """Return a threshold's share. Beyond the limit is allowed: what has no hard limit goes on."""
    is_text = isinstance(value, str)
    if not isinstance(value, str | int | Decimal) or (is_text and not str(value).strip().endswith("%")):
        raise ValueError('thresholds are shares of the limit: soft = ["50 %", "80 %"].')
    part = share(value)
    if not 0 < part <= _SOFT_SHARE_MAX:
        raise ValueError(f"a threshold lies above 0 % and at most at {_SOFT_SHARE_MAX * 100} %.")
    return part


def _severity(part: Fraction) -> Severity:
    return Severity.WARNING if part < _WHOLE else Severity.ERROR


def _level(limit: int, part: Fraction, severity: Severity) -> Level:
    # Rounded up: 80 % of 3 calls is reached with the third, not with the second.
    at = max(ceil(limit * part), 1)
    clear = min(at - 1, max(int(limit * (part - _CLEAR_SHARE)), 0))
    return Level(_label(part), at, clear, severity)


def _label(part: Fraction) -> str:
    percent = part * 100
    digits = str(percent.numerator) if percent.denominator == 1 else f"{float(percent):.6g}"
    return f"{digits} %"


def _ceiling(table: Table, unit: Unit, default: int | None) -> int:
    """Return what a call without a price counts as. It must be said: unknown is never free."""
    said = table.read("unpriced_call_usd", nanousd, None) if "unpriced_call_usd" in table else default
    if unit is not Unit.NANOUSD:
        if "unpriced_call_usd" in table:
            table.wrong("unpriced_call_usd", "counts for limits in dollars only; take it out.")
        return 0
    if said is None and "unpriced_call_usd" not in table:
        what = 'say what a call without a price counts as: unpriced_call_usd = "0.05", here or at the top of the file.'
        table.wrong("", what)
    return said or 0
