"""Keep who used a token, who read what and who was refused: rows in memory, written by a thread. Knows no store.

Nobody waits for it. While what keeps the rows is away they wait in memory, up to a bound; what is over it is counted
as lost, and logged. What bounds how many rows there are is `core/audit.py`.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

import msgspec

from llmtrail.clock import Clock
from llmtrail.core.access.grant import Grant
from llmtrail.core.audit import DETAIL_LENGTH_MAX, AuditRow, LastUses, Reads, Repeats, Use, shortened
from llmtrail.core.ids import uuid7
from llmtrail.metrics import AUDIT_ROWS, AUDIT_UNASKED, Metrics

_LOG = logging.getLogger(__name__)

# Rows are seen within about this long; fewer and larger inserts than one a row.
GATHER_S = 1.0
AGAIN_LAST_S = 30.0
# Rows that wait while what keeps them is away: some 20 MB at the worst, an hour of refusals under a flood.
WAITING_MAX = 10_000
BATCH_ROWS = 500
# Questions that wait; each asks the store once.
QUESTIONS_MAX = 50
_STOP_S = 5.0


class Keeps(Protocol):
    """What keeps rows."""

    def __call__(self, rows: Sequence[AuditRow]) -> None:
        """Keep rows, durable when it returns; raises whatever prevents it. The same rows again are kept once."""


def log_rows(rows: Sequence[AuditRow]) -> None:
    """Write rows into the log of the process, where there is neither Kafka nor a store of its own."""
    for row in rows:
        _LOG.info("audit %s", msgspec.json.encode(row).decode())


class Auditor:
    """The rows of one process on their way. Safe from any thread."""

    def __init__(self, clock: Clock, random: Callable[[int], bytes], metrics: Metrics) -> None:
        """Take a clock, randomness for ids, and what counts rows; `keep` them by the log until told otherwise."""

        def make_id(now_ns: int) -> str:
            return uuid7(now_ns, random(10))

        self._clock = clock
        self._metrics = metrics
        self._wake = threading.Condition()
        self._repeats, self._reads, self._uses = Repeats(make_id), Reads(make_id), LastUses(random(6).hex())
        self._waiting: deque[AuditRow] = deque()
        self._questions: deque[Callable[[], Use | None]] = deque()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="llmtrail-audit", daemon=True)
        self.keep: Keeps = log_rows
        self.failure = ""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, once, and end."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        self._leave()

    @property
    def waiting(self) -> int:
        """How many rows are not kept yet."""
        with self._wake:
            return len(self._waiting)

    def counted(self, use: Use) -> None:
        """Keep that a request was refused, or what else is done often: the same within a minute is one row."""
        short = use if len(use.detail) <= DETAIL_LENGTH_MAX else replace(use, detail=shortened(use.detail, 1_000))
        now_ns = self._clock.now_ns()
        with self._wake:
            self._offer(self._repeats.add(short, now_ns))

    def read(self, use: Use) -> None:
        """Keep that something was read, or sent again: a row each, up to the bounds."""
        now_ns = self._clock.now_ns()
        with self._wake:
            self._offer(self._reads.add(use, now_ns))

    def used(self, grant: Grant, address: str) -> None:
        """Keep when and from where a token was used last."""
        now_ns = self._clock.now_ns()
        with self._wake:
            self._uses.add(grant.name, grant.secret_id, address, now_ns)

    def later(self, question: Callable[[], Use | None]) -> None:
        """Ask a question of the store when there is time; what is over the bound is not asked, and counted."""
        with self._wake:
            if len(self._questions) < QUESTIONS_MAX:
                self._questions.append(question)
                return
        self._metrics.count(AUDIT_UNASKED)

    def rows(self, rows: Iterable[AuditRow]) -> None:
        """Keep rows as they are."""
        with self._wake:
            self._offer(rows)

    def turn(self) -> bool:
        """Ask what was to be asked, and write some of what waits; whether more does. Raises what keeping raises."""
        for _ in range(len(self._questions)):
            self._ask(self._questions.popleft())
        now_ns = self._clock.now_ns()
        with self._wake:
            for book in (self._repeats, self._reads, self._uses):
                self._offer(book.due(now_ns))
        return self._write()

    def _ask(self, question: Callable[[], Use | None]) -> None:
        try:
            found = question()
        except Exception:  # noqa: BLE001 - whatever the store raises: what cannot be asked is counted.
            self._metrics.count(AUDIT_UNASKED)
            return
        if found is not None:
            self.counted(found)

    def _offer(self, rows: Iterable[AuditRow]) -> None:
        """Take rows while the lock is held."""
        for row in rows:
            self._metrics.count(AUDIT_ROWS, fate="taken")
            if len(self._waiting) < WAITING_MAX:
                self._waiting.append(row)
            else:
                self._metrics.count(AUDIT_ROWS, fate="lost")

    def _write(self) -> bool:
        with self._wake:
            rows = [self._waiting[place] for place in range(min(BATCH_ROWS, len(self._waiting)))]
        if not rows:
            return False
        self.keep(rows)
        self.failure = ""
        self._metrics.count(AUDIT_ROWS, len(rows), fate="kept")
        with self._wake:
            for _ in rows:
                self._waiting.popleft()
            return bool(self._waiting)

    def _run(self) -> None:
        pause_s = GATHER_S
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopped, pause_s)
                stopped = self._stopped
                if stopped:
                    for book in (self._repeats, self._reads, self._uses):
                        self._offer(book.rest())
            try:
                while self.turn():
                    pass
                pause_s = GATHER_S
            except Exception as error:  # noqa: BLE001 - the loop's edge: whatever keeps rows may be away; they wait.
                pause_s = min(pause_s * 2, AGAIN_LAST_S)
                self._fail(error, pause_s)
            if stopped:
                return

    def _fail(self, error: Exception, pause_s: float) -> None:
        text = f"{self.waiting} rows of the audit wait: {str(error)[:200] or type(error).__name__}"
        if not self.failure:
            _LOG.warning("%s; tried again in %.0f s, and logged again when it went well", text, pause_s)
        self.failure = text

    def _leave(self) -> None:
        """Say what is lost at the end: the log of the process is the last place that it can be told."""
        with self._wake:
            left = len(self._waiting)
            self._waiting.clear()
        if left:
            self._metrics.count(AUDIT_ROWS, left, fate="lost")
            _LOG.warning("%d rows of the audit are lost: %s", left, self.failure)
