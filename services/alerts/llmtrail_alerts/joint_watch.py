"""One watch of several: calls are watched in their statistics, GPUs in theirs. Knows nothing of either."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from llmtrail_alerts.model import Alarm, GroupKey, GroupState, Measure, Rule, Sighting
from llmtrail_alerts.periods import Bounds

if TYPE_CHECKING:
    # At run time it would bring the channels along.
    from llmtrail_alerts.engine import Watch


class JointWatch:
    """Asks each watch for the sightings of its own rules."""

    def __init__(self, calls: "Watch", gpus: "Watch") -> None:
        self._calls = calls
        self._gpus = gpus

    def fill(self, rules: Sequence[Rule], now_ns: int) -> None:
        """Make up for what statistics lack of the periods of these rules."""
        for watch, own in self._shared_out(rules):
            watch.fill(own, now_ns)

    def is_ready(self) -> bool:
        """Say whether calls can be seen now: no budget waits for GPUs."""
        return self._calls.is_ready()

    def look_back(self, rules: Sequence[Rule], past: Mapping[str, Bounds]) -> None:
        """From now on look at these periods too, though they are over."""
        for watch, own in self._shared_out(rules):
            watch.look_back(own, past)

    def is_owing(self) -> bool:
        """Whether it is not known yet what is stored of periods of calls that ended unseen."""
        return self._calls.is_owing()

    def look(
        self, rules: Sequence[Rule], states: Mapping[GroupKey, GroupState], now_ns: int, *, everything: bool
    ) -> Iterator[Sighting]:
        """Return a sighting of each group that may be decided otherwise than it stands."""
        for watch, own in self._shared_out(rules):
            yield from watch.look(own, states, now_ns, everything=everything)

    def settled(self) -> None:
        """Take note that what was returned was decided and written."""
        self._calls.settled()
        self._gpus.settled()

    def _shared_out(self, rules: Sequence[Rule]) -> list[tuple["Watch", Sequence[Rule]]]:
        of_gpus = [rule for rule in rules if _is_of_gpus(rule)]
        return [(self._calls, [rule for rule in rules if not _is_of_gpus(rule)]), (self._gpus, of_gpus)]


def _is_of_gpus(rule: Rule) -> bool:
    return isinstance(rule, Alarm) and rule.measure is Measure.GPU
