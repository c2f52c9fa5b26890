"""Carry planned ranges of the log into the store, each exactly once in effect. Acts; `step` decides."""

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from llmtrail.clock import Clock
from llmtrail.core.pricing import PriceBook
from llmtrail.log.port import CALLS, GroupLog, LogClosedError, Plan, PlanTooLongError, Records
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall
from llmtrail_ingest.tally import Fate, Tally
from llmtrail_ingest.writer.decisions import Decisions, from_note, to_note
from llmtrail_ingest.writer.lanes import RANGES_MAX, Lanes
from llmtrail_ingest.writer.seen import AHEAD_IDS_MAX, AHEAD_MS_MAX, SeenIds
from llmtrail_ingest.writer.step import Batch, StepContext, step

_LOG = logging.getLogger(__name__)

GROUP = "writer"
# Larger blocks insert no faster and take gigabytes (two are in flight); smaller ones leave many parts to merge.
BATCH_ROWS_MAX = 10_000
# 10,000 calls of 3 kB, twice over; larger calls make smaller batches, so that memory stays bounded.
BATCH_BYTES_MAX = 64 * 1024 * 1024
# Freshness against part count: a part every quarter second merges well, and nobody waits longer.
BATCH_MS_MAX = 250
# As many as there are lanes: a process with one partition uses all of them for it.
IN_FLIGHT_MAX = RANGES_MAX
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 10.0
# A planned range was on the log, so it is there: it is waited for, not given up.
REPEAT_S_MAX = 30.0
_IDLE_S = 0.5
# With nothing to read, finished inserts are still to be committed soon.
_UNDER_WAY_S = 0.02
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000


class Sink(Protocol):
    """The store as the writer needs it."""

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        """Insert all rows of one range; the same token again adds nothing."""

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Insert the dead letters of one range; the same token again adds nothing."""

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        """Return what is stored under these ids, latest revision each: a call of every tenant that has one."""

    def newest_made_ms(self, before_ms: int) -> int | None:
        """Return a time after which no UUIDv7 of the store was made, leaving out those from `before_ms` on."""

    def ahead_of(self, after_ms: int, ids_max: int) -> Sequence[int]:
        """Return the calls whose UUIDv7 claims to be made after a time, the latest first, `ids_max` at most."""

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        """Count the rows of one range that are in the store neither as they are nor in a later revision."""


class Company(Protocol):
    """Says how long ranges wait to be filled, where that is not always the same. For all partitions of a process."""

    def wait_s(self) -> float:
        """Return how long a range that has its first call waits for others, in seconds."""

    def took(self, seconds: float) -> None:
        """Take note of how long a range took: to be planned and counted, or to be inserted."""


@dataclass(frozen=True, slots=True)
class WriterConfig:
    """How ranges are cut. `batch_ms` bounds how long a call waits for company."""

    batch_rows: int = BATCH_ROWS_MAX
    batch_bytes: int = BATCH_BYTES_MAX
    batch_ms: int = BATCH_MS_MAX
    in_flight: int = IN_FLIGHT_MAX
    checked: bool = False  # whether only our own gateway writes to the log
    group: str = GROUP


@dataclass(frozen=True, slots=True)
class WriterParts:
    """What a writer works with."""

    log: GroupLog
    sink: Sink
    book: Callable[[str], PriceBook]
    tally: Tally
    clock: Clock
    # Told of each range once it is planned, in log order, and again when it is repeated after a crash.
    statistics: Callable[[Batch], None] | None = None
    company: Company | None = None


class Writer:
    """Writes one partition: `recover` once, then `run_once` until stopped. Used by one thread at a time."""

    def __init__(
        self, parts: WriterParts, config: WriterConfig, partition: int = 0, lanes: Lanes | None = None
    ) -> None:
        """Take the partition; without `lanes` shared with other writers it has its own."""
        self._parts = parts
        self._log = parts.log
        self._config = config
        self._partition = partition
        self._stopped = threading.Event()
        self._lanes = lanes or Lanes()
        self._own_lanes = lanes is None
        self._in_flight: deque[tuple[Batch, Plan, Future[None]]] = deque()
        self._seen = SeenIds(0)  # `recover` sets the true one.
        self._next_offset = 0

    def recover(self) -> int:
        """Repeat exactly the ranges that a former writer had in flight; return how many there were."""
        self._in_flight.clear()
        self._seen = self._seen_before()
        self._next_offset = self._log.committed(self._config.group, CALLS, self._partition)
        plans = [plan for plan in self._log.plans(self._config.group, CALLS) if plan.partition == self._partition]
        repeated = 0
        for plan in plans:
            if plan.next_offset <= self._next_offset:
                continue
            self._enter()
            try:
                self._repeat(plan)
            finally:
                self._lanes.leave()
            repeated += 1
        return repeated

    def _repeat(self, plan: Plan) -> None:
        batch = self._step(self._read_exactly(plan), from_note(plan.note))
        self._count(batch)
        self._insert(batch)
        self._repair(batch)
        self._done(batch, plan)

    def run_once(self) -> int:
        """Write the next range, if there is one; return the number of records taken up."""
        self._settle_inserts(block=len(self._in_flight) >= self._config.in_flight)
        if not self._gathered():
            self._settle_inserts(block=bool(self._in_flight))
            return 0
        self._enter()
        began_ns = self._parts.clock.monotonic_ns()
        try:
            planned = self._planned()
        except BaseException:
            self._lanes.leave()
            raise
        if planned is None:
            self._lanes.leave()
            return 0
        batch, plan = planned
        self._note_took(began_ns)
        self._in_flight.append((batch, plan, self._lanes.submit(lambda: self._insert(batch))))
        self._next_offset = plan.next_offset
        return plan.next_offset - plan.first_offset

    def _note_took(self, began_ns: int) -> None:
        if self._parts.company is not None:
            self._parts.company.took((self._parts.clock.monotonic_ns() - began_ns) / _NS_PER_S)

    def drain(self) -> None:
        """Wait for the inserts under way and commit them."""
        while self._in_flight:
            self._settle_inserts(block=True)

    def run(self) -> None:
        """Recover, then write until `stop`; after a fault, start over from what the log knows."""
        pause_s = RETRY_FIRST_S
        while not self._stopped.is_set():
            try:
                self.recover()
                while not self._stopped.is_set():
                    self.run_once()
                    pause_s = RETRY_FIRST_S
                self.drain()
            except LogClosedError:
                return
            except Exception:  # noqa: BLE001 - the loop's edge: whatever went wrong, the planned ranges are repeated.
                _LOG.exception("the writer starts over from its last commit in %.1f s", pause_s)
                self._stopped.wait(pause_s)
                pause_s = min(pause_s * 2, RETRY_LAST_S)
        if self._own_lanes:
            self._lanes.close()

    def stop(self) -> None:
        """Ask `run` to finish what is in flight and return."""
        self._stopped.set()

    def _gathered(self) -> bool:
        """Wait for a range, full, or as full as it gets in time; return whether there is one."""
        config, offset = self._config, self._next_offset
        if not self._log.wait(CALLS, self._partition, offset, _UNDER_WAY_S if self._in_flight else _IDLE_S):
            return False
        # Company is waited for even while an insert is under way: each range becomes a part in every table.
        company = self._parts.company
        wait_s = config.batch_ms / 1000 if company is None else company.wait_s()
        self._log.wait(CALLS, self._partition, offset + config.batch_rows - 1, wait_s)
        return True

    def _enter(self) -> None:
        """Wait for a lane; raises LogClosedError when it is to stop, or the partition has another owner."""
        while not self._lanes.enter(_UNDER_WAY_S):
            if self._stopped.is_set():
                raise LogClosedError("the writer was stopped while it waited for a lane.")
            # What was inserted meanwhile is committed, not held.
            self._settle_inserts(block=False)

    def _planned(self) -> tuple[Batch, Plan] | None:
        """Decide about the next range and make it durable: a successor repeats exactly what is told here."""
        config = self._config
        records = self._log.read(CALLS, self._partition, self._next_offset, config.batch_rows, config.batch_bytes)
        if not records.values:
            return None
        earlier = [plan for _, plan, _ in self._in_flight]
        while True:
            batch = self._step(records, None)
            decisions = Decisions(self._book_id(), batch.skipped, frozenset(batch.revisions), batch.adopted)
            note = to_note(decisions)
            plan = Plan(records.topic_id, records.partition, records.first_offset, records.next_offset, note)
            try:
                self._log.plan(self._config.group, CALLS, [*earlier, plan])
            except PlanTooLongError:
                # Repeats and news in turns make a long note; half a range makes half of it.
                if len(records.values) <= 1:
                    raise
                records = records.first(len(records.values) // 2)
            else:
                self._count(batch)
                return batch, plan

    def _count(self, batch: Batch) -> None:
        if self._parts.statistics is not None:
            self._parts.statistics(batch)

    def _read_exactly(self, plan: Plan) -> Records:
        count = plan.next_offset - plan.first_offset
        # Another machine's log may still have to send it.
        self._log.wait(CALLS, self._partition, plan.next_offset - 1, REPEAT_S_MAX)
        # One record over the byte bound still comes, so twice the bound always holds what one read once gave.
        records = self._log.read(CALLS, self._partition, plan.first_offset, count, 2 * self._config.batch_bytes)
        if records.next_offset != plan.next_offset or records.topic_id != plan.topic_id:
            raise RuntimeError(
                f"the log no longer holds the planned range {plan.first_offset}-{plan.next_offset}: "
                "it was trimmed or replaced; run `llmtrail doctor`."
            )
        return records

    def _step(self, records: Records, decided: Decisions | None) -> Batch:
        context = StepContext(
            seen=self._seen,
            under_way=[batch.known for batch, _, _ in reversed(self._in_flight)],
            look_up=self._look_up,
            book=self._parts.book(decided.book_id if decided else ""),
            decided=decided,
            checked=self._config.checked,
        )
        return step(records, context)

    def _seen_before(self) -> SeenIds:
        """Return what is known of the stored ids: when the newest was made, and which claim to be made later than now.

        Nobody else writes this partition's calls from here on, so whatever is stored later passes through `seen`.
        """
        trusted_ms = self._parts.clock.now_ns() // _NS_PER_MS + AHEAD_MS_MAX
        sink = self._parts.sink
        newest_ms = sink.newest_made_ms(trusted_ms + 1) or 0
        return SeenIds(newest_ms, ahead=sink.ahead_of(trusted_ms, AHEAD_IDS_MAX + 1))

    def _book_id(self) -> str:
        return self._parts.book("").book_id

    def _look_up(self, call_keys: Sequence[int]) -> Mapping[int, Sequence[KnownCall]]:
        return self._parts.sink.known_calls(call_keys) if call_keys else {}

    def _insert(self, batch: Batch) -> None:
        """Insert until it is done: a store that is away or full is waited for, nothing is passed over."""
        pause_s = RETRY_FIRST_S
        while True:
            began_ns = self._parts.clock.monotonic_ns()
            try:
                if batch.rows:
                    self._parts.sink.insert_calls(batch.rows, batch.token)
                if batch.dead_letters:
                    self._parts.sink.insert_dead_letters(batch.dead_letters, batch.token)
            except Exception:
                # The loop's edge: any fault of the store is retried with the same token, which cannot double.
                if self._stopped.is_set():
                    raise
                _LOG.exception("the insert of %s is tried again in %.1f s", batch.token, pause_s)
                self._stopped.wait(pause_s)
                pause_s = min(pause_s * 2, RETRY_LAST_S)
            else:
                self._note_took(began_ns)
                return

    def _repair(self, batch: Batch) -> None:
        """After an unclean end the engine may remember a token whose rows are gone: count, and write again."""
        if batch.rows and self._parts.sink.missing_rows(batch.rows):
            self._parts.sink.insert_calls(batch.rows, f"{batch.token}:repair:{self._parts.clock.now_ns()}")

    def _settle_inserts(self, *, block: bool) -> None:
        """Commit finished inserts in log order; with `block`, wait for the eldest."""
        while self._in_flight and (block or self._in_flight[0][2].done()):
            batch, plan, future = self._in_flight[0]
            future.result()
            self._done(batch, plan)
            self._in_flight.popleft()
            block = False

    def _done(self, batch: Batch, plan: Plan) -> None:
        self._log.commit(self._config.group, CALLS, self._partition, plan.next_offset)
        self._next_offset = max(self._next_offset, plan.next_offset)
        tally = self._parts.tally
        tally.add(Fate.STORED, "", len(batch.rows))
        for reason, count in Counter(batch.skipped.values()).items():
            tally.add(Fate.SKIPPED, reason, count)
        for letter in batch.dead_letters:
            tally.add(Fate.REJECTED, letter.reason, 1)
