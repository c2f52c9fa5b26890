"""Carry planned ranges of the log into the store, each exactly once in effect. Acts; `step` decides."""

import logging
import threading
from collections import ChainMap, Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from llmtrail.clock import Clock
from llmtrail.core.pricing import PriceBook
from llmtrail.log.port import CALLS, GroupLog, LogClosedError, Plan, PlanTooLongError, Records
from llmtrail.store.rows import CallRow, DeadLetterRow, KnownCall
from llmtrail_ingest.tally import Fate, Tally
from llmtrail_ingest.writer.decisions import Decisions, from_note, to_note
from llmtrail_ingest.writer.seen import AHEAD_MS_MAX, SeenIds
from llmtrail_ingest.writer.step import Batch, Standing, StepContext, step

_LOG = logging.getLogger(__name__)

GROUP = "writer"
# Larger blocks insert no faster and take gigabytes (two are in flight); smaller ones leave many parts to merge.
BATCH_ROWS_MAX = 10_000
# 10,000 calls of 3 kB, twice over; larger calls make smaller batches, so that memory stays bounded.
BATCH_BYTES_MAX = 64 * 1024 * 1024
# Freshness against part count: a part every quarter second merges well, and nobody waits longer.
BATCH_MS_MAX = 250
# Two insert threads reach the engine's best rate; more only hold more blocks in memory.
INSERTS_MAX = 2
# One range more waits, decided and planned: an insert that ends finds the next one ready.
IN_FLIGHT_MAX = INSERTS_MAX + 1
RETRY_FIRST_S = 0.2
RETRY_LAST_S = 10.0
# A planned range was on the log, so it is there: it is waited for, not given up.
REPEAT_S_MAX = 30.0
_IDLE_S = 0.5
# With nothing to read, finished inserts are still to be committed soon.
_UNDER_WAY_S = 0.02
_NS_PER_MS = 1_000_000


class Sink(Protocol):
    """The store as the writer needs it."""

    def insert_calls(self, rows: Sequence[CallRow], token: str) -> None:
        """Insert all rows of one range; the same token again adds nothing."""

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Insert the dead letters of one range; the same token again adds nothing."""

    def known_calls(self, call_keys: Sequence[int]) -> Mapping[int, KnownCall]:
        """Return what is stored of these calls, latest revision each."""

    def newest_made_ms(self, after_ms: int, before_ms: int) -> int | None:
        """Return the latest time of a stored UUIDv7 made in [after_ms, before_ms), if there is one."""

    def missing_rows(self, rows: Sequence[CallRow]) -> int:
        """Count the rows of one range that are in the store neither as they are nor in a later revision."""


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


class Writer:
    """Writes one partition: `recover` once, then `run_once` until stopped. Used by one thread at a time."""

    def __init__(self, parts: WriterParts, config: WriterConfig, partition: int = 0) -> None:
        self._parts = parts
        self._log = parts.log
        self._config = config
        self._partition = partition
        self._stopped = threading.Event()
        self._inserts = ThreadPoolExecutor(INSERTS_MAX, thread_name_prefix="llmtrail-insert")
        self._in_flight: deque[tuple[Batch, Plan, Future[None]]] = deque()
        self._seen = SeenIds(0)  # `recover` sets the true one.
        self._next_offset = 0

    def recover(self) -> int:
        """Repeat exactly the ranges that a former writer had in flight; return how many there were."""
        self._in_flight.clear()
        self._seen = SeenIds(self._horizon_ms())
        self._next_offset = self._log.committed(self._config.group, CALLS, self._partition)
        plans = [plan for plan in self._log.plans(self._config.group, CALLS) if plan.partition == self._partition]
        repeated = 0
        for plan in plans:
            if plan.next_offset <= self._next_offset:
                continue
            records = self._read_exactly(plan)
            batch = self._step(records, from_note(plan.note))
            self._count(batch)
            self._insert(batch)
            self._repair(batch)
            self._done(batch, plan)
            repeated += 1
        return repeated

    def run_once(self) -> int:
        """Write the next range, if there is one; return the number of records taken up."""
        self._settle_inserts(block=len(self._in_flight) >= self._config.in_flight)
        records = self._next_records()
        if records is None:
            self._settle_inserts(block=bool(self._in_flight))
            return 0
        batch, plan = self._planned(records)
        self._count(batch)
        self._in_flight.append((batch, plan, self._inserts.submit(self._insert, batch)))
        self._next_offset = plan.next_offset
        return plan.next_offset - plan.first_offset

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
        self._inserts.shutdown(wait=True)

    def stop(self) -> None:
        """Ask `run` to finish what is in flight and return."""
        self._stopped.set()

    def _next_records(self) -> Records | None:
        """Return the next range: full, or as full as it got within `batch_ms`; None when there is nothing."""
        config, offset = self._config, self._next_offset
        if not self._log.wait(CALLS, self._partition, offset, _UNDER_WAY_S if self._in_flight else _IDLE_S):
            return None
        # Company is waited for even while an insert is under way: each range becomes a part in every table.
        self._log.wait(CALLS, self._partition, offset + config.batch_rows - 1, config.batch_ms / 1000)
        records = self._log.read(CALLS, self._partition, offset, config.batch_rows, config.batch_bytes)
        return records if records.values else None

    def _planned(self, records: Records) -> tuple[Batch, Plan]:
        """Decide about a range and make it durable: a successor repeats exactly what is told here."""
        earlier = [plan for _, plan, _ in self._in_flight]
        while True:
            batch = self._step(records, None)
            note = to_note(Decisions(self._book_id(), batch.skipped, frozenset(batch.revisions)))
            plan = Plan(records.topic_id, records.partition, records.first_offset, records.next_offset, note)
            try:
                self._log.plan(self._config.group, CALLS, [*earlier, plan])
            except PlanTooLongError:
                # Repeats and news in turns make a long note; half a range makes half of it.
                if len(records.values) <= 1:
                    raise
                records = records.first(len(records.values) // 2)
            else:
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
        under_way: Mapping[int, Standing] = ChainMap(*(batch.known for batch, _, _ in reversed(self._in_flight)))
        context = StepContext(
            seen=self._seen,
            under_way=under_way,
            look_up=self._look_up,
            book=self._parts.book(decided.book_id if decided else ""),
            decided=decided,
            checked=self._config.checked,
        )
        return step(records, context)

    def _horizon_ms(self) -> int:
        """Return the time after which no stored id was made: now, or later where clocks of senders are ahead."""
        now_ms = self._parts.clock.now_ns() // _NS_PER_MS
        return self._parts.sink.newest_made_ms(now_ms, now_ms + AHEAD_MS_MAX + 1) or now_ms

    def _book_id(self) -> str:
        return self._parts.book("").book_id

    def _look_up(self, call_keys: Sequence[int]) -> Mapping[int, KnownCall]:
        return self._parts.sink.known_calls(call_keys) if call_keys else {}

    def _insert(self, batch: Batch) -> None:
        """Insert until it is done: a store that is away or full is waited for, nothing is passed over."""
        pause_s = RETRY_FIRST_S
        while True:
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
