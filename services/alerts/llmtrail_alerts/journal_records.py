"""Which records of the decider's journal can be read. Pure; knows their keys and types, not what is done with them.

Over Kafka the journal is a topic: whoever may write to it could leave a record that stops every later start.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.scope import parse_scope
from llmtrail_alerts.grouping import BATCH, BUCKET, MEMBER, Batch, Bucket
from llmtrail_alerts.model import GroupState
from llmtrail_alerts.outbox import decode_entry, is_entry_key
from llmtrail_alerts.told_rows import decode_audit, decode_row, is_audit_key, is_row_key

Record = tuple[str, bytes]
STATE = "group"
GROUPING = "grouping"


def readable(records: Sequence[Record]) -> tuple[list[Record], Mapping[str, str]]:
    """Split a journal into the records that can be read, and why each of the others cannot, by its key."""
    found: list[Record] = []
    damaged: dict[str, str] = {}
    for key, value in records:
        try:
            _check(key, value)
        except (msgspec.DecodeError, ValueError) as cause:
            damaged[key] = str(cause)
        else:
            found.append((key, value))
    return found, damaged


def _check(key: str, value: bytes) -> None:
    """Raise msgspec.DecodeError or ValueError where a record is not what its key says."""
    if key.startswith(f'["{STATE}",'):
        parse_scope(json_decode.decode(value, type=GroupState).scope)
    elif key.startswith(f'["{GROUPING}",'):
        _check_grouping(json_decode.decode(key, type=tuple[str, str])[1], value)
    else:
        for is_kind, decode in _BY_KEY:
            if is_kind(key):
                decode(value)


def _check_grouping(name: str, value: bytes) -> None:
    if name.startswith(BUCKET):
        json_decode.decode(name.removeprefix(BUCKET), type=tuple[str, str, str])
        json_decode.decode(value, type=Bucket)
    elif name.startswith(BATCH):
        json_decode.decode(value, type=Batch)
    elif name.startswith(MEMBER):
        json_decode.decode(value, type=str)
    else:
        raise ValueError(f"{name[:80]!r} names no group")


_BY_KEY: Sequence[tuple[Callable[[str], bool], Callable[[bytes], object]]] = (
    (is_entry_key, decode_entry),
    (is_row_key, decode_row),
    (is_audit_key, decode_audit),
)
