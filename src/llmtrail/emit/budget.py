"""The error that a call meets which a limit stops. Knows no client."""

from datetime import UTC, datetime
from typing import Any, Final

from llmtrail.core.limit import LimitState
from llmtrail.core.scope import parse_scope
from llmtrail.emit.limits import Refusal, RefusalReason

_NANO: Final = 1_000_000_000
_CENT: Final = 10_000_000


class BudgetExceeded(RuntimeError):  # noqa: N818 - the public name: what the application meets is no bug
    """A call was not made, because a hard limit on spend is reached (or limits are unknown and must be known).

    `reason` is budget_exceeded or budget_unavailable; `scope` what is limited, as ["tenant","kind","value"]; `limit`
    and `spent` count `unit` (nanousd, tokens, calls); `resets_at` is the end of the period in UTC, None where nobody
    can say. All but `reason` are None where limits are unknown.
    """

    def __init__(self, reason: str, limit: LimitState | None) -> None:
        super().__init__(_text(limit))
        self.reason = reason
        self.state = limit
        self.rule = limit.rule if limit else None
        self.scope = limit.scope if limit else None
        self.limit = limit.limit if limit else None
        self.spent = limit.spent if limit else None
        self.unit = limit.unit if limit else None
        self.owner = (limit.owner or None) if limit else None
        self.resets_at = _instant(limit.resets_at_ns) if limit else None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.state)


def exceeded(refusal: Refusal) -> BudgetExceeded:
    """Return the error that tells of a refusal."""
    return BudgetExceeded(refusal.reason.value, refusal.limit)


def _instant(at_ns: int) -> datetime | None:
    return datetime.fromtimestamp(at_ns // _NANO, UTC) if at_ns else None


def _text(limit: LimitState | None) -> str:
    """Return what a person needs: which budget, whose, how far, until when, and whom to ask."""
    if limit is None:
        return (
            f"{RefusalReason.BUDGET_UNAVAILABLE}: no limits could be learnt, and LLMTRAIL_LIMITS=closed stops calls "
            "then; see that LLMTRAIL_URL (or LLMTRAIL_KAFKA) can be reached."
        )
    tenant, kind, values = parse_scope(limit.scope)
    whose = " ".join((kind.value, *(repr(value) for value in values or (tenant,))))
    until = _instant(limit.resets_at_ns)
    spent, allowed = _amount(limit.spent, limit.unit), _amount(limit.limit, limit.unit)
    each = "in all" if limit.period == "total" else f"per {limit.period}"
    parts = [
        f"the budget {limit.rule!r} of {whose} is used up: {spent} of {allowed} {each}",
        f"resets at {until:%Y-%m-%d %H:%M} UTC" if until else "",
        f"owner: {limit.owner}" if limit.owner else "",
        limit.reason,
    ]
    return "; ".join(part for part in parts if part)


def _amount(count: int, unit: str) -> str:
    if unit != "nanousd":
        return f"{count:,} {unit}"
    dollars, rest = divmod(count, _NANO)
    if not dollars and 0 < rest < _CENT:
        return f"$0.{rest:09d}".rstrip("0")
    # Cents are enough to read; the exact figure is in `spent`.
    return f"${dollars:,}.{rest // _CENT:02d}"
