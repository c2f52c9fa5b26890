"""Where a process that has a store keeps its audit: on the log before the table, or in it. Decides nothing."""

from collections.abc import Sequence
from functools import partial
from hashlib import blake2b

from llmtrail.access.auditor import Auditor
from llmtrail.clock import Clock
from llmtrail.core.audit import AuditRow
from llmtrail.log.port import AUDIT, Log
from llmtrail.metrics import Metrics
from llmtrail.store.alerts import insert_audit
from llmtrail.store.handle import Handle
from llmtrail_ingest.audit_rows import audit_append, audit_writer
from llmtrail_ingest.topic_writer import TopicWriter

_TOKEN_BYTES = 12


class LocalAudit:
    """The audit of one process that has log and store."""

    def __init__(self, clock: Clock, auditor: Auditor, metrics: Metrics) -> None:
        self._clock = clock
        self._auditor = auditor
        self._metrics = metrics

    def start(self, log: Log, handle: Handle) -> TopicWriter:
        """Begin to keep rows on the log; return what brings them into the table."""

        def keep(rows: Sequence[AuditRow]) -> None:
            log.append([audit_append(rows)], self._clock.now_ns())

        self._auditor.keep = keep
        self._auditor.start()
        return audit_writer(log, partial(insert_audit, handle), partial(self._metrics.unread, AUDIT))


class AuditTable:
    """Keeps rows in the table itself, where there is no log before it."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __call__(self, rows: Sequence[AuditRow]) -> None:
        """Insert rows; the same again, as after a time-out, are stored once."""
        names = "\n".join(f"{row.audit_id} {row.times}" for row in rows)
        insert_audit(self._handle, rows, blake2b(names.encode(), digest_size=_TOKEN_BYTES).hexdigest())
