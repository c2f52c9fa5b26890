"""When each group must be decided again though nothing is counted for it. Knows no statistics.

A group's state changes only when it is decided, so only those are looked at again that were: a hundred thousand groups
that wait for their period's end cost nothing till then.
"""

from collections.abc import Iterable, Iterator, Mapping
from heapq import heappop, heappush

from llmtrail_alerts.decide import due_ns
from llmtrail_alerts.model import Alarm, GroupKey, GroupState, Rule


class Diary:
    """The times at which groups are due. For one thread."""

    def __init__(self) -> None:
        """Know nothing yet: the first to ask is told of every state."""
        self._open: dict[GroupKey, None] | None = None
        self._dues: list[tuple[int, GroupKey]] = []
        self._due_of: dict[GroupKey, int] = {}
        self._active: dict[GroupKey, None] = {}

    def clear(self, states: Iterable[GroupKey]) -> None:
        """Begin anew with these groups: rules or states are others."""
        self._open, self._dues, self._due_of, self._active = dict.fromkeys(states), [], {}, {}

    def open(self, key: GroupKey) -> None:
        """Take note that a group is about to be decided, so that its state may be another afterwards."""
        if self._open is not None:
            self._open[key] = None

    def due(
        self, rules: Mapping[str, Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, active: bool
    ) -> Iterator[GroupKey]:
        """Return the groups of which time alone may change what is said.

        With `active` also those that hold or wait, or are kept quiet: what they come to changes with time.
        """
        for key in states if self._open is None else self._open:
            self._enter(key, rules.get(key.rule), states.get(key))
        self._open = {}
        while self._dues and self._dues[0][0] <= now_ns:
            at_ns, key = heappop(self._dues)
            if self._due_of.get(key) == at_ns:
                # Entered again at the next look, whether it was decided or not.
                del self._due_of[key]
                self._open[key] = None
                yield key
        if active:
            yield from list(self._active)

    def _enter(self, key: GroupKey, rule: Rule | None, state: GroupState | None) -> None:
        self._active.pop(key, None)
        due = None if rule is None or state is None else due_ns(rule, state)
        if due is None:
            self._due_of.pop(key, None)
        elif self._due_of.get(key) != due:
            self._due_of[key] = due
            heappush(self._dues, (due, key))
        if rule is None or state is None:
            return
        holds = isinstance(rule, Alarm) and (state.level >= 0 or any(state.reached_ns))
        # What was kept quiet is told when the quiet ends, calls or none.
        if holds or state.suppressed:
            self._active[key] = None
