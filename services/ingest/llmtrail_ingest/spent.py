"""Who used how much processor time lately, and who has to wait for the others therefore. Pure: time is an argument."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, log

# What is counted fades with this time: a second's work is all but forgotten after five.
FADE_S = 1.0
# Below this much of lately used time a sender is as good as gone.
GONE_S = 1e-4
# Senders that are told apart; beyond it those that used least are forgotten.
SENDERS_MAX = 1_000


@dataclass(slots=True)
class _Used:
    """Time used lately, as it was counted at one moment."""

    seconds: float = 0.0
    at_s: float = 0.0

    def by(self, now_s: float) -> float:
        """Return what is left of it now."""
        return self.seconds * exp(min(0.0, self.at_s - now_s) / FADE_S)

    def add(self, seconds: float, now_s: float) -> None:
        self.seconds, self.at_s = self.by(now_s) + seconds, max(now_s, self.at_s)


@dataclass(slots=True)
class Spent:
    """Processor time, shared max-min fairly: beside others, senders get `whole` seconds a second together.

    Who used little keeps what it uses, and those that want more share what is left alike. A sender alone may use all
    there is.
    """

    whole: float
    _all: _Used = field(default_factory=_Used)
    _each: dict[str, _Used] = field(default_factory=dict)

    def add(self, sender: str, seconds: float, now_s: float) -> None:
        """Count time that a sender's work took."""
        if sender not in self._each and len(self._each) >= SENDERS_MAX:
            self._forget(now_s)
        self._each.setdefault(sender, _Used()).add(seconds, now_s)
        self._all.add(seconds, now_s)

    def is_shared(self, sender: str, now_s: float) -> bool:
        """Whether others than this sender used time lately."""
        mine = self._each[sender].by(now_s) if sender in self._each else 0.0
        return self._all.by(now_s) - mine >= GONE_S

    def wait_s(self, sender: str, now_s: float) -> float:
        """Return how long a sender's next work has to wait, where the others use their time as before."""
        everybodys, bound = self._all.by(now_s), self.whole * FADE_S
        if everybodys <= bound or sender not in self._each or not self.is_shared(sender, now_s):
            return 0.0
        mine = self._each[sender].by(now_s)
        return max(0.0, FADE_S * log(mine / fair_level([used.by(now_s) for used in self._each.values()], bound)))

    def _forget(self, now_s: float) -> None:
        kept = sorted(self._each.items(), key=lambda pair: pair[1].by(now_s))[SENDERS_MAX // 2 :]
        self._each = dict(kept)


def fair_level(used: Sequence[float], whole: float) -> float:
    """Return the level to which all may use so that together they use `whole`, which they have used up."""
    left = whole
    for number, one in enumerate(ascending := sorted(used)):
        level = left / (len(ascending) - number)
        if one > level:
            return level
        left -= one
    return ascending[-1]
