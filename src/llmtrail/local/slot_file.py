"""Slots of the rolling statistics in a file of this machine. Knows bytes by key, not what they mean."""

import sqlite3
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from pathlib import Path

from llmtrail import private_files
from llmtrail.log.journal import readable_text, rows_of

FILE_NAME = "statistics.db"  # in the data folder
# A commit waits so long for a reader's snapshot; readers are short.
_BUSY_S = 10.0
# SQLite keeps any type in any column: a damaged page may say that a value is a number.
_KEYS = "SELECT key FROM slots WHERE typeof(key) = 'text' AND typeof(value) = 'blob'"
_ALL = "SELECT key, value FROM slots WHERE typeof(key) = 'text' AND typeof(value) = 'blob'"
_ONE = "SELECT value FROM slots WHERE key = ? AND typeof(key) = 'text' AND typeof(value) = 'blob'"


def read_slots(file: Path) -> dict[str, bytes]:
    """Return every slot of a file, as it stands at one moment, and change nothing; what is no bytes by a text is none.

    Raises sqlite3.Error where it is no file of slots.
    """
    # Its writer may have been killed: what is in its journal counts, and only a reader that may lock it sees that.
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_S)) as database:
        database.text_factory = readable_text
        return dict(rows_of(database, _ALL))


class SlotFile(MutableMapping[str, bytes]):
    """A table of bytes in SQLite. What was set or deleted is seen at once, and durable after `commit`. One thread."""

    def __init__(self, file: Path) -> None:
        """Open or make the file."""
        private_files.make_file(file)
        self._db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        self._db.text_factory = readable_text
        rows_of(self._db, "PRAGMA journal_mode=WAL")
        # The log forgets a range once it is committed, so its statistics must outlive a power cut by themselves.
        rows_of(self._db, "PRAGMA synchronous=FULL")
        rows_of(self._db, "CREATE TABLE IF NOT EXISTS slots (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        self._waiting: dict[str, bytes | None] = {}

    def __getitem__(self, key: str) -> bytes:
        if key in self._waiting:
            value = self._waiting[key]
        else:
            rows = rows_of(self._db, _ONE, (key,))
            value = rows[0][0] if rows else None
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: bytes) -> None:
        self._waiting[key] = value

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._waiting[key] = None

    def __iter__(self) -> Iterator[str]:
        stored = [row[0] for row in rows_of(self._db, _KEYS)]
        fresh = [key for key, value in self._waiting.items() if value is not None]
        return iter(dict.fromkeys([key for key in stored if self._waiting.get(key, b"") is not None] + fresh))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        if key in self._waiting:
            return self._waiting[str(key)] is not None
        return bool(rows_of(self._db, _ONE, (key,)))

    def commit(self) -> None:
        """Make everything that was changed durable in one step."""
        if not self._waiting:
            return
        puts = [(key, value) for key, value in self._waiting.items() if value is not None]
        gone = [(key,) for key, value in self._waiting.items() if value is None]
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT OR REPLACE INTO slots VALUES (?, ?)", puts)
            self._db.executemany("DELETE FROM slots WHERE key = ?", gone)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._waiting.clear()

    def roll_back(self) -> None:
        """Forget what was changed since the last commit."""
        self._waiting.clear()

    def close(self) -> None:
        """Close the file."""
        self._db.close()
