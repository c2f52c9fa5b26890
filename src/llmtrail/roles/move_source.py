"""The embedded installation that is moved: its folder opened alone, its log emptied into its store, what it holds."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from llmtrail.clock import Clock
from llmtrail.config import Config, store_tls, store_url
from llmtrail.local.prices import price_book
from llmtrail.local.sink import StoreSink
from llmtrail.local.slot_file import FILE_NAME, SlotFile
from llmtrail.local.statistics import LocalStatistics
from llmtrail.log.local import LocalLog
from llmtrail.log.log_file import LogBusyError
from llmtrail.log.port import AUDIT, CALLS, DEAD_LETTERS, SPANS, Records
from llmtrail.roles.move_plan import MoveError
from llmtrail.store.alerts import insert_audit
from llmtrail.store.errors import StoreLockedError
from llmtrail.store.handle import Handle, open_chdb, open_http
from llmtrail.store.migrate import migrate
from llmtrail_ingest.audit_rows import GROUP as AUDIT_GROUP
from llmtrail_ingest.audit_rows import audit_writer
from llmtrail_ingest.dead_letter import GROUP as LETTERS_GROUP
from llmtrail_ingest.dead_letter import dead_letter_writer
from llmtrail_ingest.otlp.loop import GROUP as SETTLER_GROUP
from llmtrail_ingest.otlp.loop import SettleLoop
from llmtrail_ingest.otlp.settle import SettleLimits
from llmtrail_ingest.tally import CountingTally
from llmtrail_ingest.topic_writer import TopicWriter
from llmtrail_ingest.writer.pipeline import GROUP as WRITER_GROUP
from llmtrail_ingest.writer.pipeline import Writer, WriterConfig, WriterParts

_READERS = ((CALLS, WRITER_GROUP), (SPANS, SETTLER_GROUP), (DEAD_LETTERS, LETTERS_GROUP), (AUDIT, AUDIT_GROUP))
_READ_RECORDS = 2_000
_READ_BYTES = 8 * 1024 * 1024
# A log from which nothing could be written for so long will not empty by itself.
STILL_S_MAX = 120.0
_NS_PER_MS = 1_000_000
_NS_PER_S = 1_000_000_000

Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is acknowledged and not yet where it belongs."""

    calls: int
    spans: int
    dead_letters: int
    audit: int

    @property
    def all(self) -> int:
        """Return how many records wait."""
        return self.calls + self.spans + self.dead_letters + self.audit


class Source:
    """An embedded installation's folder, held alone; a context manager."""

    def __init__(self, config: Config, clock: Clock) -> None:
        """Take the settings it ran with; their `server.data` is the folder."""
        self._config = config
        self._clock = clock
        self._stack = ExitStack()
        self.folder: Path = config.server.data

    def __enter__(self) -> Self:
        """Open it; raises MoveError where there is none, or where it runs."""
        if not (self.folder / "log").is_dir():
            raise MoveError(f"{self.folder} is no data folder of `llmtrail up`: it has no log.")
        try:
            self.log = LocalLog(self.folder / "log")
            self._stack.callback(self.log.close)
            self.has_rows = self._config.server.store_folder.is_dir()
            # Where the rows are in a ClickHouse server already, only log and statistics are to be moved.
            self.handle: Handle = (
                open_chdb(self._config.server.store_folder)
                if self.has_rows
                else open_http(store_url(self._config.store), tls=store_tls(self._config))
            )
            self._stack.callback(self.handle.close)
        except (LogBusyError, StoreLockedError) as cause:
            self._stack.close()
            raise MoveError(f"{self.folder} is in use: stop the llmtrail that runs on it first ({cause}).") from cause
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything."""
        self._stack.close()

    def waiting(self) -> Waiting:
        """Return how many acknowledged records are not yet in the store."""
        return Waiting(*(self.log.end(topic, 0) - self.log.committed(group, topic, 0) for topic, group in _READERS))

    def finish(self, tell: Tell) -> None:
        """Do what the process would have done with what its log still holds, by its own writer, settler and fold.

        Telling how many records wait still; raises MoveError where they do not become fewer.
        """
        config = self._config
        if self.has_rows:
            migrate(self.handle)
        statistics = LocalStatistics(self.folder, config.stats.zones, frozenset(config.stats.feature_users))
        sink = StoreSink(self.handle)
        book = price_book(config)
        writer = Writer(
            WriterParts(
                log=self.log,
                sink=sink,
                book=lambda _: book,
                tally=CountingTally(),
                clock=self._clock,
                statistics=statistics.fold,
            ),
            WriterConfig(batch_rows=config.ingest.batch_rows, batch_ms=config.ingest.batch_ms, checked=True),
        )
        limits = SettleLimits(quiet_ns=config.ingest.settle_ms * _NS_PER_MS)
        settler = SettleLoop(self.log, self._clock.now_ns, None, limits)
        try:
            writer.recover()
            audit = audit_writer(self.log, partial(insert_audit, self.handle), lambda _: None)
            self._empty(writer, settler, (dead_letter_writer(self.log, sink), audit), tell)
            writer.drain()
        finally:
            writer.stop()
            statistics.close()

    def _empty(self, writer: Writer, settler: SettleLoop, others: Sequence[TopicWriter], tell: Tell) -> None:
        fewest, since_ns = self.waiting().all, self._clock.monotonic_ns()
        while left := self.waiting().all:
            tell(left)
            settler.run_once(self._clock.now_ns())
            writer.run_once()  # waits where there is nothing for it
            for other in others:
                other.run_once()
            if self.waiting().all < fewest:
                fewest, since_ns = self.waiting().all, self._clock.monotonic_ns()
            if self._clock.monotonic_ns() - since_ns > STILL_S_MAX * _NS_PER_S:
                raise MoveError(f"{left} records of the log could not be written; run `llmtrail doctor`.")
        tell(0)

    def records(self, topic: str) -> Iterator[Records]:
        """Return what the log keeps of a topic, a read at a time."""
        offset, end = self.log.start(topic, 0), self.log.end(topic, 0)
        while offset < end:
            records = self.log.read(topic, 0, offset, _READ_RECORDS, _READ_BYTES)
            if not records.values:
                return
            yield records
            offset = records.next_offset

    def slots(self) -> dict[str, bytes]:
        """Return the slots of the rolling statistics."""
        if not (self.folder / FILE_NAME).is_file():
            return {}
        file = SlotFile(self.folder / FILE_NAME)
        try:
            return {key: file[key] for key in file}
        finally:
            file.close()
