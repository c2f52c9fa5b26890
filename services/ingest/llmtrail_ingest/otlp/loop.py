"""Run the settler over the log: read spans, publish calls, then forget the spans. Decides nothing itself.

After a restart the spans of the last hour that were published already are read again, so that context which comes
later still finds its calls; from the committed cursor on they are settled and published as before.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from llmtrail.log.port import (
    CALLS,
    SPANS,
    Append,
    Log,
    LogClosedError,
    LogFullError,
    Records,
    RecordTooLargeError,
    Unread,
    uncounted,
)
from llmtrail_ingest.dead_letter import Letter, letters_append, record_letter
from llmtrail_ingest.otlp.natives import NativeCalls
from llmtrail_ingest.otlp.records import decode_part
from llmtrail_ingest.otlp.settle import Event, SettleLimits, Settler

GROUP = "settler"
# One read of the log: enough to keep up with a burst, small enough to publish in between.
RECORDS_PER_READ_MAX = 5_000
BYTES_PER_READ_MAX = 32 * 1024 * 1024
# How far back a restart reads: later context of older traces is lost over a restart, and says so by being new traces.
REREAD_NS = 3600 * 1_000_000_000
REREAD_RECORDS_MAX = 200_000
# Native calls are shown to the joiner again for as long as instrumentations may still report them.
REREAD_CALLS_MAX = 50_000
# One append of this many 3 kB events is 6 MB: other appends of the group commit wait no longer for it than for theirs.
EVENTS_PER_APPEND_MAX = 2_000
# Between looks when no spans come: traces fall quiet without any record telling so.
IDLE_S = 0.2
# After the log refused an append: it is full or failing, and asking faster does not mend it.
RETRY_S = 1.0
_SCHEMA = "call.v1"

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LoopCounts:
    """What the loop met, for metrics."""

    unreadable: int = 0
    published: int = 0
    append_failures: int = 0


@dataclass(slots=True)
class _Cursor:
    """Where reading and committing of one partition stand."""

    read: int
    committed: int


class SettleLoop:
    """Reads `llm.spans`, publishes to `llm.calls`, commits. One loop owns all partitions of the topic."""

    def __init__(
        self,
        log: Log,
        now_ns: Callable[[], int],
        natives: NativeCalls | None = None,
        limits: SettleLimits | None = None,
        unread: Unread = uncounted,
    ) -> None:
        """Take the log, the clock, the gateway's index of native calls, the settler's limits, and who counts."""
        self._log = log
        self._now_ns = now_ns
        self._natives = natives or NativeCalls()
        self._settler = Settler(limits, self._natives)
        self._cursors: dict[int, _Cursor] = {}
        # Decided but not appended: appended before anything else is decided.
        self._pending: list[Event] = []
        self._letters: list[Letter] = []
        self._is_behind = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.counts = LoopCounts()
        self._unread = unread

    @property
    def settler(self) -> Settler:
        """Return the settler, for its counts."""
        return self._settler

    @property
    def is_alive(self) -> bool:
        """Say whether the loop's own thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the loop in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="llmtrail-settle", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop the loop. Traces that are not quiet yet stay on the log and are settled after the next start."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run_once(self, now_ns: int) -> int:
        """Read, settle, publish, commit; return how many events were published."""
        if not self._cursors:
            self._recover(now_ns)
        self._is_behind = False
        if not self._pending and not self._letters:
            horizons_ns = [self._read(partition, cursor, now_ns) for partition, cursor in self._cursors.items()]
            self._pending = self._settler.publish(min(horizons_ns))
        published = len(self._pending)
        if self._letters:
            self._append_letters(now_ns)
        while self._pending:
            self._append(self._pending[:EVENTS_PER_APPEND_MAX], now_ns)
            del self._pending[:EVENTS_PER_APPEND_MAX]
        self._commit()
        return published

    def run(self) -> None:
        """Settle until stopped."""
        while not self._stopping.is_set():
            try:
                self.run_once(self._now_ns())
            except LogClosedError:
                return
            except LogFullError:
                self.counts.append_failures += 1
                self._stopping.wait(RETRY_S)
            except Exception:  # A loop's edge: whatever a record holds, the service goes on; the log keeps it all.
                self.counts.append_failures += 1
                _logger.exception("Settling failed; the spans stay on the log and are tried again.")
                self._stopping.wait(RETRY_S)
            self._await_more()

    def _await_more(self) -> None:
        """Wait for the next record, or for a moment; with many partitions, for a moment."""
        if self._stopping.is_set() or self._is_behind:
            return
        if len(self._cursors) == 1:
            ((partition, cursor),) = self._cursors.items()
            try:
                is_there = self._log.wait(SPANS, partition, cursor.read, IDLE_S)
            except LogClosedError:
                self._stopping.set()
                return
            if not is_there:
                return
        # A record has come; others follow it within moments, and one read takes them all.
        self._stopping.wait(IDLE_S / 4)

    def _recover(self, now_ns: int) -> None:
        """Read again what was published before, without publishing it."""
        self._recover_calls(now_ns)
        for partition in range(self._log.partitions(SPANS)):
            committed = self._log.committed(GROUP, SPANS, partition)
            offset = max(self._log.start(SPANS, partition), committed - REREAD_RECORDS_MAX)
            while offset < committed:
                records = self._log.read(SPANS, partition, offset, RECORDS_PER_READ_MAX, BYTES_PER_READ_MAX)
                if not records.values:
                    break
                self._take(records, before_offset=committed, since_ns=now_ns - REREAD_NS)
                offset = records.next_offset
            self._cursors[partition] = _Cursor(read=committed, committed=committed)
        self._settler.mark_published()
        # What was turned away before the restart has its letters.
        self._unread(SPANS, len(self._letters))
        self._letters.clear()
        self.counts = LoopCounts()

    def _recover_calls(self, now_ns: int) -> None:
        for partition in range(self._log.partitions(CALLS)):
            end = self._log.end(CALLS, partition)
            offset = max(self._log.start(CALLS, partition), end - REREAD_CALLS_MAX)
            while offset < end:
                records = self._log.read(CALLS, partition, offset, RECORDS_PER_READ_MAX, BYTES_PER_READ_MAX)
                if not records.values:
                    break
                for value, key, headers in zip(records.values, records.keys, records.headers, strict=True):
                    is_native, owner = headers.get("source") != "otlp", headers.get("tenant", "")
                    self._natives.remember(value, key, now_ns, owner, is_native=is_native)
                offset = records.next_offset

    def _read(self, partition: int, cursor: _Cursor, now_ns: int) -> int:
        """Take one read of the log; return the time up to which the partition's records are known.

        Behind by more than one read, time is that of the records, so that a backlog settles as it would have live.
        """
        records = self._log.read(SPANS, partition, cursor.read, RECORDS_PER_READ_MAX, BYTES_PER_READ_MAX)
        if not records.values:
            return now_ns
        is_behind = records.next_offset < self._log.end(SPANS, partition)
        self._is_behind = self._is_behind or is_behind
        self._take(records, before_offset=records.next_offset, since_ns=0)
        cursor.read = records.next_offset
        return min(now_ns, records.appended_at_ns[-1]) if is_behind else now_ns

    def _take(self, records: Records, *, before_offset: int, since_ns: int) -> None:
        offset = records.first_offset
        for value, appended_at_ns in zip(records.values, records.appended_at_ns, strict=True):
            if offset >= before_offset:
                return
            if appended_at_ns >= since_ns:
                try:
                    part = decode_part(value)
                except msgspec.DecodeError as cause:
                    self.counts.unreadable += 1
                    self._letters.append(record_letter(records, offset - records.first_offset, "bad_span", str(cause)))
                else:
                    self._settler.take(part, appended_at_ns, records.partition, offset)
            offset += 1

    def _append_letters(self, now_ns: int) -> None:
        headers = {"source": "log"}
        try:
            self._log.append([letters_append(self._letters, headers)], now_ns)
        except RecordTooLargeError as cause:
            # The brokers' bound is lower than ours: that a span was turned away, and where, is kept all the same.
            named = [
                replace(one, value_base64="", detail=f"{one.detail} (its bytes: {cause})") for one in self._letters
            ]
            self._log.append([letters_append(named, headers)], now_ns)
        self._unread(SPANS, len(self._letters))
        self._letters.clear()

    def _append(self, events: list[Event], now_ns: int) -> None:
        by_tenant: dict[str, list[Event]] = {}
        for event in events:
            by_tenant.setdefault(event.tenant, []).append(event)
        self._log.append([_append_of(tenant, told) for tenant, told in by_tenant.items()], now_ns)
        self.counts.published += len(events)

    def _commit(self) -> None:
        """Commit past every span whose trace was published."""
        for partition, cursor in self._cursors.items():
            floor = self._settler.floor(partition)
            done = cursor.read if floor is None else floor
            if done > cursor.committed:
                self._log.commit(GROUP, SPANS, partition, done)
                cursor.committed = done


def _append_of(tenant: str, events: list[Event]) -> Append:
    headers = {"source": "otlp", "schema": _SCHEMA}
    if tenant:
        headers["tenant"] = tenant
    return Append(
        topic=CALLS, values=[event.value for event in events], keys=[event.key for event in events], headers=headers
    )
