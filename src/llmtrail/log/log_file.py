"""The local log's SQLite file: its tables, its locks and its statements. Knows nothing of threads or callers."""

import fcntl
import os
import sqlite3
from collections.abc import Generator, Sequence
from pathlib import Path
from zlib import crc32

from llmtrail import private_files
from llmtrail.log.groups import Groups
from llmtrail.log.journal import readable_text, rows_of
from llmtrail.log.port import LogCorruptError, Plan, Position
from llmtrail.log.retention import RowSize
from llmtrail.log.rows import Row, checksum, decode

FILE_NAME = "log.sqlite"
LOCK_NAME = "lock"
# Rows are large, so large pages waste little, and a single small append still writes little.
PAGE_BYTES = 16_384
# A row's id is (topic number, first offset): rows of a topic lie together, in order, and need no other index.
OFFSET_BITS = 48
OFFSET_MASK = (1 << OFFSET_BITS) - 1
BUSY_TIMEOUT_MS = 10_000  # Only a reader that catches a file being closed or recovered ever waits.
WRITER_BUSY_MS = 20
# Overwriting a WAL costs less than growing it, so it is kept while the log is busy.
WAL_BYTES_KEPT = 64_000_000
# A group's pages, so that they go to the WAL once, when it commits.
CACHE_KIB = 24_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topics (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic_id TEXT NOT NULL,
    start_offset INTEGER NOT NULL, last_at_ns INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS rows (
    id INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL, appended_at_ns INTEGER NOT NULL,
    crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cursors (
    group_name TEXT NOT NULL, topic TEXT NOT NULL, next_offset INTEGER NOT NULL,
    PRIMARY KEY (group_name, topic)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS plans (
    group_name TEXT NOT NULL, topic TEXT NOT NULL, place INTEGER NOT NULL, topic_id TEXT NOT NULL,
    first_offset INTEGER NOT NULL, next_offset INTEGER NOT NULL, note TEXT NOT NULL,
    PRIMARY KEY (group_name, topic, place)) WITHOUT ROWID;
"""


class LogBusyError(RuntimeError):
    """Another process has the log open for appending."""


class TopicState:
    """What is known of one topic without reading a row."""

    __slots__ = ("end", "last_at_ns", "name", "number", "start", "topic_id")

    def __init__(self, name: str, number: int, topic_id: str) -> None:
        """Begin as an empty topic."""
        self.name, self.number, self.topic_id = name, number, topic_id
        self.start = self.end = self.last_at_ns = 0

    def copy(self) -> "TopicState":
        """Return a copy that may change without the original."""
        other = TopicState(self.name, self.number, self.topic_id)
        other.start, other.end, other.last_at_ns = self.start, self.end, self.last_at_ns
        return other


def lock_folder(folder: Path) -> int:
    """Make the folder this process's own and return the lock's file descriptor.

    Raises LogBusyError where another process has it.
    """
    private_files.make_folder(folder)
    descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(descriptor)
        raise LogBusyError(
            f"the log in {folder} is open in process {owner}: stop that one, send events to it over HTTP,"
            " or open the log for reading only (LocalLogReader)"
        ) from error
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open the file for the one thread that writes, making it where there is none."""
    private_files.make_file(path)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)
    connection.text_factory = readable_text
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        # FULL fsyncs each commit; the appender thread checkpoints by itself, at a moment of its own choosing.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
        # Some builds overwrite what is deleted; here that would write every record a third time.
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        connection.executescript(_SCHEMA)
        # From here on nothing may hold up the thread that appends: it tries again in a moment instead.
        connection.execute(f"PRAGMA busy_timeout = {WRITER_BUSY_MS}")
    except BaseException:  # whatever it was, the file must not stay open behind it
        connection.close()
        raise
    # The directory entries of new files must outlive a power cut too.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file so that nothing can be written through this connection."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000
    )
    connection.text_factory = readable_text
    connection.execute("PRAGMA query_only = ON")
    return connection


def load_topics(connection: sqlite3.Connection) -> dict[str, TopicState]:
    """Return every topic as the file has it."""
    topics = {}
    for row in rows_of(connection, "SELECT name, number, topic_id, start_offset, last_at_ns FROM topics"):
        _check_types("topics", row, (str, int, str, int, int))
        name, number, topic_id, start, last_at_ns = row
        topic = TopicState(name, number, topic_id)
        topic.start = topic.end = start
        topic.last_at_ns = last_at_ns
        lasts = rows_of(
            connection,
            "SELECT next_offset, appended_at_ns FROM rows WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT 1",
            (number << OFFSET_BITS, (number << OFFSET_BITS) | OFFSET_MASK),
        )
        for last in lasts:
            _check_types("rows", last, (int, int))
            topic.end, topic.last_at_ns = max(topic.end, last[0]), max(topic.last_at_ns, last[1])
        topics[name] = topic
    return topics


def load_groups(connection: sqlite3.Connection) -> Groups:
    """Return what each group has begun and finished."""
    groups = Groups()
    for row in rows_of(connection, "SELECT group_name, topic, next_offset FROM cursors"):
        _check_types("cursors", row, (str, str, int))
        group, topic, next_offset = row
        groups.cursors[group, topic] = next_offset
    for row in rows_of(
        connection,
        "SELECT group_name, topic, topic_id, 0, first_offset, next_offset, note FROM plans ORDER BY first_offset",
    ):
        _check_types("plans", row, (str, str, str, int, int, int, str))
        group, topic, *plan = row
        groups.plans.setdefault((group, topic), []).append(Plan(*plan))
    return groups


def _check_types(table: str, row: Sequence[object], types: Sequence[type]) -> None:
    """Raise sqlite3.DatabaseError where a row is not what was written: SQLite itself keeps any type in any column."""
    if list(map(type, row)) != list(types):
        raise sqlite3.DatabaseError(f"the log's table {table} is damaged: {row!r:.200}")


def insert_topic(connection: sqlite3.Connection, topic: TopicState) -> None:
    """Write down a new topic."""
    connection.execute("INSERT INTO topics VALUES (?, ?, ?, 0, 0)", (topic.number, topic.name, topic.topic_id))


def insert_row(connection: sqlite3.Connection, topic: TopicState, row: Row, blob: bytes, blob_crc: int) -> None:
    """Write one row at its place."""
    crc = checksum(blob_crc, row.first_offset, row.next_offset, row.appended_at_ns)
    connection.execute(
        "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
        ((topic.number << OFFSET_BITS) | row.first_offset, row.next_offset, row.appended_at_ns, crc, blob),
    )


def write_group(connection: sqlite3.Connection, groups: Groups, group: str, topic: str) -> None:
    """Write down a group's cursor and plans as they now are."""
    cursor = groups.cursors.get((group, topic))
    if cursor is not None:
        connection.execute("REPLACE INTO cursors VALUES (?, ?, ?)", (group, topic, cursor))
    connection.execute("DELETE FROM plans WHERE group_name = ? AND topic = ?", (group, topic))
    connection.executemany(
        "INSERT INTO plans VALUES (?, ?, ?, ?, ?, ?, ?)",
        [
            (group, topic, place, plan.topic_id, plan.first_offset, plan.next_offset, plan.note)
            for place, plan in enumerate(groups.plans.get((group, topic), []))
        ],
    )


def delete_rows(connection: sqlite3.Connection, topic: TopicState, rows_max: int) -> int:
    """Delete up to `rows_max` rows that lie wholly below the topic's start; return how many went."""
    base = topic.number << OFFSET_BITS
    # The row before the one that holds the start is the last that may go: ids order rows as offsets do.
    return connection.execute(
        "DELETE FROM rows WHERE id IN (SELECT id FROM rows WHERE id >= ? AND id < ? AND next_offset <= ?"
        " ORDER BY id LIMIT ?)",
        (base, base | topic.start, topic.start, rows_max),
    ).rowcount


def write_start(connection: sqlite3.Connection, topic: TopicState) -> None:
    """Write down where the topic now starts; its last append time must outlive its last row."""
    connection.execute(
        "UPDATE topics SET start_offset = ?, last_at_ns = ? WHERE number = ?",
        (topic.start, topic.last_at_ns, topic.number),
    )


def read_rows(connection: sqlite3.Connection, topic: TopicState, offset: int, end: int) -> Generator[Row, None, None]:
    """Yield the rows that hold `offset` to `end`, checked; LogCorruptError at the first that is damaged."""
    base = topic.number << OFFSET_BITS
    ((last,),) = rows_of(connection, "SELECT max(id) FROM rows WHERE id BETWEEN ? AND ?", (base, base | offset))
    first = last if last is not None else base
    cursor = connection.execute(
        "SELECT id, next_offset, appended_at_ns, crc, blob FROM rows WHERE id >= ? AND id < ? ORDER BY id",
        (first, base | end),
    )
    wanted = offset
    try:
        for row_id, next_offset, appended_at_ns, crc, blob in cursor:
            place = row_id & OFFSET_MASK
            if not isinstance(next_offset, int) or not isinstance(appended_at_ns, int):
                break
            if place > wanted or next_offset <= place:
                break
            if next_offset <= wanted:
                continue
            yield _checked(topic, (place, next_offset, appended_at_ns), crc, blob)
            wanted = next_offset
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise LogCorruptError(topic.name, Position(topic.topic_id, 0, wanted), f"unreadable ({error})") from error
    finally:
        cursor.close()
    if wanted < end:
        raise LogCorruptError(topic.name, Position(topic.topic_id, 0, wanted), "records are missing here")


def _checked(topic: TopicState, place: tuple[int, int, int], crc: int, blob: bytes) -> Row:
    first_offset, next_offset, appended_at_ns = place
    position = Position(topic.topic_id, 0, first_offset)
    if not isinstance(blob, bytes):
        raise LogCorruptError(topic.name, position, "the row's records are no bytes")
    if checksum(crc32(blob), *place) != crc:
        raise LogCorruptError(topic.name, position, "the row's checksum does not match")
    try:
        row = decode(blob, first_offset, appended_at_ns)
    except ValueError as error:
        raise LogCorruptError(topic.name, position, str(error)) from error
    if row.next_offset != next_offset:
        raise LogCorruptError(topic.name, position, f"holds {len(row.values)} records, not up to {next_offset}")
    return row


def row_sizes(connection: sqlite3.Connection, topic: TopicState) -> list[RowSize]:
    """Return place, age and size of each of the topic's rows, in log order."""
    base = topic.number << OFFSET_BITS
    found = connection.execute(
        "SELECT next_offset, appended_at_ns, length(blob) FROM rows WHERE id BETWEEN ? AND ? ORDER BY id",
        (base | topic.start, base | OFFSET_MASK),
    )
    return [RowSize(*row) for row in found]
