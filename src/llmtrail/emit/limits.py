"""Which calls a reached limit stops, as this process knows it. Never blocks a caller, never raises; knows no client.

A thread of its own listens for limits, from the first wrapped call on. What is known of a limit holds until its period
ends, whether the source can be reached or not: spend that was made stays made. Where nothing is known, or nothing was
heard for a while, calls that no known limit stops are let through and counted; with `closed` they are stopped.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from threading import Condition, Event, RLock, Thread
from typing import Any, Final

from llmtrail.clock import Clock
from llmtrail.core.limit import Behaviour, Caller, LimitChange, LimitLevel, LimitState, LimitTable, UnreadLimit
from llmtrail.emit.limit_source import LimitsAwayError, LimitSource, News
from llmtrail.emit.tally import LOGGER

# What was heard longer ago than this is stale: two long polls, and time for a gateway to be restarted.
STALE_NS: Final = 60_000_000_000
# A limit whose end nobody told (a request's, a session's) is believed this long after the source fell silent: what
# such limits count is remembered for an hour.
ENDLESS_NS: Final = 3_600_000_000_000
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_LAST_S: Final = 30.0
# More than the largest test of ours has; each weighs half a kilobyte.
LIMITS_MAX: Final = 200_000
# Thousands of processes listen: when limits change all the time, each asks five times a second.
_PACE_S: Final = 0.2


class LimitsMode(StrEnum):
    """What becomes of calls while limits are unknown."""

    OPEN = "open"  # they are made, and counted
    CLOSED = "closed"  # they are stopped
    OFF = "off"  # limits are neither listened for nor kept to


class RefusalReason(StrEnum):
    """Why a call is stopped."""

    BUDGET_EXCEEDED = "budget_exceeded"
    BUDGET_UNAVAILABLE = "budget_unavailable"  # limits are not known, and calls are to be stopped then


@dataclass(frozen=True, slots=True)
class Refusal:
    """That a call is stopped, and by what."""

    reason: RefusalReason
    limit: LimitState | None


_UNAVAILABLE: Final = Refusal(RefusalReason.BUDGET_UNAVAILABLE, None)


def mode_of(name: str) -> LimitsMode:
    """Return the mode of that name. Raises ValueError for an unknown one."""
    try:
        return LimitsMode(name)
    except ValueError:
        known = ", ".join(LimitsMode)
        raise ValueError(f"LLMTRAIL_LIMITS {name!r} is not known; choose one of {known}") from None


class Limits:
    """What this process knows of limits.

    Callers look at `may_refuse` alone while nothing is limited; `check` is asked when it is set.
    """

    __slots__ = (
        "_clock",
        "_counts",
        "_fraction",
        "_heard_ns",
        "_is_short",
        "_is_stopped",
        "_lock",
        "_make_source",
        "_mode",
        "_news",
        "_source",
        "_table",
        "_tenant",
        "_thread",
        "_unread",
        "_wake",
        "may_refuse",
    )

    def __init__(
        self, mode: LimitsMode, make_source: Callable[[], LimitSource], clock: Clock, fraction: Callable[[], float]
    ) -> None:
        self._mode = mode
        self._make_source = make_source
        self._clock = clock
        self._fraction = fraction
        self._table = LimitTable()
        # What cannot be read of limits, as if each were hard: it stops whoever fails closed.
        self._unread = LimitTable()
        self._is_short = False  # there was no room for some of the limits
        self._tenant = ""
        self._heard_ns: int | None = None
        self._counts: Counter[str] = Counter()
        self._begin()

    def _begin(self) -> None:
        self._lock = RLock()
        self._news = Condition(self._lock)
        self._wake = Event()
        self._thread: Thread | None = None
        self._source: LimitSource | None = None
        self._is_stopped = False
        # Set until it is known that nothing is limited: then the first call starts the thread.
        self.may_refuse = self._mode is not LimitsMode.OFF

    @property
    def is_on(self) -> bool:
        """Say whether limits are kept to."""
        return self._mode is not LimitsMode.OFF

    def after_fork(self) -> "Limits":
        """Return the same for a forked child: what the parent knew, its own counts and thread."""
        child = Limits(self._mode, self._make_source, self._clock, self._fraction)
        child._table, child._unread, child._is_short = self._table, self._unread, self._is_short
        child._tenant, child._heard_ns = self._tenant, self._heard_ns
        return child

    def check(self, fields: Mapping[str, Any], model: str | None, provider: str | None = None) -> Refusal | None:
        """Return what stops a call with these fields of its request, or None. Starts listening at the first call.

        `model` is what the call asks for, by whatever name; `provider` the client's, where it is known.
        """
        if self._thread is None:
            self.listen()
        if self._mode is LimitsMode.OPEN and not self._table.has_hard:
            # Nothing was ever learnt that could stop it: no need to look who calls.
            self.count("passed_unknown" if self._heard_ns is None else "passed_stale")
            return None
        get = fields.get
        tenant = self._tenant or get("tenant") or ""
        caller = Caller(tenant, get("feature"), get("user_id"), model, get("request_id"), get("session_id"), provider)
        limit = self._table.refusing(caller, self._clock.now_ns())
        if limit is not None and limit.behaviour is Behaviour.CHEAPER_MODEL and limit.wants(model, provider):
            limit = None  # It is what the rule wants.
        silent_ns = self._silent_ns()
        if limit is not None and (limit.resets_at_ns or silent_ns < ENDLESS_NS):
            return Refusal(RefusalReason.BUDGET_EXCEEDED, limit)
        is_closed = self._mode is LimitsMode.CLOSED
        if is_closed and (silent_ns >= STALE_NS or self._is_unknown(caller)):
            return _UNAVAILABLE
        if silent_ns < STALE_NS:
            return None
        self.count("passed_unknown" if self._heard_ns is None else "passed_stale")
        return None

    def _is_unknown(self, caller: Caller) -> bool:
        """Whether a limit that is not known may stop a call."""
        return self._is_short or self._unread.refusing(caller, self._clock.now_ns()) is not None

    def listen(self) -> None:
        """Start listening, unless it is done already or limits are off. Never raises."""
        if self._mode is LimitsMode.OFF:
            return
        with self._lock:
            if self._is_stopped or (self._thread is not None and self._thread.is_alive()):
                return
            thread = Thread(target=self._run, name="llmtrail-limits", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # No more threads, or the interpreter is ending: limits stay unknown.
                LOGGER.debug("llmtrail cannot listen for limits: %r", error)
                return
            self._thread = thread

    def wait_until_known(self, timeout_s: float) -> bool:
        """Wait until limits are known, at most `timeout_s` seconds; say whether they are."""
        if self._mode is LimitsMode.OFF:
            return True
        self.listen()
        with self._news:
            return self._news.wait_for(lambda: self._silent_ns() < STALE_NS, timeout_s)

    def count(self, what: str) -> None:
        """Count something that became of a call."""
        with self._lock:
            self._counts[what] += 1

    def counts(self) -> dict[str, int]:
        """Return the counts."""
        with self._lock:
            return dict(self._counts)

    def stop(self) -> None:
        """End the thread; what is known stays known."""
        with self._lock:
            self._is_stopped = True
            source = self._source
        self._wake.set()
        if source is not None:
            source.abort()

    def _silent_ns(self) -> int:
        heard_ns = self._heard_ns
        return ENDLESS_NS if heard_ns is None else self._clock.monotonic_ns() - heard_ns

    def _run(self) -> None:
        failures = 0
        while not self._is_stopped:
            rest_s = _PACE_S
            try:
                self._hear()
                failures = 0
            except LimitsAwayError as error:
                failures += 1
                rest_s = self._rest_s(failures, error)
                self._away(error.reason, is_without_limits=error.is_without_limits)
            except Exception as error:  # noqa: BLE001  # A loop's edge: limits must be heard of again later.
                failures += 1
                rest_s = BACKOFF_LAST_S
                self._away(type(error).__name__)
                LOGGER.debug("llmtrail could not hear of limits: %r", error)
            self._wake.wait(rest_s)
        if self._source is not None:
            self._source.close()

    def _hear(self) -> None:
        source = self._source
        if source is None:
            try:
                source = self._source = self._make_source()
            except ValueError as error:
                raise LimitsAwayError("settings", BACKOFF_LAST_S) from error
        news = source.next()
        table = self._taken(news)
        unread = self._taken_unread(news)
        with self._news:
            self._table, self._unread = table, unread
            self._tenant = news.tenant
            if news.unread:
                self._counts["unreadable"] += news.unread
            if news.is_complete:
                self._heard_ns = self._clock.monotonic_ns()
            stops = table.has_hard or (self._mode is LimitsMode.CLOSED and (unread.has_hard or self._is_short))
            self.may_refuse = stops or self._heard_ns is None
            self._news.notify_all()

    def _taken(self, news: News) -> LimitTable:
        """Return the table with the news in it, as far as there is room; only hard limits stop calls."""
        table = self._table
        if news.is_new_table:
            table, self._is_short = LimitTable(), False
        wanted = {
            key: limit if limit and limit.state is LimitLevel.HARD else None
            for key, limit in news.changes.items()
            # What was last read of it holds until more can be.
            if not isinstance(limit, UnreadLimit)
        }
        return self._changed(table, wanted)

    def _taken_unread(self, news: News) -> LimitTable:
        """Return the limits that cannot be read, after the news."""
        table = LimitTable() if news.is_new_table else self._unread
        changes: Mapping[str, LimitChange] = news.changes
        return self._changed(
            table,
            {key: limit.as_hard() if isinstance(limit, UnreadLimit) else None for key, limit in changes.items()},
        )

    def _changed(self, table: LimitTable, wanted: dict[str, LimitState | None]) -> LimitTable:
        if not any(limit is not None or table.get(key) is not None for key, limit in wanted.items()):
            return table
        room = LIMITS_MAX - len(table)
        new = [key for key, limit in wanted.items() if limit is not None and table.get(key) is None]
        for key in new[max(0, room) :]:
            del wanted[key]
            self._is_short = True
            self.count("no_room")
        return table.changed(wanted)

    def _away(self, reason: str, *, is_without_limits: bool = False) -> None:
        self.count(f"source_{reason}")
        if is_without_limits and self._mode is LimitsMode.OPEN:
            # Nobody there limits anything; what was learnt of another gateway holds.
            self.may_refuse = self._table.has_hard
        elif self._silent_ns() >= STALE_NS:
            # Callers are to count, or to stop, what goes by without being known.
            self.may_refuse = True

    def _rest_s(self, failures: int, error: LimitsAwayError) -> float:
        backoff_s = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2.0 ** min(failures - 1, 16))
        return max(backoff_s * (0.5 + self._fraction() / 2), error.wait_s or 0.0)
