"""Connections that only read the local log's file, shared by threads. Knows nothing of rows."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmtrail.log.log_file import open_for_reading
from llmtrail.log.port import LogClosedError


class Readers:
    """Lends each reader a connection of its own, so that no reader waits for another or for the appender."""

    def __init__(self, file: Path) -> None:
        """Begin with no connection."""
        self._file = file
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection, in one snapshot of the file."""
        with self._lock:
            if self._closed:
                raise LogClosedError("the log was closed")
            connection = self._idle.pop() if self._idle else None
        connection = connection or open_for_reading(self._file)
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections now and the others when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
