"""A view of a local log that another process may have open: reads, and can change nothing."""

from pathlib import Path

from llmtrail.log import log_file
from llmtrail.log.groups import only_partition
from llmtrail.log.port import LogCorruptError, Records
from llmtrail.log.readers import Readers
from llmtrail.log.rows import Gathering, Span


class LocalLogReader:
    """Reads a local log's folder beside the process that appends to it."""

    def __init__(self, path: Path | str) -> None:
        """Open the log in the folder `path`; FileNotFoundError where there is none."""
        file = Path(path) / log_file.FILE_NAME
        if not file.is_file():
            raise FileNotFoundError(f"there is no log in {Path(path)}: start llmtrail with this folder first")
        self._readers = Readers(file)

    def topics(self) -> dict[str, tuple[int, int]]:
        """Return each topic's start and end."""
        with self._readers.borrow() as connection:
            return {name: (topic.start, topic.end) for name, topic in log_file.load_topics(connection).items()}

    def read(self, topic: str, partition: int, offset: int, records_max: int, bytes_max: int) -> Records:
        """Return records from `offset` on; LogCorruptError where a row is damaged, KeyError for no such topic."""
        only_partition(partition)
        with self._readers.borrow() as connection:
            kept = log_file.load_topics(connection)[topic]
            gathering = Gathering(Span(max(offset, kept.start), records_max, bytes_max))
            if records_max > 0 and gathering.next_offset < kept.end:
                for row in log_file.read_rows(connection, kept, gathering.next_offset, kept.end):
                    if not gathering.add(row):
                        break
            return gathering.records(topic, kept.topic_id)

    def damage(self) -> list[LogCorruptError]:
        """Return the first damage of each topic, having read and checked every row."""
        found = []
        with self._readers.borrow() as connection:
            for topic in log_file.load_topics(connection).values():
                try:
                    for _ in log_file.read_rows(connection, topic, topic.start, topic.end):
                        pass
                except LogCorruptError as error:
                    found.append(error)
        return found

    def close(self) -> None:
        """Close."""
        self._readers.close()
