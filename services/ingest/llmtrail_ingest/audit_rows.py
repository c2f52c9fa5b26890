"""Rows of the audit on their way through the log: how they stand on it, and how they come into the table."""

import logging
from collections.abc import Callable, Sequence

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.audit import AuditRow
from llmtrail.log.port import AUDIT, Append, GroupLog, Records
from llmtrail_ingest.topic_writer import TopicWriter

_LOG = logging.getLogger(__name__)

GROUP = "audit-writer"
_DECODER = json_decode.Decoder(AuditRow)
_ENCODER = msgspec.json.Encoder()

# Inserts rows; the same rows with the same token, or ids, are stored once.
Insert = Callable[[Sequence[AuditRow], str], None]


def audit_append(rows: Sequence[AuditRow]) -> Append:
    """Return the append that keeps rows: those of one entry stay in order."""
    return Append(AUDIT, [_ENCODER.encode(row) for row in rows], [row.audit_id.encode() for row in rows])


def audit_rows(records: Records) -> tuple[list[AuditRow], int]:
    """Return the rows of a run of `llm.audit`, and how many of its records are none."""
    rows = []
    for value in records.values:
        try:
            rows.append(_DECODER.decode(value))
        except msgspec.MsgspecError:
            continue
    return rows, len(records.values) - len(rows)


def audit_writer(log: GroupLog, insert: Insert, unread: Callable[[int], None]) -> TopicWriter:
    """Return what carries `llm.audit` into the table; `unread` counts records that are no rows."""

    def store(records: Records, token: str) -> None:
        rows, strange = audit_rows(records)
        if strange:
            _LOG.warning("%d records of %s are no rows of the audit: left out", strange, AUDIT)
        insert(rows, token)
        # Counted once they are done with: what is tried again is no further record.
        if strange:
            unread(strange)

    return TopicWriter(log, AUDIT, GROUP, store)
