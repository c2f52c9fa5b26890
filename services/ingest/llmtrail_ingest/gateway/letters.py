"""What becomes of rejected events: dead letters, cut to what a record holds, within each tenant's bound a day."""

import base64
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from llmtrail.log.port import Append, cut_to_letter
from llmtrail_ingest.dead_letter import Letter, letters_append
from llmtrail_ingest.gateway.admit import Rejected

# A reason in words may quote what a sender wrote.
DETAIL_LENGTH_MAX = 1_000
# What a letter takes beside its value, so that very small ones have a bound as well.
LETTER_BYTES = 512
_DAY_NS = 86_400 * 1_000_000_000


class LetterQuota:
    """Bytes of dead letters that each tenant may have kept today (UTC). Safe from several threads; one per process."""

    def __init__(self, bytes_max: int, now_ns: Callable[[], int]) -> None:
        """Take the bound and a clock."""
        self._bytes_max = bytes_max
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._day = 0
        self._kept: dict[str, int] = {}

    def take(self, tenant: str, size_bytes: int) -> bool:
        """Count a letter of a tenant ("" where the sender has none); whether it may be kept."""
        day = self._now_ns() // _DAY_NS
        with self._lock:
            if day != self._day:
                self._day, self._kept = day, {}
            kept = self._kept.get(tenant, 0) + size_bytes + LETTER_BYTES
            if kept > self._bytes_max:
                return False
            self._kept[tenant] = kept
            return True


@dataclass(slots=True)
class Letters:
    """The letters of one body, ready for the log, and how many found no room."""

    appends: list[Append] = field(default_factory=list)
    unkept: int = 0


def letters_for(
    rejected: Iterable[Rejected], tenant: str | None, headers: Mapping[str, str], quota: LetterQuota
) -> Letters:
    """Return the letters of what was rejected."""
    found = Letters()
    letters: list[Letter] = []
    for one in rejected:
        kept, note = cut_to_letter(one.value)
        if not quota.take(tenant or "", len(kept)):
            found.unkept += 1
            continue
        detail = one.detail[:DETAIL_LENGTH_MAX] + note
        letters.append(
            Letter(
                reason=one.reason,
                detail=detail,
                source=headers["source"],
                value_base64=base64.b64encode(kept).decode(),
                index=one.index,
                call_id=one.call_id,
                tenant=tenant,
            )
        )
    if letters:
        found.appends.append(letters_append(letters, headers))
    return found
