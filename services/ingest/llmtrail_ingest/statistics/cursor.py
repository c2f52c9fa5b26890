"""The statistics' own cursor over `llm.calls`: the writer's steps, with partials for a store. It asks no store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from llmtrail.core.partial import Partial
from llmtrail.core.pricing import PriceBook
from llmtrail.core.scope import SHARDS
from llmtrail.log.port import CALLS, GroupLog, LogClosedError
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall
from llmtrail_ingest.statistics.known import CountedCalls
from llmtrail_ingest.statistics.outlet import Outlet
from llmtrail_ingest.statistics.partials import partials_of
from llmtrail_ingest.writer.pipeline import Writer
from llmtrail_ingest.writer.seen import SeenIds, made_at_ms
from llmtrail_ingest.writer.step import Batch, StepContext, step

GROUP = "llmtrail.statistics"
# One batch in flight: partials of a partition reach their shards in the order of its ranges.
IN_FLIGHT = 1
# A read waits ten seconds; a broker that says nothing for three of them is away, and the group joins anew.
SILENT_READS_MAX = 3
# A shard that gets nothing is told the time this often, so that its slots grow old like the others'.
HEARTBEAT_S = 30
_READ_RECORDS = 5_000
_READ_BYTES = 32 * 1024 * 1024
_NEVER_MS = 2**62
_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000


class RereadLog(GroupLog, Protocol):
    """A partition whose records before the cursor can be read again."""

    def start(self, topic: str, partition: int) -> int:
        """Return the offset of the first record that can be read."""


@dataclass(frozen=True, slots=True)
class Publishing:
    """Where partials go, and what says which features' users are counted one by one."""

    outlet: Outlet
    feature_users: Callable[[], frozenset[str]] = frozenset
    # Told of revisions of calls that are no longer remembered: they are not in the statistics.
    unmatched: Callable[[int], None] = lambda _: None


class PartialsSink:
    """A sink that stores nothing and remembers what was counted; `publish` is the writer's `statistics`."""

    def __init__(self, publishing: Publishing, counted: CountedCalls) -> None:
        self._publishing = publishing
        self._counted = counted
        self._told_s = [0] * SHARDS

    def publish(self, batch: Batch) -> None:
        """Publish what a range adds; durable when it returns. The same range again is dropped by the fence."""
        if not batch.rows:
            return
        watermark_ns = batch.rows[-1].ingested_at_ns
        counting = without_unmatched(batch, self._counted.horizon_ms)
        self._publishing.unmatched(len(batch.rows) - len(counting.rows))
        partials = partials_of(counting, watermark_ns, self._publishing.feature_users())
        self._publishing.outlet.send(partials + self._heartbeats(partials, watermark_ns // _NS_PER_S))
        for row in counting.rows:
            self._counted.remember(row)

    def _heartbeats(self, partials: Sequence[Partial], watermark_s: int) -> list[Partial]:
        for one in partials:
            self._told_s[one.shard] = watermark_s
        quiet = [shard for shard, told_s in enumerate(self._told_s) if told_s <= watermark_s - HEARTBEAT_S]
        for shard in quiet:
            self._told_s[shard] = watermark_s
        return [Partial(shard=shard, watermark_s=watermark_s) for shard in quiet]

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        """Store nothing: the partials were published before."""

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Store nothing: the rows' cursor keeps them."""

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        """Return what was counted of these calls, as far as it is remembered."""
        return self._counted.known(call_keys)

    def newest_made_ms(self, before_ms: int) -> int | None:
        """Return the latest time at which a call that was counted claims to be made; None: none was."""
        return self._counted.newest_made_ms(before_ms)

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        """Return the calls that were counted and claim to be made after a time, the latest first."""
        return self._counted.ahead_of(after_ms, ids_max)

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        """Return 0: the fence tells what was counted."""
        del rows
        return 0


def without_unmatched(batch: Batch, horizon_ms: int) -> Batch:
    """Return the range without revisions of calls that may have been counted and forgotten: nothing tells by how much.

    A revision of a call made after the horizon, of which nothing is known, is the first that was heard of it.
    """
    lost = [
        index
        for index, row in enumerate(batch.rows)
        if row.call.revision and index not in batch.formers and not _is_younger(row, horizon_ms)
    ]
    if not lost:
        return batch
    kept = [index for index in range(len(batch.rows)) if index not in set(lost)]
    return replace(
        batch,
        rows=[batch.rows[index] for index in kept],
        formers={place: batch.formers[index] for place, index in enumerate(kept) if index in batch.formers},
    )


def _is_younger(row: CallRow, horizon_ms: int) -> bool:
    made_ms = made_at_ms(row.call_key, row.ingested_at_ns // _NS_PER_MS)
    return horizon_ms == 0 or (made_ms is not None and made_ms > horizon_ms)


class StatisticsCursor:
    """Works on one partition: looks back first, so that repeats and revisions are known, then counts."""

    def __init__(self, log: RereadLog, partition: int, writer: Writer, counted: CountedCalls, book: PriceBook) -> None:
        self._log = log
        self._partition = partition
        self._writer = writer
        self._counted = counted
        self._book = book

    def run(self) -> None:
        """Look back, then count until stopped."""
        try:
            self.look_back()
        except LogClosedError:
            return
        self._writer.run()

    def stop(self) -> None:
        """Ask `run` to finish what is in flight and return."""
        self._writer.stop()

    def look_back(self) -> int:
        """Remember the calls before the cursor; return how many there were."""
        first = self._log.start(CALLS, self._partition)
        offset, committed = first, self._log.committed(GROUP, CALLS, self._partition)
        remembered, silent = 0, 0
        while offset < committed and silent < SILENT_READS_MAX:
            count = min(committed - offset, _READ_RECORDS)
            records = self._log.read(CALLS, self._partition, offset, count, _READ_BYTES)
            if not records.values:
                # The brokers are slow; or the last places before the cursor are marks, which are no records.
                silent += 1
                continue
            if records.first_offset >= committed:
                break
            silent = 0
            records = records.first(committed - records.first_offset)
            if offset == first and first > 0:
                # Calls from before here are not looked at: what revises one of them finds no former.
                self._counted.forget_before(records.appended_at_ns[0] // _NS_PER_MS)
            # Nothing is surely new here: what an earlier run of records told of a call is known by `counted` alone.
            seen = SeenIds(_NEVER_MS)
            context = StepContext(seen=seen, under_way=(), look_up=self._counted.known, book=self._book)
            # A revision that was not counted, because its call was no longer remembered, is not to be taken back.
            for row in without_unmatched(step(records, context), self._counted.horizon_ms).rows:
                self._counted.remember(row)
                remembered += 1
            offset = max(records.next_offset, offset + 1)
        if silent and not remembered:
            # To go on with nothing remembered would count every repeat twice. The group starts this worker anew.
            raise RuntimeError(f"{CALLS}[{self._partition}]: the brokers give no records from {offset} to {committed}.")
        return remembered
