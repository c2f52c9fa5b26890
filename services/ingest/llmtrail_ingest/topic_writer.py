"""Carry a topic of few records into its table: read, store, commit. Knows no record's meaning."""

import logging
import threading
from collections.abc import Callable

from llmtrail.log.port import GroupLog, LogClosedError, Records

_LOG = logging.getLogger(__name__)

# Records are few; when they are many, large blocks keep the table in order.
BATCH_RECORDS_MAX = 1_000
BATCH_BYTES_MAX = 16 * 1024 * 1024
_IDLE_S = 0.5
_RETRY_S = 2.0


class TopicWriter:
    """Carries one partition into a table. A repeat after a crash must replace the same rows."""

    def __init__(self, log: GroupLog, topic: str, group: str, store: Callable[[Records, str], None]) -> None:
        """Take the log, and what stores a run of records under a token that the same run has again."""
        self._log = log
        self._topic = topic
        self._group = group
        self._store = store
        self._stopped = threading.Event()

    def run_once(self) -> int:
        """Write the next records; return how many."""
        records = self._log.read(self._topic, 0, self._committed(), BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
        if not records.values:
            return 0
        self._store(records, f"{records.topic_id}:{records.partition}:{records.first_offset}-{records.next_offset}")
        self._log.commit(self._group, self._topic, 0, records.next_offset)
        return len(records.values)

    def run(self) -> None:
        """Write records until `stop`."""
        while not self._stopped.is_set():
            try:
                if not self.run_once():
                    self._log.wait(self._topic, 0, self._committed(), _IDLE_S)
            except LogClosedError:
                return
            except Exception:  # noqa: BLE001 - the loop's edge: the records stay on the log and are tried again.
                _LOG.exception("records of %s are tried again in %.1f s", self._topic, _RETRY_S)
                self._stopped.wait(_RETRY_S)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopped.set()

    def _committed(self) -> int:
        return self._log.committed(self._group, self._topic, 0)
