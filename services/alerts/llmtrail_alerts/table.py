"""Bring decisions and changes of rules from the journal into the store, whenever it is there. Decides nothing.

Nobody waits for it: while the store is away what was decided waits in the journal, and alerts go on.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol

from llmtrail.core.audit import AuditRow
from llmtrail.log.journal import JournalLostError, Record
from llmtrail.store.alerts import AlertRow
from llmtrail_alerts.told_rows import audit_key, row_key

_LOG = logging.getLogger(__name__)

# Rows of one insert: enough to empty ten thousand in a few steps, little enough to be one small part.
ROWS_MAX = 2_000
# Rows come a few at a time; company of this long makes one part of them.
GATHER_S = 0.5
AGAIN_FIRST_S = 0.5
AGAIN_LAST_S = 30.0
_TOKEN_BYTES = 12


class Writes(Protocol):
    """The journal, as far as it is used here."""

    def put(self, records: Sequence[Record]) -> None:
        """Write all records in one step."""


class Store(Protocol):
    """The store, as far as it is used here. Both may be told the same rows again."""

    def insert_alerts(self, rows: Sequence[AlertRow], token: str) -> None:
        """Insert decisions; raises what the store raises when it is away."""

    def insert_audit(self, rows: Sequence[AuditRow], token: str) -> None:
        """Insert changes of rules; raises what the store raises when it is away."""


class AlertTable:
    """Rows on their way into the store, and the thread that brings them."""

    def __init__(self, journal: Writes, store: Store, unstored: Callable[[int], None] = lambda _: None) -> None:
        """Take the journal that holds the rows; `unstored` is told how many wait."""
        self._journal = journal
        self._store = store
        self._tell = unstored
        self._wake = threading.Condition()
        self._alerts: dict[str, AlertRow] = {}
        self._audit: dict[str, AuditRow] = {}
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="llmtrail-alert-table", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the insert under way; what waits is in the journal."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def offer(self, rows: Sequence[AlertRow]) -> None:
        """Take decisions that the journal holds. Returns at once."""
        with self._wake:
            self._alerts |= {row.alert_id: row for row in rows}
            self._wake.notify()

    def offer_audit(self, rows: Sequence[AuditRow]) -> None:
        """Take changes of rules that the journal holds. Returns at once."""
        with self._wake:
            self._audit |= {row.audit_id: row for row in rows}
            self._wake.notify()

    def waiting(self) -> int:
        """Return how many rows are not in the store yet."""
        with self._wake:
            return len(self._alerts) + len(self._audit)

    def turn(self) -> bool:
        """Store some of what waits; return whether there was anything. Raises what store or journal raise."""
        with self._wake:
            alerts = list(self._alerts.values())[:ROWS_MAX]
            audit = list(self._audit.values())[:ROWS_MAX]
        if alerts:
            self._store.insert_alerts(alerts, _token([row.alert_id for row in alerts]))
        if audit:
            self._store.insert_audit(audit, _token([row.audit_id for row in audit]))
        gone: list[Record] = [(row_key(row.alert_id), None) for row in alerts]
        gone += [(audit_key(row.audit_id), None) for row in audit]
        if not gone:
            return False
        self._journal.put(gone)
        with self._wake:
            for row in alerts:
                self._alerts.pop(row.alert_id, None)
            for change in audit:
                self._audit.pop(change.audit_id, None)
        return True

    def _run(self) -> None:
        pause_s = AGAIN_FIRST_S
        while not self._stopped:
            try:
                while self.turn():
                    pass
                pause_s, rest_s = AGAIN_FIRST_S, None
            except JournalLostError:
                return  # whoever has the journal now stores what is in it
            except Exception:  # noqa: BLE001 - the loop's edge: the store may be away; the rows wait in the journal
                _LOG.exception("%d decisions wait for the store; it is tried again in %.1f s", self.waiting(), pause_s)
                rest_s, pause_s = pause_s, min(pause_s * 2, AGAIN_LAST_S)
            self._tell(self.waiting())
            with self._wake:
                if rest_s is None:
                    self._wake.wait_for(lambda: self._stopped or self._alerts or self._audit)
                    rest_s = GATHER_S
                self._wake.wait_for(lambda: self._stopped, rest_s)


def _token(ids: Sequence[str]) -> str:
    """Return a token that the same rows have again."""
    return blake2b("\n".join(ids).encode(), digest_size=_TOKEN_BYTES).hexdigest()
