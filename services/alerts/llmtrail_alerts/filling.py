"""Ask the store what budgets lack, in a thread of its own, and again until it is known. Decides nothing.

A month of calls may be looked through, and no limit may wait for that: whoever decides takes up what has come, and goes
on with what it has meanwhile.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from llmtrail_alerts.fill import Counted, Fences, Lack, Stored, Unknown, Want, filled, is_stored, whole

_LOG = logging.getLogger(__name__)

# Whether anything was corrected is a look at two days of corrections; what it came to, one at all calls of a period. So
# long a budget may count former costs.
LOOK_EVERY_S = 300
# What nobody knew is asked for again after so long: a store that is back, or statistics that have caught up, are soon
# noticed, and one that is busy is not asked all the time.
AGAIN_S, AGAIN_S_MAX = 5, 60
# A range of the log may be half read at the moment that is compared; a minute later it is not the same one.
CHECK_S = 60
# Where others count, they may begin later than rows are stored; statistics that say nothing for longer were lost.
BEGIN_S_MAX = 120
# Rows are stored a second or two after they are counted.
STORED_S_MAX = 60.0
_STORED_EVERY_S = 0.2
_NS = 1_000_000_000
_DAY_S = 86_400
# A day of corrections is looked at, and the day before: the table is by day.
_CORRECTED_DAYS = 2


@dataclass(slots=True)
class Known:
    """What is known by now; changed as a whole under a lock."""

    lacks: dict[Want, Lack] = field(default_factory=dict)
    past: dict[Want, Lack] = field(default_factory=dict)  # of periods that are over: all that is stored
    unknown: dict[Want, frozenset[str]] = field(default_factory=dict)  # scopes of which nobody knows yet
    news: set[Want] = field(default_factory=set)  # since this was last taken


class Filling:
    """What budgets lack, as far as it is known. `want` and `take` are for one thread, `lack` is for any."""

    def __init__(self, stored: Stored, counted: Callable[[], Counted]) -> None:
        """Take the store, and what returns the statistics as they stand."""
        self._stored = stored
        self._counted = counted
        self._lock = threading.Lock()
        self._known = Known()
        self._wanted: dict[Want, None] = {}
        self._wanted_past: dict[Want, None] = {}
        self._thread: threading.Thread | None = None
        self._asked_s, self._again_s = 0, AGAIN_S
        self._looked_s = 0
        self._begun_s = 0  # when the first question was asked
        # When costs were last corrected, of all that is known; None: nobody knows.
        self._corrected_ns: int | None = None
        self._why: dict[Want, str] = {}
        self._checks: dict[Want, int] = {}  # when each is asked for once more

    def want(self, present: Mapping[Want, None]) -> None:
        """Have these asked for, and no others any more. What is known of them stays."""
        if present.keys() == self._wanted.keys():
            return
        self._wanted, self._asked_s, self._again_s = dict(present), 0, AGAIN_S
        self._checks = {want: at_s for want, at_s in self._checks.items() if want in present}
        with self._lock:
            self._known.unknown = {want: some for want, some in self._known.unknown.items() if want in present}
            self._known.lacks = {want: lack for want, lack in self._known.lacks.items() if want in present}

    def want_past(self, past: Mapping[Want, None]) -> None:
        """Have these asked for, whose periods are over, and no others any more."""
        self._wanted_past, self._asked_s, self._again_s = dict(past), 0, AGAIN_S
        with self._lock:
            self._known.past = {want: lack for want, lack in self._known.past.items() if want in past}

    def ask(self, now_s: int) -> None:
        """Ask for what is not known, and for all of it where costs were corrected. Returns at once."""
        if self.is_asking:
            return
        with self._lock:
            missing = [want for want in self._wanted if not self._is_known(want)]
            due = [want for want, at_s in self._checks.items() if at_s <= now_s and want in self._wanted]
            missing_past = [want for want in self._wanted_past if want not in self._known.past]
        looks = now_s >= self._looked_s + LOOK_EVERY_S and bool(self._wanted)
        again = now_s >= self._asked_s + self._again_s
        if not looks and not due and not ((missing or missing_past) and again):
            return
        self._begun_s = self._begun_s or now_s
        for want in due:
            del self._checks[want]
        self._checks |= {want: now_s + CHECK_S for want in missing if want not in self._checks}
        self._asked_s = now_s
        self._again_s = min(self._again_s * 2, AGAIN_S_MAX)
        if looks:
            self._looked_s = now_s
        args = ([*missing, *due], missing_past, list(self._wanted) if looks else [], now_s)
        self._thread = threading.Thread(target=self._run, args=args, name="llmtrail-fill", daemon=True)
        self._thread.start()

    @property
    def is_asking(self) -> bool:
        """Whether a question is under way."""
        return self._thread is not None and self._thread.is_alive()

    def is_known(self, want: Want) -> bool:
        """Whether it is known of every scope what the statistics lack."""
        with self._lock:
            return self._is_known(want)

    def is_known_of(self, want: Want, scope_text: str) -> bool:
        """Whether it is known of one scope what the statistics lack."""
        with self._lock:
            return want in self._known.lacks and scope_text not in self._known.unknown.get(want, ())

    def _is_known(self, want: Want) -> bool:
        return want in self._known.lacks and not self._known.unknown.get(want)

    def is_past_known(self) -> bool:
        """Whether all is known that was asked for of periods that are over."""
        with self._lock:
            return all(want in self._known.past for want in self._wanted_past)

    def lack(self, want: Want) -> Lack:
        """Return what the statistics lack, as far as it is known."""
        with self._lock:
            return self._known.lacks.get(want, {})

    def past(self, want: Want) -> Lack:
        """Return what is stored of a period that is over, as far as it is known."""
        with self._lock:
            return self._known.past.get(want, {})

    def take(self) -> set[Want]:
        """Return of what something is known that was not when this was last asked."""
        with self._lock:
            news, self._known.news = self._known.news, set()
        return news

    def _run(self, missing: Iterable[Want], past: Iterable[Want], all_wanted: Iterable[Want], now_s: int) -> None:
        try:
            corrected_ns = self._stored.corrected_ns(max(now_s - (_CORRECTED_DAYS - 1) * _DAY_S, 0) * _NS)
            again: Iterable[Want] = ()
            if corrected_ns is not None and corrected_ns > (self._corrected_ns or 0):
                again = all_wanted
            if self._fill(dict.fromkeys([*missing, *again]), now_s) and corrected_ns is not None:
                self._corrected_ns = corrected_ns
            for want in past:
                self._fill_past(want)
        except Exception:  # noqa: BLE001 - the thread's edge: what is known goes on counting until it is asked again.
            _LOG.exception("budgets are not filled from stored calls yet; asked again in %d s", AGAIN_S)

    def _is_to_be_counted(self, counted: Fences, stored: Fences) -> bool:
        """Whether calls are stored of a topic that the statistics know nothing of yet, and others still count them."""
        known = {source.rpartition("/")[0] for source in counted}
        begun = {source.rpartition("/")[0] for source, offset in stored.items() if offset > 0}
        return self._stored.counted_elsewhere and not begun <= known

    def _fill(self, wanted: Mapping[Want, None], now_s: int) -> bool:
        """Fill what is wanted; return whether all of it is known."""
        if not wanted:
            return True
        counted = self._counted()
        stored = self._until_stored(counted.fences())
        if isinstance(stored, Unknown):
            for want in wanted:
                self._fails(want, stored)
            return False
        if now_s < self._begun_s + BEGIN_S_MAX and self._is_to_be_counted(counted.fences(), stored):
            for want in wanted:
                self._fails(want, Unknown("the statistics have not begun to count what is stored"))
            return False
        known = [self._fill_one(want, counted, counted.fences()) for want in wanted]  # each, whatever the others are
        return all(known)

    def _fill_one(self, want: Want, counted: Counted, fences: Fences) -> bool:
        between_ns = want.period.start_s * _NS, want.period.end_s * _NS
        spent = self._stored.spent(want.kind, want.values, between_ns, fences)
        if isinstance(spent, Unknown):
            return self._fails(want, spent)
        former = self.lack(want)
        now = filled(want, spent, counted, former)
        if now.lack:
            _LOG.info("%d scopes of %s are filled from stored calls of %s", len(now.lack), want.kind, want.period.name)
        with self._lock:
            if self._known.lacks.get(want) != now.lack or now.unknown != self._known.unknown.get(want):
                self._known.news.add(want)
            self._known.lacks[want] = now.lack
            self._known.unknown[want] = now.unknown
        if now.unknown:
            return self._fails(want, Unknown("calls are stored that the statistics have not counted yet"))
        self._why.pop(want, None)
        return True

    def _fill_past(self, want: Want) -> None:
        between_ns = want.period.start_s * _NS, want.period.end_s * _NS
        spent = self._stored.spent(want.kind, want.values, between_ns, {})
        if isinstance(spent, Unknown):
            self._fails(want, spent)
            return
        with self._lock:
            self._known.past[want] = whole(spent)
            self._known.news.add(want)

    def _until_stored(self, counted: Fences) -> Fences | Unknown:
        """Wait until all that is counted is stored; return below which offsets all is, or why nobody knows."""
        waits = threading.Event()
        for _ in range(int(STORED_S_MAX / _STORED_EVERY_S)):
            stored = self._stored.fences()
            if isinstance(stored, Unknown):
                return stored
            if is_stored(counted, stored):
                return stored
            waits.wait(_STORED_EVERY_S)
        return Unknown("what is counted is not stored yet")

    def _fails(self, want: Want, unknown: Unknown) -> bool:
        if self._why.get(want) != unknown.why:
            self._why[want] = unknown.why
            _LOG.warning("budgets of %s lack %s until it is known: %s", want.kind, want.period.name, unknown.why)
        return False
