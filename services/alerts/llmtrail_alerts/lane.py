"""Choose what a channel sends next: the oldest first, an incident's own messages in their order. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmtrail_alerts.channels.port import Manners
from llmtrail_alerts.message import Action
from llmtrail_alerts.outbox import Entry, State, expire, give_up

# Messages that wait for one channel. Storms are grouped long before; so many wait only where a channel is dead, and
# then its fallback is better.
WAITING_MAX = 1_000
# The ends of incidents that were told have a place of their own, so that none stays open.
RESOLVES_MAX = 1_000
# Alerts that are kept alive at their target, and those of which a fallback was told.
KEPT_MAX = 5_000


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be done now, and when to look again where that is nothing."""

    batch: tuple[Entry, ...] = ()
    ended: tuple[Entry, ...] = ()  # their time is over
    again_ns: int | None = None


def choose(entries: Iterable[Entry], manners: Manners, *, now_ns: int, not_before_ns: int) -> Choice:
    """Return the next batch of a channel that may send from `not_before_ns` on."""
    waiting = [entry for entry in entries if not entry.done and entry.state is not State.SENDING]
    ended = tuple(found for found in (expire(entry, now_ns) for entry in waiting) if found.done)
    if ended:
        return Choice(ended=ended)
    first = _firsts([entry for entry in waiting if entry.state is not State.MOVED])
    ready = [entry for entry in first if entry.due_ns <= now_ns]
    if ready and now_ns >= not_before_ns:
        return Choice(batch=_batch(ready, manners))
    return Choice(again_ns=_again(first, waiting, now_ns, not_before_ns))


def superseded(entries: Iterable[Entry], newer: Entry) -> list[Entry]:
    """Return the entries of the same channel that a newer one of their incident puts an end to.

    Whatever is told next ends what is kept alive; only the incident's end ends the memory of a fallback.
    """
    ends = {State.KEPT, State.MOVED} if newer.message.action is Action.RESOLVE else {State.KEPT}
    return [
        entry
        for entry in entries
        if entry.state in ends
        and newer.waits
        and entry.message.incident == newer.message.incident
        and order(entry) < order(newer)
    ]


def heir(entry: Entry, entries: Iterable[Entry]) -> Entry | None:
    """Return the next entry of the same incident that is newer, if there is one."""
    newer = [one for one in entries if one.waits and one.message.incident == entry.message.incident]
    return min((one for one in newer if order(one) > order(entry)), key=order, default=None)


def end_of(entry: Entry, entries: Iterable[Entry]) -> Entry | None:
    """Return the entry that ends the same incident, if it waits already."""
    ends = (one for one in entries if one.waits and one.message.action is Action.RESOLVE)
    return next((one for one in ends if one.message.incident == entry.message.incident), None)


def admit(entries: Mapping[str, Entry], entry: Entry) -> Entry:
    """Return the entry, given up where too many wait already."""
    if entry.done:
        return entry
    resolves = entry.message.action is Action.RESOLVE
    if not entry.waits:
        same, room = sum(not one.waits for one in entries.values()), KEPT_MAX
    else:
        alike = [one for one in entries.values() if (one.message.action is Action.RESOLVE) == resolves]
        same, room = sum(one.waits for one in alike), RESOLVES_MAX if resolves else WAITING_MAX
    return entry if entry.key in entries or same < room else give_up(entry, f"{room:,} messages wait already")


def order(entry: Entry) -> tuple[int, bool, int, str]:
    """Return what entries are sent in the order of: when it was decided, an incident's end last."""
    message = entry.message
    return message.at_ns, message.action is Action.RESOLVE, entry.created_ns, message.id


def _firsts(waiting: Sequence[Entry]) -> list[Entry]:
    """Return the entries that nothing of their own incident stands before, oldest first.

    An incident that was resolved before its trigger came would stay open for ever.
    """
    found = []
    seen: set[str] = set()
    for entry in sorted(waiting, key=order):
        if entry.state is State.KEPT:
            found.append(entry)
        elif entry.message.incident not in seen:
            seen.add(entry.message.incident)
            found.append(entry)
    return found


def _batch(ready: Sequence[Entry], manners: Manners) -> tuple[Entry, ...]:
    """Return the entries of one request: many that wait share one, where the channel has a form for that."""
    together = [entry for entry in ready if not entry.alone][: manners.batch_max]
    if len(together) < max(manners.coalesce_from, 2) or ready[0].alone:
        return (ready[0],)
    return tuple(together)


def _again(first: Sequence[Entry], waiting: Sequence[Entry], now_ns: int, not_before_ns: int) -> int | None:
    """Return when something is due: a message in its turn, or a deadline."""
    dues = [max(entry.due_ns, not_before_ns) for entry in first]
    dues += [entry.deadline_ns for entry in waiting if entry.state is State.PENDING]
    return max(min(dues), now_ns + 1) if dues else None
