"""Decide which records are old enough to go. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of what is done with is kept all the same: whichever limit is reached first counts."""

    age_ns: int
    bytes: int


@dataclass(frozen=True, slots=True)
class RowSize:
    """A row's place, age and size."""

    next_offset: int
    appended_at_ns: int
    bytes: int


def offset_to_keep(rows: Sequence[RowSize], keep: Keep, now_ns: int) -> int | None:
    """Return the offset below which records may go, or None where all stay. `rows` are in log order."""
    held = 0
    for row in reversed(rows):
        held += row.bytes
        if held > keep.bytes or now_ns - row.appended_at_ns > keep.age_ns:
            return row.next_offset
    return None
