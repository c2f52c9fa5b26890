"""Keep the local log small: forget what is stored, once it is old enough. Acts; the log itself guards commits."""

import logging
import threading

from llmtrail.clock import Clock
from llmtrail.log.local import LocalLog
from llmtrail.log.port import AUDIT, CALLS, DEAD_LETTERS, GPU, SPANS, LogClosedError
from llmtrail.log.retention import Keep
from llmtrail_ingest.otlp.loop import REREAD_NS

_LOG = logging.getLogger(__name__)

_PAUSE_S = 5.0
# A restart of the settler reads this far back, so that late context still finds its calls.
_SPANS_KEEP = Keep(age_ns=REREAD_NS, bytes=1024 * 1024 * 1024)


class Keeper:
    """Trims the log now and then."""

    def __init__(self, log: LocalLog, clock: Clock, keep: Keep) -> None:
        self._log = log
        self._clock = clock
        self._keep = keep
        self._stopped = threading.Event()

    def run_once(self) -> None:
        """Trim every topic."""
        now_ns = self._clock.now_ns()
        keeps = dict.fromkeys((CALLS, DEAD_LETTERS, GPU, AUDIT), self._keep) | {SPANS: _SPANS_KEEP}
        for topic, keep in keeps.items():
            self._log.retain(topic, 0, keep, now_ns)

    def run(self) -> None:
        """Trim every few seconds until `stop`."""
        while not self._stopped.wait(_PAUSE_S):
            try:
                self.run_once()
            except LogClosedError:
                return
            except Exception:  # noqa: BLE001 - the loop's edge: trimming is tried again, nothing is lost by waiting.
                _LOG.exception("the log was not trimmed; tried again in %.0f s", _PAUSE_S)

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopped.set()
