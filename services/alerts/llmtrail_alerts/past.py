"""Which periods of budgets ended while nobody decided: they are looked at once more. Pure.

What was decided of a period stands in the state of its group only until the next one has begun, so it must be known
which periods have been decided to their end: how far the decider has come is written with what it decides.
"""

from collections.abc import Iterable, Mapping

import msgspec

from llmtrail.core import json_decode
from llmtrail_alerts.model import Budget, Period, Rule
from llmtrail_alerts.periods import Bounds, period_of
from llmtrail_alerts.refit import basis_of

# For so long after a period's end its last calls may still come: it is looked at once more with each of them.
AFTER_S = 30  # and so long after a decider is back, because the statistics may come back with it
# A decider that runs decides at least each second. After a longer gap it looks back.
GAP_S = 5
# In the details of what was seen: nobody can act on it any more.
PAST = "past"
SEEN_KEY = msgspec.json.encode(("seen",)).decode()


class Seen(msgspec.Struct, frozen=True):
    """How far a decider has come: all that was known at a time is decided, of the budgets that it then had.

    A budget that counts over other periods by now was none of them.
    """

    at_s: int
    budgets: tuple[str, ...]


def seen_now(rules: Iterable[Rule], now_s: int) -> Seen:
    """Return that all is decided until now, under these rules."""
    return Seen(now_s, tuple(_counted(rule) for rule in rules if isinstance(rule, Budget)))


def _counted(budget: Budget) -> str:
    return f"{budget.name} {basis_of(budget)}"


def without(seen: Seen | None, rules: Iterable[Rule]) -> Seen | None:
    """Return how far a decider has come, without budgets that are none of its rules any more."""
    if seen is None:
        return None
    names = {_counted(rule) for rule in rules if isinstance(rule, Budget)}
    return Seen(seen.at_s, tuple(name for name in seen.budgets if name in names))


def missed(seen: Seen | None, rules: Iterable[Rule], now_s: int) -> dict[str, Bounds]:
    """Return of each budget the period that ended last, where it was not decided to its end.

    None of a budget that nobody knew by then: a new rule tells nothing of what was before it. Only the last one: what
    was spent before that is in `budget_events` and `calls`, and nobody can act on it any more.
    """
    if seen is None or now_s < seen.at_s + GAP_S:
        return {}
    known, found = frozenset(seen.budgets), {}
    for rule in rules:
        if isinstance(rule, Budget) and rule.period is not Period.TOTAL and _counted(rule) in known:
            last = period_of(rule, period_of(rule, now_s).start_s - 1)
            if seen.at_s < last.end_s + AFTER_S:
                found[rule.name] = last
    return found


def next_end_s(rules: Iterable[Rule], now_s: int) -> int | None:
    """Return when a present period will have been decided to its end; None where no budget has one."""
    ends = (period_of(rule, now_s).end_s for rule in rules if isinstance(rule, Budget))
    return min((end_s + AFTER_S for end_s in ends if end_s), default=None)


def encode_seen(seen: Seen) -> bytes:
    """Return it as JSON."""
    return msgspec.json.encode(seen)


def decode_seen(value: bytes) -> Seen | None:
    """Return it of its JSON; None where that is something else, so that nothing is looked back at."""
    try:
        return json_decode.decode(value, type=Seen)
    except msgspec.DecodeError:
        return None


def lapsed(past: Mapping[str, Bounds], budget: Budget, began_s: int, now_s: int) -> Bounds | None:
    """Return the period before the one that began, where it is still to be looked at."""
    if budget.period is Period.TOTAL:
        return None
    if budget.name in past:
        return past[budget.name]
    return period_of(budget, began_s - 1) if now_s - began_s < AFTER_S else None
