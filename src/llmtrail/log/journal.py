"""A small durable table by key whose owner writes several keys in one step. Knows nothing of what is kept.

Unlike a log it remembers the newest value of each key. Embedded it is a file; over Kafka a partition of a compacted
topic, whose owner alone may write.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from llmtrail import private_files

# A key and its value, None where the key goes.
Record = tuple[str, bytes | None]

# A commit waits so long for a reader's snapshot; readers are short.
_BUSY_S = 10.0
# SQLite keeps any type in any column: a damaged page may say that a value is a number.
_ALL = "SELECT key, value FROM journal WHERE typeof(key) = 'text' AND typeof(value) = 'blob'"


def readable_text(stored: bytes) -> str:
    """Read a text of a file that may be damaged: what is no UTF-8 is no key of ours."""
    return stored.decode("utf-8", "replace")


def rows_of(database: sqlite3.Connection, question: str, told: Sequence[Any] = ()) -> list[Any]:
    """Return the rows of a question to a file that may be damaged. Raises sqlite3.Error, and nothing else.

    Names of columns are read as strict UTF-8, whatever is said of texts: in a damaged file they may be none.
    """
    try:
        return database.execute(question, told).fetchall()
    except UnicodeDecodeError as cause:
        raise sqlite3.DatabaseError(f"the file is damaged: a name in it is no text ({cause.reason})") from cause


class JournalLostError(RuntimeError):
    """Another process owns the journal now: what this one knows is no longer to be written."""


class Journal(Protocol):
    """Where decisions are kept. Safe from several threads."""

    def load(self) -> Iterable[tuple[str, bytes]]:
        """Return every key with its newest value."""

    def put(self, records: Sequence[Record], shown: Sequence[Record] = ()) -> None:
        """Write all records in one step, durable when it returns, and with them what is shown to everybody.

        Raises JournalLostError where it is another's now.
        """


class FileJournal:
    """A journal in a file of this machine, which one process has."""

    def __init__(self, file: Path, show: Callable[[Sequence[Record]], object] = lambda _: None) -> None:
        """Open or make the file. What is shown to everybody is in this process alone: `show` takes it."""
        self._show = show
        self._lock = threading.Lock()
        private_files.make_file(file)
        self._db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._db.text_factory = readable_text
        rows_of(self._db, "PRAGMA journal_mode=WAL")
        # What was sent is not sent again after a power cut.
        rows_of(self._db, "PRAGMA synchronous=FULL")
        rows_of(
            self._db, "CREATE TABLE IF NOT EXISTS journal (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
        )

    def load(self) -> Iterable[tuple[str, bytes]]:
        """Return every key with its newest value."""
        with self._lock:
            return rows_of(self._db, _ALL)

    def put(self, records: Sequence[Record], shown: Sequence[Record] = ()) -> None:
        """Write all records in one step, durable when it returns; then show what is to be shown."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for key, value in records:
                    if value is None:
                        self._db.execute("DELETE FROM journal WHERE key = ?", (key,))
                    else:
                        self._db.execute("INSERT OR REPLACE INTO journal VALUES (?, ?)", (key, value))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        if shown:
            self._show(shown)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
