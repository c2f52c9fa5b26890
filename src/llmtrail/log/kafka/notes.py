"""What a group says beside a committed offset: the topic's id and the ranges in flight. Pure.

Kafka keeps a text with each committed offset and refuses one from a member that was put out of its group, so a plan
that was committed belongs to the partition's one owner.
"""

from collections.abc import Sequence

import msgspec

from llmtrail.core import json_decode
from llmtrail.log.port import Plan, PlanTooLongError

# A broker's `offset.metadata.max.bytes` is 4,096 unless somebody raised it.
NOTE_BYTES_MAX = 4_096


class _Note(msgspec.Struct, array_like=True):
    topic_id: str
    ranges: list[tuple[int, int, str]]


def to_metadata(topic_id: str, plans: Sequence[Plan]) -> str:
    """Return the text that stands with a committed offset; raises PlanTooLongError past 4,096 bytes."""
    note = _Note(topic_id, [(plan.first_offset, plan.next_offset, plan.note) for plan in plans])
    text = msgspec.json.encode(note).decode()
    # Kafka counts the text's bytes in UTF-8.
    size = len(text.encode())
    if size > NOTE_BYTES_MAX:
        raise PlanTooLongError(f"{len(plans)} ranges in flight need {size} bytes of {NOTE_BYTES_MAX}.")
    return text


def from_metadata(text: str | None, topic_id: str, partition: int) -> list[Plan] | None:
    """Return the ranges in flight, or None where the offset belongs to another topic that once had the same name.

    A text that was not written by this house (a tool that reset the offsets) means: no range is in flight.
    """
    if not text:
        return []
    try:
        note = json_decode.decode(text.encode(), type=_Note)
    except msgspec.DecodeError:
        return []
    if note.topic_id != topic_id:
        return None
    return [Plan(topic_id, partition, first, after, what) for first, after, what in note.ranges]
