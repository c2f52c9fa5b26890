"""Count what became of spans and log records, and keep one example of what looked like a call and was passed over.

Safe for several threads. Knows neither HTTP nor metrics: counts go to the functions that it is given.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from llmtrail_ingest.otlp.admit import Passed
from llmtrail_ingest.otlp.records import RejectReason, SkipReason
from llmtrail_ingest.tally import Fate

# Scopes of applications, by reason: a hundred bytes each. What comes beyond is counted under no scope.
EXAMPLES_MAX = 256
_NAME_LENGTH_MAX = 200
_OTHERS = "(other scopes)"


class Outcome(Protocol):
    """What a request held: `Admitted` and `OtlpAnswer` are one."""

    @property
    def received(self) -> int:
        """How many records it held."""

    @property
    def skipped(self) -> Mapping[SkipReason, int]:
        """Those that add nothing, by reason."""

    @property
    def rejected(self) -> Mapping[RejectReason, int]:
        """Those that cannot be taken, by reason."""

    @property
    def passed(self) -> Mapping[tuple[str, SkipReason], Passed]:
        """Those that looked like calls and are none, by scope and reason."""


@dataclass(frozen=True, slots=True)
class SpanCounters:
    """Where counts go: by what became of records, and by the reason why they were skipped."""

    by_fate: Callable[[Fate, int], None]
    by_reason: Callable[[str, int], None]


class SpanLedger:
    """The counts of a process, and its examples."""

    def __init__(self, counters: SpanCounters) -> None:
        self._counters = counters
        self._lock = threading.Lock()
        self._passed: dict[tuple[str, SkipReason], Passed] = {}

    def note(self, outcome: Outcome) -> None:
        """Count what became of a request's records."""
        skipped, rejected = sum(outcome.skipped.values()), sum(outcome.rejected.values())
        self._counters.by_fate(Fate.RECEIVED, outcome.received)
        self._counters.by_fate(Fate.ACKNOWLEDGED, outcome.received - skipped - rejected)
        self._counters.by_fate(Fate.SKIPPED, skipped)
        self._counters.by_fate(Fate.REJECTED, rejected)
        for reason, records in outcome.skipped.items():
            self._counters.by_reason(reason.value, records)
        if outcome.passed:
            with self._lock:
                for key, passed in outcome.passed.items():
                    self._add(key, passed)

    def passed_over(self) -> list[dict[str, Any]]:
        """Return what looked like calls and was passed over since the process began, most frequent first."""
        with self._lock:
            found = [
                {"scope": scope, "reason": reason.value, "records": passed.records, "example": passed.example}
                for (scope, reason), passed in self._passed.items()
            ]
        return sorted(found, key=lambda one: (-one["records"], one["scope"], one["reason"]))

    def _add(self, key: tuple[str, SkipReason], passed: Passed) -> None:
        scope, reason = key
        key = scope[:_NAME_LENGTH_MAX], reason
        if key not in self._passed and len(self._passed) >= EXAMPLES_MAX:
            key = _OTHERS, reason
        self._passed.setdefault(key, Passed(passed.example[:_NAME_LENGTH_MAX])).records += passed.records
