"""The one thread that writes the local log: it makes whatever waits durable in one transaction. Knows no callers."""

import logging
import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmtrail.log.groups import Groups
from llmtrail.log.log_file import PAGE_BYTES, TopicState
from llmtrail.log.port import LogClosedError, LogFullError

# One transaction: large enough to share its fsync among many, small enough to be acknowledged soon.
GROUP_BYTES_MAX = 16_000_000
GROUP_JOBS_MAX = 512
# What may wait for the disk at once; over this the log is too slow and callers must hear of it.
QUEUE_BYTES_MAX = 128_000_000
# The WAL is copied back into the file when so much was appended; larger ones only cost disk.
CHECKPOINT_BYTES = 48_000_000
# Idle for so long, the log tidies up: checkpoint, and space given back.
IDLE_S = 0.5
# Removed when the disk is full, so that commits and trims, which make room, still find some.
BALLAST_NAME = "ballast"
BALLAST_BYTES = 8_000_000
# Free pages that are kept for the next rows, in a log that is trimmed and filled all the time.
FREE_BYTES_KEPT = 32_000_000
# Pages given back in one step: a few milliseconds for which appends wait.
VACUUM_PAGES = 512
# A log that is never idle gives space back too, one step in so many groups.
GROUPS_PER_VACUUM = 32

# What SQLite makes of a full disk, of a file-size limit and of shared memory that finds no room.
_FULL_CODES = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}

_LOG = logging.getLogger(__name__)


class LogFailedError(RuntimeError):
    """The disk failed under the log: what was acknowledged stays, but nothing more is taken until it is reopened."""


@dataclass(slots=True)
class State:
    """What the log holds: replaced as a whole after each transaction, so that readers see only durable things."""

    topics: dict[str, TopicState]
    groups: Groups

    def copy(self) -> "State":
        """Return a copy for a transaction that may yet fail."""
        return State({name: topic.copy() for name, topic in self.topics.items()}, self.groups.copy())


@dataclass(slots=True, eq=False)
class Job:
    """One thing to make durable: `run` inside the transaction, `after` once it is durable, then the future."""

    run: Callable[[sqlite3.Connection, State], Any]
    after: Callable[[], None]
    bytes: int  # that it adds to the log; 0 for what makes room
    future: "Future[Any]" = field(default_factory=Future)


class Appender:
    """Runs jobs in the order they came, as many as there are in one transaction."""

    def __init__(self, connection: sqlite3.Connection, folder: Path, state: State, bytes_max: int | None) -> None:
        """Take over a connection that nobody else uses from now on."""
        self.state = state
        self._connection = connection
        self._folder = folder
        self._bytes_max = bytes_max
        self._since_checkpoint = 0
        self._since_vacuum = 0
        self._full = False
        self._jobs: deque[Job] = deque()
        self._bytes = 0
        self._ready = threading.Condition()
        self._closing = False
        self._failed: BaseException | None = None
        self._dirty = True
        self._idle_s = self._pause_s = IDLE_S
        self._restore_ballast()
        self._thread = threading.Thread(target=self._work, name="llmtrail-log", daemon=True)

    def start(self, idle_s: float) -> None:
        """Start the thread; it tidies up when nothing came for `idle_s` seconds."""
        self._idle_s = self._pause_s = idle_s
        self._thread.start()

    def submit(self, job: Job) -> "Future[Any]":
        """Hand a job over; raise LogClosedError, LogFailedError or LogFullError where it cannot be taken."""
        with self._ready:
            if self._failed is not None:
                raise LogFailedError(
                    "the disk failed under the log; see its cause, then open it anew"
                ) from self._failed
            if self._closing:
                raise LogClosedError("the log was closed")
            if job.bytes and self._bytes + job.bytes > QUEUE_BYTES_MAX:
                raise LogFullError(f"{self._bytes} bytes wait for the disk already; send again in a moment")
            # From now on it cannot be cancelled: it may be durable before the caller changes its mind.
            job.future.set_running_or_notify_cancel()
            self._jobs.append(job)
            self._bytes += job.bytes
            if len(self._jobs) == 1:
                self._ready.notify()
        return job.future

    def close(self) -> None:
        """Finish what waits, tidy up and end the thread."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        self._thread.join()

    def _work(self) -> None:
        while True:
            group, closing = self._next_group()
            if group:
                self._dirty, self._pause_s = True, self._idle_s
                self._commit(group)
                self._keep_up(group)
            elif closing:
                break
            elif self._dirty and self._failed is None:
                self._tidy()
        if self._failed is None:
            self._checkpoint("TRUNCATE")

    def _next_group(self) -> tuple[list[Job], bool]:
        with self._ready:
            if not self._jobs and not self._closing:
                self._ready.wait(self._pause_s if self._dirty else None)
            group: list[Job] = []
            size = 0
            while self._jobs and len(group) < GROUP_JOBS_MAX and (not group or size < GROUP_BYTES_MAX):
                job = self._jobs.popleft()
                group.append(job)
                size += job.bytes
            self._bytes -= size
            return group, self._closing

    def _commit(self, group: Sequence[Job]) -> None:
        try:
            results = self._transact(group)
        except (LogFullError, ValueError) as error:
            if len(group) == 1:
                self._fail(group, error)
            else:
                # One of them does not fit or is wrong: each alone, so that it takes no neighbour down.
                for job in group:
                    self._commit([job])
            return
        except Exception as error:  # noqa: BLE001 - the thread's edge: every caller hears of it, and no later one is taken
            _LOG.exception("the log in %s takes nothing more", self._folder)
            with self._ready:
                self._failed = error
                group = [*group, *self._jobs]
                self._jobs.clear()
            self._fail(group, error)
            return
        for job, result in zip(group, results, strict=True):
            job.after()
            job.future.set_result(result)

    def _fail(self, group: Sequence[Job], error: Exception) -> None:
        for job in group:
            job.future.set_exception(error)

    def _transact(self, group: Sequence[Job]) -> list[Any]:
        """Run the jobs and make them durable together; nothing of them is kept where this raises."""
        self._check_room(sum(job.bytes for job in group))
        state = self.state.copy()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [job.run(self._connection, state) for job in group]
            self._connection.execute("COMMIT")
        except BaseException as error:  # whatever it was, nothing of the group may stay in the file
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and _is_full(error):
                self._note_full(error)
                if self._drop_ballast() and not any(job.bytes for job in group):
                    return self._transact(group)
                raise LogFullError(f"no room on the disk of {self._folder}: free some, or trim the log") from error
            raise
        self.state = state
        return results

    def _check_room(self, size: int) -> None:
        if self._bytes_max is None or size == 0:
            return
        used = self.used_bytes()
        if used + size > self._bytes_max:
            raise LogFullError(f"the log holds {used} bytes of {self._bytes_max} allowed; wait until it is trimmed")

    def used_bytes(self) -> int:
        """Return the bytes in use in the file. Only for the thread itself."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _pragma(self, text: str) -> int:
        found = self._connection.execute(f"PRAGMA {text}").fetchone()
        return int(found[0])

    def _keep_up(self, group: Sequence[Job]) -> None:
        """Do between groups what a busy log needs: neither the WAL nor the free space may grow without end."""
        self._since_checkpoint += sum(job.bytes for job in group)
        self._since_vacuum += 1
        if self._failed is not None:
            return
        if self._full and any(job.bytes == 0 for job in group):
            self._make_room()
        if self._since_vacuum >= GROUPS_PER_VACUUM:
            self._since_vacuum = 0
            self._vacuum()
        self._checkpoint_when_due()

    def _checkpoint_when_due(self) -> None:
        if self._since_checkpoint >= CHECKPOINT_BYTES:
            # Where a reader stood in the way, the rest is tried again soon.
            self._since_checkpoint = 0 if self._checkpoint("PASSIVE") else CHECKPOINT_BYTES // 2

    def _checkpoint(self, mode: str) -> bool:
        """Copy the WAL back into the file; say whether all of it was."""
        try:
            found = self._connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        except sqlite3.OperationalError as error:
            # The rows are safe in the WAL, and the next time may find room.
            self._note_full(error)
            return False
        busy, frames, copied = map(int, found)
        return busy == 0 and frames == copied

    def _vacuum(self) -> bool:
        """Give one step of free space back; say whether there is more to give."""
        kept = 0 if self._full else FREE_BYTES_KEPT // PAGE_BYTES
        free_pages = self._pragma("freelist_count") - kept
        if free_pages <= 0:
            return False
        try:
            # As a script, because `execute` ends this statement after its first page.
            self._connection.executescript(f"PRAGMA incremental_vacuum({min(free_pages, VACUUM_PAGES)})")
            self._since_checkpoint += VACUUM_PAGES * PAGE_BYTES  # pages that move pass through the WAL
        except sqlite3.OperationalError as error:
            self._note_full(error)
            return False
        return free_pages > VACUUM_PAGES

    def _tidy(self) -> None:
        """Give space back while nobody waits, one step after the other, and at last the WAL's."""
        if self._vacuum():
            self._pause_s = 0
            self._checkpoint_when_due()
            return
        self._pause_s = self._idle_s
        self._dirty = not self._checkpoint("TRUNCATE")
        self._since_checkpoint = 0
        if not self._dirty:
            self._restore_ballast()

    def _make_room(self) -> None:
        """Give all free space back at once: the disk was full, and something has just been committed or trimmed."""
        while self._vacuum():
            pass
        if self._checkpoint("TRUNCATE"):
            self._restore_ballast()

    def _note_full(self, error: Exception) -> None:
        if not self._full:
            _LOG.warning("the log in %s finds no room on its disk: %s", self._folder, error)
        self._full = True

    def _drop_ballast(self) -> bool:
        try:
            (self._folder / BALLAST_NAME).unlink()
        except FileNotFoundError:
            return False
        return True

    def _restore_ballast(self) -> None:
        ballast = self._folder / BALLAST_NAME
        if ballast.exists():
            self._full = False
            return
        try:
            descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
            finally:
                os.close(descriptor)
        except OSError as error:
            ballast.unlink(missing_ok=True)
            self._note_full(error)
            return
        if self._full:
            _LOG.warning("the log in %s has room on its disk again", self._folder)
        self._full = False


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", None) in _FULL_CODES
