"""Remember which calls were written lately, in bounded memory. Pure: knows nothing of the store.

A call id may be asked three ways: surely new, surely or possibly known. Only what is not surely new costs a
look into the store, so a stream of fresh ids costs none.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

# Two generations of this many ids, about 100 bytes each: at most 100 MB.
GENERATION_IDS_MAX = 500_000
# Ids that claim to be made later than now, about 200 bytes each: those of 800 calls a second from clocks five minutes
# ahead. Beyond that, whatever was made before the latest of them is looked up.
AHEAD_IDS_MAX = 250_000
# A UUIDv7 that claims to be made later than it arrived, by more than clocks differ, tells nothing of its age.
AHEAD_MS_MAX = 60_000
_LOW_64 = (1 << 64) - 1
_MS_BITS = 80  # A UUIDv7 begins with 48 bits of milliseconds; 80 bits follow.


class SeenIds:
    """The ids written since `started_ms`, newest kept: whatever is forgotten was made before `horizon_ms`.

    Ids ahead of our clock are kept apart until it has caught up: no horizon could hold them without holding up others.
    """

    def __init__(
        self, started_ms: int, generation_ids_max: int = GENERATION_IDS_MAX, ahead: Iterable[int] = ()
    ) -> None:
        """Begin at a time; `ahead` are the calls written before that claim a later one, the latest first."""
        self._horizon_ms = started_ms
        self._ahead: set[int] = set()
        self._by_made: list[tuple[int, int]] = []  # the same ids as a heap, earliest first
        self._current: set[int] = set()
        self._former: set[int] = set()
        self._current_newest_ms = started_ms
        self._former_newest_ms = started_ms
        self._generation_ids_max = generation_ids_max
        for call_key in ahead:
            self._add_ahead(call_key)

    @property
    def horizon_ms(self) -> int:
        """Return the time before which ids may have been forgotten, in epoch milliseconds."""
        return self._horizon_ms

    def surely_new(self, call_key: int, arrived_ms: int) -> bool:
        """Say whether this call was certainly never written before.

        Only a UUIDv7 younger than the horizon can tell; `arrived_ms` unmasks ids with a clock ahead of ours.
        """
        made_ms = made_at_ms(call_key, arrived_ms)
        if made_ms is None or made_ms <= self._horizon_ms:
            return False
        low = call_key & _LOW_64
        return low not in self._current and low not in self._former and low not in self._ahead

    def add(self, call_key: int, arrived_ms: int) -> None:
        """Remember a call that is being written."""
        if not tells_time(call_key):
            return  # Its age is unknown, so it is always looked up: remembering it would gain nothing.
        made_ms = call_key >> _MS_BITS
        if made_ms > arrived_ms + AHEAD_MS_MAX:
            self._add_ahead(call_key)
        else:
            self._add(call_key & _LOW_64, made_ms)
        while self._by_made and self._by_made[0][0] <= arrived_ms + AHEAD_MS_MAX:
            made_ms, low = heappop(self._by_made)
            self._ahead.discard(low)
            self._add(low, made_ms)

    def _add(self, low: int, made_ms: int) -> None:
        if len(self._current) >= self._generation_ids_max:
            self._turn()
        self._current.add(low)
        self._current_newest_ms = max(self._current_newest_ms, made_ms)

    def _add_ahead(self, call_key: int) -> None:
        low, made_ms = call_key & _LOW_64, call_key >> _MS_BITS
        if low in self._ahead:
            return
        if len(self._ahead) >= AHEAD_IDS_MAX:
            self._horizon_ms = max(self._horizon_ms, made_ms)
            return
        self._ahead.add(low)
        heappush(self._by_made, (made_ms, low))

    def _turn(self) -> None:
        """Forget the elder generation; nothing made after its newest id is ever forgotten by this."""
        self._horizon_ms = max(self._horizon_ms, self._former_newest_ms)
        self._former, self._former_newest_ms = self._current, self._current_newest_ms
        self._current = set()


def made_at_ms(call_key: int, arrived_ms: int) -> int | None:
    """Return when a call id was made, in epoch milliseconds, or None where the id cannot be trusted to tell."""
    if not tells_time(call_key):
        return None
    made_ms = call_key >> _MS_BITS
    return made_ms if made_ms <= arrived_ms + AHEAD_MS_MAX else None


def tells_time(call_key: int) -> bool:
    """Return whether a call id says when it was made."""
    return (call_key >> 76) & 0xF == 7  # The version stands in these four bits (RFC 9562).


def call_key_of(call_id: str) -> int:
    """Return a call id (a UUID as text, checked at decoding) as the 128-bit integer that orders and finds rows."""
    return int(call_id.replace("-", ""), 16)
