"""Counts what became of every recorded call, by reason. Knows nothing of why; it only adds up."""

import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from threading import RLock
from typing import Final

LOGGER: Final = logging.getLogger("llmtrail")
# Reasons come from the gateway too; a gateway gone mad must not grow the table without bound.
_REASONS_MAX: Final = 64
_OTHER: Final = "other"
_OF_ONE_CALL: Final = re.compile(r"'[^']*'|\d+")


class DropReason(StrEnum):
    """Why a recorded call never reached the gateway."""

    QUEUE_FULL = "queue_full"  # handed over faster than the background could take it
    NOT_A_CALL = "not_a_call"  # its builder found nothing to record
    BUILD_FAILED = "build_failed"  # its builder raised
    INVALID = "invalid"  # recorded by hand, and not a call event
    NOT_ENCODED = "not_encoded"  # JSON cannot say it
    TOO_LARGE = "too_large"  # the gateway refused its size even when it was alone
    SPOOL_FULL = "spool_full"  # the oldest of a spool at its limit
    SPOOL_FAILED = "spool_failed"  # the disk did not take it and memory was full
    SPOOL_CORRUPT = "spool_corrupt"  # the disk did not give it back


class StripReason(StrEnum):
    """Why a call was kept without its text: ids, model, tokens and money stay."""

    SPOOL_FULL = "spool_full"
    TOO_LARGE = "too_large"
    REDACTION_FAILED = "redaction_failed"


@dataclass(frozen=True, slots=True)
class Stats:
    """What became of everything recorded in this process.

    At rest, `recorded + adopted == sent_accepted + rejected + dropped + spooled_pending + queued`.
    """

    recorded: int  # calls handed over, and revisions made of them
    adopted: int  # left in the spool by processes that are gone
    sent_accepted: int  # acknowledged by the gateway as durable
    rejected: dict[str, int] = field(default_factory=dict)  # by the gateway, by its reason
    dropped: dict[str, int] = field(default_factory=dict)  # by `DropReason`
    stripped: dict[str, int] = field(default_factory=dict)  # kept without text, by `StripReason`
    moved: dict[str, int] = field(default_factory=dict)  # fields that fitted nowhere and became attributes, by field
    without_request: int = 0  # of those recorded: calls that no request id can find; see `llmtrail.bind`
    spooled_pending: int = 0
    queued: int = 0
    send_failures: dict[str, int] = field(default_factory=dict)  # attempts to send that failed; their calls wait
    limits: dict[str, int] = field(
        default_factory=dict
    )  # what limits did to calls, and what kept them from being known

    @property
    def rejected_total(self) -> int:
        """Return how many calls the gateway rejected."""
        return sum(self.rejected.values())

    @property
    def dropped_total(self) -> int:
        """Return how many calls were dropped."""
        return sum(self.dropped.values())

    @property
    def adds_up(self) -> bool:
        """Say whether every recorded call is accounted for; holds whenever the SDK is at rest."""
        gone = self.sent_accepted + self.rejected_total + self.dropped_total
        return self.recorded + self.adopted == gone + self.spooled_pending + self.queued


class Tally:
    """Counters behind one lock. Each reason is logged once, so that a storm cannot fill the application's log."""

    def __init__(self) -> None:
        # Re-entrant: a garbage collection inside a count may record a call.
        self.lock = RLock()
        self.adopted = 0
        self.accepted = 0
        self.without_request = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.stripped: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.send_failures: Counter[str] = Counter()
        self._told: set[tuple[str, str, str]] = set()

    def drop(self, reason: DropReason, detail: object = "", calls: int = 1) -> None:
        """Count calls that are gone."""
        kind = _kind(detail) if reason is DropReason.INVALID else ""
        self._count(self.dropped, "dropped a call", reason, detail, calls, kind)

    def strip(self, reason: StripReason, detail: object = "", calls: int = 1) -> None:
        """Count calls that lost their text and nothing else."""
        self._count(self.stripped, "kept a call without its text", reason, detail, calls)

    def move(self, name: str, detail: object) -> None:
        """Count a field of a call that fitted nowhere and became one of its attributes."""
        self._count(self.moved, "kept a field of a call among its attributes", name, detail, 1)

    def reject(self, reason: str, detail: object = "", calls: int = 1) -> None:
        """Count calls that the gateway took as bad."""
        self._count(self.rejected, "the gateway rejected a call", reason, detail, calls, _kind(detail))

    def fail(self, reason: str, sentence: str) -> None:
        """Count one failed attempt to send; nothing is lost by it. `sentence` is logged once a reason."""
        with self.lock:
            known = reason in self.send_failures or len(self.send_failures) < _REASONS_MAX
            self.send_failures[reason if known else _OTHER] += 1
        if self._is_new(("send", reason, "")):
            LOGGER.warning("%s", sentence)

    def tell(self, what: str, reason: str, detail: object, kind: str = "") -> None:
        """Log once per reason and kind of it, at warning level."""
        if self._is_new((what, reason, kind)):
            LOGGER.warning(
                "llmtrail %s (%s): %s; more of this kind is counted in llmtrail.stats()", what, reason, detail
            )

    def _is_new(self, key: tuple[str, str, str]) -> bool:
        with self.lock:
            if key in self._told or len(self._told) > _REASONS_MAX:
                return False
            self._told.add(key)
            return True

    def _count(self, counter: Counter[str], what: str, reason: str, detail: object, calls: int, kind: str = "") -> None:
        if calls <= 0:
            return
        with self.lock:
            known = reason in counter or len(counter) < _REASONS_MAX
            counter[str(reason) if known else _OTHER] += calls
        self.tell(what, reason, detail, kind)


def _kind(detail: object) -> str:
    """Return a detail without what differs from call to call: what it quotes, and its numbers."""
    return _OF_ONE_CALL.sub("", str(detail))[:200]
