"""What a move does in which pieces, and whether it arrived. Pure: knows no store, no log and no clock."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llmtrail.core.slot import SlotKey
from llmtrail.store.copy import DayCount, Range

# One insert of about the writer's size; reading and sending one takes some ten times its bytes in memory.
CHUNK_ROWS_MAX = 10_000
CHUNK_BYTES_MAX = 16 * 1024 * 1024
# Where a moved record stood before: a repeat of the move finds by it what has arrived.
MOVED_HEADER = "moved_from"


class MoveError(RuntimeError):
    """A move that cannot go on; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Rows of a table and day that differ between the two stores."""

    table: str
    day: str
    source_rows: int
    target_rows: int

    def __str__(self) -> str:
        if self.source_rows == self.target_rows:
            return f"{self.table} {self.day}: {self.source_rows} rows in both, but their contents differ"
        return f"{self.table} {self.day}: {self.source_rows} rows here, {self.target_rows} there"


def chunks(segments: Iterable[Range]) -> list[Range]:
    """Join neighbouring segments into chunks within the limits; one segment alone may be over them."""
    joined: list[Range] = []
    for segment in segments:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.rows + segment.rows <= CHUNK_ROWS_MAX
            and last.bytes + segment.bytes <= CHUNK_BYTES_MAX
        ):
            joined[-1] = replace(
                last, last=segment.last, rows=last.rows + segment.rows, bytes=last.bytes + segment.bytes
            )
        else:
            joined.append(segment)
    return joined


def token_of(chunk: Range, move_id: str) -> str:
    """Return the name of a chunk: the same in every repeat of one move, and never that of another chunk."""
    keys = "-".join(".".join(map(str, key)) for key in (chunk.first, chunk.last))
    return f"move:{move_id}:{chunk.table.name}:{chunk.day or 'all'}:{keys}:{chunk.rows}"


def mismatches(source: Iterable[DayCount], target: Iterable[DayCount]) -> list[Mismatch]:
    """Return where two stores differ, by table and day."""
    here = {(one.table, one.day): one for one in source}
    there = {(one.table, one.day): one for one in target}
    found = []
    for place in sorted(here.keys() | there.keys(), key=str):
        table, day = place
        one, other = here.get(place) or DayCount(table, day, 0, 0), there.get(place) or DayCount(table, day, 0, 0)
        if (one.rows, one.digest) != (other.rows, other.digest):
            found.append(Mismatch(table, str(day or ""), one.rows, other.rows))
    return found


def moved_from(topic_id: str, offset: int) -> str:
    """Return what the header of a moved record says."""
    return f"{topic_id}/{offset}"


@dataclass(frozen=True, slots=True)
class Arrived:
    """What a topic holds of this move already, and what of others."""

    offsets: frozenset[int]  # in the log that is moved
    strangers: int
    twice: int


def arrived(headers: Iterable[Mapping[str, str]], topic_id: str) -> Arrived:
    """Judge the records of a topic by their headers: those of this move's log, and those of nobody's."""
    counts: Counter[int] = Counter()
    strangers = 0
    for told in headers:
        source, _, offset = told.get(MOVED_HEADER, "").rpartition("/")
        if source == topic_id and offset.isdecimal():
            counts[int(offset)] += 1
        else:
            strangers += 1
    return Arrived(frozenset(counts), strangers, sum(count - 1 for count in counts.values()))


def slot_partition(key: str, partitions: int) -> int:
    """Return the partition of `llm.stats` that a slot belongs to: its shard's, as the aggregator places it."""
    return SlotKey.parse(key).shard % partitions


def stats_conflicts(slots: Mapping[str, bytes], published: Mapping[str, bytes]) -> Sequence[str]:
    """Return the keys that are published with another value than the one to be moved."""
    return sorted(key for key, value in published.items() if slots.get(key) != value)
