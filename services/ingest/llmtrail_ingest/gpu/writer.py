"""Carries `llm.gpu` into tables and keeps their roll-up. A sample that is written again is the same row."""

import logging
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Protocol

from llmtrail.clock import Clock
from llmtrail.core.gpu_map import Place
from llmtrail.log.port import GPU, GroupLog, LogClosedError, Records, Unread, uncounted
from llmtrail.store.gpu import ROLL_S, EngineRow, GpuRow
from llmtrail.store.gpu_scrapes import ScrapeRow
from llmtrail.store.rows import DeadLetterRow
from llmtrail_ingest.gpu.rows import Run, rows_of

_LOG = logging.getLogger(__name__)

GROUP: Final = "llmtrail.gpu"
# A thousand GPUs of 125 nodes tell 125 records each 15 s; after a stop a thousand of them make one block.
RECORDS_MAX: Final = 1_000
BYTES_MAX: Final = 16 * 1024 * 1024
# Few large blocks instead of one a record: what came waits so long for company.
GATHER_S: Final = 1.0
_IDLE_S: Final = 0.5
_RETRY_S: Final = 2.0
_NS: Final = 1_000_000_000
_ROLL_NS: Final = ROLL_S * _NS
# Samples are on their way for a second or two; those of a spool roll their five minutes up again.
ROLL_AFTER_NS: Final = 30 * _NS
# Places of a day are told once; a process that runs for weeks forgets those of other days.
PLACES_KEPT_MAX: Final = 50_000

# Start of five minutes in nanoseconds -> nodes that have samples there which are not rolled up.
Slots = Mapping[int, Collection[str]]


class GpuSink(Protocol):
    """The store as samples need it."""

    def insert_gpu(self, gpus: Sequence[GpuRow], engines: Sequence[EngineRow], token: str) -> None:
        """Insert samples; the same ones again are the same rows."""

    def insert_scrapes(self, scrapes: Sequence[ScrapeRow], token: str) -> None:
        """Insert readings; that of the same record again is the same row."""

    def insert_places(self, places: Iterable[tuple[int, Place]], token: str) -> None:
        """Insert what was sampled on a day; the same again is one row."""

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Insert letters; a letter of the same place again replaces itself."""

    def roll_up(self, start_ns: int, hosts: Collection[str], now_ns: int) -> None:
        """Make the roll-up of five minutes anew, from all samples of these nodes."""

    def begin(self, now_ns: int) -> Slots:
        """Make ready to write; return the five minutes whose samples may have come after their roll-up."""


class GpuWriter:
    """Writes one partition. Its plan is its position: rows have keys, so a repeat in other portions changes nothing."""

    def __init__(
        self, log: GroupLog, sink: GpuSink, clock: Clock, partition: int = 0, unread: Unread = uncounted
    ) -> None:
        self._log = log
        self._sink = sink
        self._clock = clock
        self._partition = partition
        self._unread = unread
        self._known_places: set[tuple[int, Place]] = set()
        self._due: dict[int, set[str]] | None = None  # None: the store was not asked yet
        self._stopped = threading.Event()

    def run_once(self) -> int:
        """Write the next records; return how many."""
        if self._due is None:
            self._due = {start: set(hosts) for start, hosts in self._sink.begin(self._clock.now_ns()).items()}
        offset = self._log.committed(GROUP, GPU, self._partition)
        records = self._log.read(GPU, self._partition, offset, RECORDS_MAX, BYTES_MAX)
        if not records.values:
            return 0
        run = rows_of(records)
        self._write(run, records, self._due)
        self._log.commit(GROUP, GPU, self._partition, records.next_offset)
        if run.letters:
            self._unread(GPU, len(run.letters))
        return len(records.values)

    def roll_up_due(self) -> int:
        """Roll up the five minutes that are over; return how many."""
        now_ns = self._clock.now_ns()
        over = sorted(start for start in self._due or () if start + _ROLL_NS + ROLL_AFTER_NS <= now_ns)
        for start in over:
            if self._due is not None:
                self._sink.roll_up(start, self._due[start], now_ns)
                del self._due[start]
        return len(over)

    def run(self) -> None:
        """Write samples until `stop`."""
        while not self._stopped.is_set():
            try:
                written = self.run_once()
                self.roll_up_due()
                if written:
                    self._stopped.wait(GATHER_S)
                else:
                    self._log.wait(GPU, self._partition, self._log.committed(GROUP, GPU, self._partition), _IDLE_S)
            except LogClosedError:
                return
            except Exception:  # noqa: BLE001 - the loop's edge: the samples stay on the log and are tried again.
                _LOG.exception("samples of GPUs are tried again in %.1f s", _RETRY_S)
                self._stopped.wait(_RETRY_S)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopped.set()

    def _write(self, run: Run, records: Records, due: dict[int, set[str]]) -> None:
        token = f"gpu:{records.topic_id}:{records.partition}:{records.first_offset}-{records.next_offset}"
        if run.letters:
            self._sink.insert_dead_letters(run.letters, token)
        fresh = run.places() - self._known_places
        if fresh:
            # Before the samples: whoever sees a sample finds its place.
            self._sink.insert_places(sorted(fresh, key=repr), token)
            if len(self._known_places) > PLACES_KEPT_MAX:
                self._known_places.clear()
            self._known_places |= fresh
        self._sink.insert_gpu(run.gpus, run.engines, token)
        # After the samples: whoever counts by readings finds no sample missing.
        self._sink.insert_scrapes(run.scrapes, token)
        for row in run.gpus:
            due.setdefault(row.sampled_at_ns // _ROLL_NS * _ROLL_NS, set()).add(row.host)
