"""The calls that the statistics have counted lately, in bounded memory. Pure: knows neither log nor store.

The statistics never ask the store, which may be away. So they know a repeat or a revision only of a call that is still
remembered here; how far back that goes is told by `horizon_ms`.
"""

from collections import OrderedDict
from collections.abc import Sequence

from llmtrail.core.price_inputs import price_inputs
from llmtrail.store.rows import CallRow, KnownCall
from llmtrail_ingest.writer.seen import made_at_ms, tells_time
from llmtrail_ingest.writer.step import laid_over

# What a policy declared for a failure counts, so that a revision takes back what was counted.
_ALSO = ("policy_declared",)
_NS_PER_MS = 1_000_000
_AHEAD_MS_MAX = 24 * 3_600_000
_MS_BITS = 80  # A UUIDv7 begins with 48 bits of milliseconds; 80 bits follow.


class CountedCalls:
    """Remembers what each call counted for, the latest ones, at about 900 bytes each. For one thread."""

    def __init__(self, calls_max: int) -> None:
        self._calls_max = calls_max
        # By id: the calls of all tenants that have one of it.
        self._calls: OrderedDict[int, tuple[KnownCall, ...]] = OrderedDict()
        self._count = 0
        # Of a forgotten call nothing is known any more; none of them was made after this.
        self.horizon_ms = 0

    def remember(self, row: CallRow) -> None:
        """Remember a call as it counts now."""
        former, now = self._calls.pop(row.call_key, ()), _without_content(row)
        known = laid_over(former, now) if former else (now,)
        self._calls[row.call_key] = known
        self._count += len(known) - len(former)
        while self._count > self._calls_max:
            key, forgotten = self._calls.popitem(last=False)
            self._count -= len(forgotten)
            # Of an id from clocks that are ahead nothing is known until ours have caught up; what claims more tells
            # nothing, and would leave no revision to be matched.
            made_ms = made_at_ms(key, row.ingested_at_ns // _NS_PER_MS + _AHEAD_MS_MAX)
            if made_ms is not None:
                self.horizon_ms = max(self.horizon_ms, made_ms)

    def forget_before(self, made_ms: int) -> None:
        """Take note that nothing is known of calls made before a time, in epoch milliseconds."""
        self.horizon_ms = max(self.horizon_ms, made_ms)

    def known(self, call_keys: Sequence[int]) -> dict[int, tuple[KnownCall, ...]]:
        """Return what is remembered under these ids."""
        return {key: self._calls[key] for key in call_keys if key in self._calls}

    def ahead_of(self, after_ms: int, ids_max: int) -> list[int]:
        """Return the calls whose UUIDv7 claims to be made after a time, the latest first."""
        ahead = [key for key in self._calls if key >> _MS_BITS > after_ms and tells_time(key)]
        return sorted(ahead, reverse=True)[:ids_max]

    def newest_made_ms(self, before_ms: int) -> int | None:
        """Return a time after which no counted call was made, of those made before `before_ms`; None: none counted."""
        if not self._calls:
            return None
        # Any id but a UUIDv7 tells no time, and reads as a late one at worst: it is then asked for in vain.
        made = (key >> _MS_BITS for key in self._calls)
        return max(self.horizon_ms, max((ms for ms in made if ms < before_ms), default=0))


def _without_content(row: CallRow) -> KnownCall:
    return KnownCall(
        call=price_inputs(row.call, _ALSO),
        revision=row.call.revision,
        content_hash=row.content_hash,
        first_ingested_at_ns=row.first_ingested_at_ns,
        bodies_key=row.bodies_key,
        ingested_at_ns=row.ingested_at_ns,
        counted_at_ns=row.counted_at_ns,
        prompt_fingerprint=row.prompt_fingerprint,
        cost_nanousd=row.cost_nanousd,
        tenant=row.tenant,
        is_stated=row.is_stated,
        model=row.model,
        estimated_input_tokens=row.estimated_input_tokens,
        estimated_output_tokens=row.estimated_output_tokens,
        topic_id=row.topic_id,
        partition=row.partition,
        offset=row.offset,
    )
