"""Keeps a board of GPU statistics up from the log of this process. Knows no store: the board goes on without one.

The board is in memory only. At the start the last hour is read again; of what is older, only the newest scrape of each
node, which says since when it has been silent.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from llmtrail.clock import Clock
from llmtrail.core.gpu_board import TARGET_KEPT_S, GpuBoard
from llmtrail.core.gpu_slot import KEPT_S
from llmtrail.log.port import GPU, GroupLog, LogClosedError

_LOG = logging.getLogger(__name__)

# A thousand GPUs of 125 nodes tell 125 records each 15 s: an hour of them is read in some thirty portions.
RECORDS_MAX: Final = 1_000
BYTES_MAX: Final = 16 * 1024 * 1024
_IDLE_S: Final = 0.5
_RETRY_S: Final = 2.0
_NS: Final = 1_000_000_000
_HOUR_S: Final = max(KEPT_S.values())


class GpuFeed:
    """Reads `llm.gpu` in no group."""

    def __init__(self, log: GroupLog, board: GpuBoard, clock: Clock, news: Callable[[], object] = lambda: None) -> None:
        """Begin at the oldest record; `news` is called after each change of the board."""
        self._log = log
        self._board = board
        self._news = news
        self._offset = 0
        now_ns = clock.now_ns()
        self._recent_ns = now_ns - _HOUR_S * _NS
        self._oldest_ns = now_ns - TARGET_KEPT_S * _NS
        # Of each node, the newest scrape that is older than an hour.
        self._silent: dict[bytes, tuple[bytes, int]] = {}
        self._has_caught_up = False
        self._stopped = threading.Event()

    def not_ready(self) -> str:
        """Say why the board does not tell all yet, "" once it does."""
        return "" if self._has_caught_up else f"{GPU} is still being read"

    def run_once(self) -> int:
        """Take the next records; return how many."""
        records = self._log.read(GPU, 0, self._offset, RECORDS_MAX, BYTES_MAX)
        for key, value, arrived_ns in zip(records.keys, records.values, records.appended_at_ns, strict=True):
            if arrived_ns >= self._recent_ns:
                self._take_silent()
                self._board.take_value(value, arrived_ns)
            elif arrived_ns >= self._oldest_ns:
                self._silent[key] = value, arrived_ns
        if not records.values:
            self._take_silent()
            self._has_caught_up = True
        self._offset = max(self._offset, records.next_offset)
        if records.values:
            self._news()
        return len(records.values)

    def run(self) -> None:
        """Take scrapes until `stop`. What cannot be read the writer of samples keeps as a dead letter."""
        while not self._stopped.is_set():
            try:
                if not self.run_once():
                    self._log.wait(GPU, 0, self._offset, _IDLE_S)
            except LogClosedError:
                return
            except Exception:  # noqa: BLE001 - the loop's edge: the scrapes stay on the log and are read again.
                _LOG.exception("statistics of GPUs are tried again in %.1f s", _RETRY_S)
                self._stopped.wait(_RETRY_S)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopped.set()

    def _take_silent(self) -> None:
        for value, arrived_ns in sorted(self._silent.values(), key=lambda one: one[1]):
            self._board.take_value(value, arrived_ns)
        self._silent.clear()
