"""`llmtrail move`: an embedded installation's data to Kafka and ClickHouse. Composes; `move_plan` decides.

The order is what makes it exact. First everything acknowledged goes where it belongs by the installation's own writer
and fold; then nothing of the folder changes any more, and each part can be compared with what arrived, and begun anew
wherever a former run was killed. The groups are placed last: writers begin behind what was moved, and look back on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from llmtrail.clock import Clock
from llmtrail.config import Config, ConfigError, kafka_client, store_tls, store_url
from llmtrail.local import moved_file
from llmtrail.local.moved_file import MovedError
from llmtrail.log.kafka.whole import TopicSilentError
from llmtrail.log.port import CALLS, SPANS, LogFullError
from llmtrail.roles.move_kafka import Kafka
from llmtrail.roles.move_plan import Mismatch, MoveError, chunks, mismatches, token_of
from llmtrail.roles.move_source import Source
from llmtrail.store.copy import (
    DayCount,
    Range,
    Table,
    count_copied,
    day_counts,
    read_range,
    segments,
    stored_columns,
    tables,
    write_range,
)
from llmtrail.store.errors import StoreError
from llmtrail.store.handle import Handle, open_http
from llmtrail.store.migrate import migrate

_NS_PER_S = 1_000_000_000

# (what is done, how far, of how many): called often.
Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Report:
    """What was moved, or would be."""

    finished_at: str = ""  # "" while it is not, or for a dry run
    waiting: dict[str, int] = field(default_factory=dict)  # acknowledged and not yet stored, when it began
    rows: dict[str, int] = field(default_factory=dict)  # by table, of every day
    days: int = 0
    records: dict[str, int] = field(default_factory=dict)  # by topic
    slots: int = 0


class Move:
    """One move of one folder. `run` may be killed at any moment and run again."""

    def __init__(self, config: Config, clock: Clock, progress: Progress = lambda *_: None) -> None:
        """Take settings that name the folder (server.data), Kafka and ClickHouse."""
        self._config = config
        self._clock = clock
        self._progress = progress
        self._folder = config.server.data

    def run(self, *, dry: bool = False) -> Report:
        """Move everything, or only look at what there is; raises MoveError, with what to do."""
        kafka, store = self._config.kafka, store_url(self._config.store)
        if not kafka.bootstrap_servers:
            raise MoveError("no Kafka is named: --kafka HOST:PORT, or [kafka] bootstrap_servers.")
        if not store:
            raise MoveError("no ClickHouse is named: --clickhouse URL, or LLMTRAIL_STORE__URL.")
        try:
            if moved_file.read(self._folder).get("finished_at"):
                moved_file.check_at_home(self._folder)
            with Source(self._config, self._clock) as source:
                topics = Kafka(kafka_client(kafka), kafka.topic_prefix)
                target = open_http(store, replicated=bool(self._config.store.cluster), tls=store_tls(self._config))
                try:
                    return self._look(source, topics, target) if dry else self._move(source, topics, target)
                finally:
                    target.close()
        except (StoreError, TopicSilentError, LogFullError, ConfigError, MovedError) as cause:
            raise MoveError(str(cause)) from cause

    # --- what there is ---

    def _look(self, source: Source, topics: Kafka, target: Handle) -> Report:
        self._check(source, topics, target)
        report = self._begin_report(source)
        counts = [one for table in self._tables(source) for one in day_counts(source.handle, table, digest=False)]
        _tell_rows(report, counts)
        for topic in (CALLS, SPANS):
            report.records[topic] = source.log.end(topic, 0) - source.log.start(topic, 0)
        report.slots = len(source.slots())
        return report

    def _check(self, source: Source, topics: Kafka, target: Handle) -> None:
        """Raise MoveError where the places to move to hold anything that is not of this move."""
        begun = moved_file.read(self._folder)
        wanted = self._places(topics)
        if begun and {name: begun.get(name) for name in wanted} != wanted:
            raise MoveError(
                f"a move to {begun['clickhouse']}, or to another Kafka, was begun; finish that one, or remove what it "
                f"brought there and {self._folder / moved_file.FILE_NAME}."
            )
        topics.check_takes({topic: source.log.topic_id(topic) for topic in (CALLS, SPANS)}, source.slots())
        if begun:
            return
        for table in self._tables(source):
            if table.is_shared:
                continue
            if there := sum(one.rows for one in day_counts(target, table, digest=False)):
                raise MoveError(f"this ClickHouse is not empty: rows in {table.name}: {there}.")

    def _places(self, topics: Kafka) -> dict[str, Any]:
        parts = urlsplit(store_url(self._config.store))
        return {
            "clickhouse": parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),  # without its password
            "topics": topics.ids,
        }

    def _tables(self, source: Source) -> list[Table]:
        return tables(source.handle) if source.has_rows else []

    def _begin_report(self, source: Source) -> Report:
        waiting = source.waiting()
        return Report(
            waiting={"calls": waiting.calls, "spans": waiting.spans, "dead_letters": waiting.dead_letters},
        )

    # --- moving ---

    def _move(self, source: Source, topics: Kafka, target: Handle) -> Report:
        report = self._begin_report(source)
        all_waiting = source.waiting().all
        self._check(source, topics, target)
        moved_file.write(self._folder, self._places(topics))
        source.finish(lambda left: self._progress("storing what the log still holds", all_waiting - left, all_waiting))
        migrate(target, cluster=self._config.store.cluster)
        _tell_rows(report, self._move_rows(source, target))
        for topic in (CALLS, SPANS):
            self._move_records(source, topics, topic, report)
        slots = source.slots()
        topics.publish(slots, lambda done: self._progress("statistics", done, len(slots)))
        report.slots = len(slots)
        topics.check_idle()
        topics.place_groups()
        now = datetime.fromtimestamp(self._clock.now_ns() / _NS_PER_S, UTC)
        report.finished_at = now.isoformat(timespec="seconds")
        moved_file.write(self._folder, self._places(topics) | {"finished_at": report.finished_at})
        return report

    def _move_records(self, source: Source, topics: Kafka, topic: str, report: Report) -> None:
        total = source.log.end(topic, 0) - source.log.start(topic, 0)
        report.records[topic] = topics.copy(
            topic, source.records(topic), lambda done: self._progress(topic, done, total)
        )

    def _move_rows(self, source: Source, target: Handle) -> list[DayCount]:
        """Copy every table, compare every day; return what there is in both."""
        move_id = source.log.topic_id(CALLS)
        counts: list[DayCount] = []
        for table in self._tables(source):
            here = day_counts(source.handle, table, digest=True)
            total, done = sum(one.rows for one in here), 0
            columns = stored_columns(source.handle, table)
            for day in [one.day for one in here] if table.day else [None] * bool(here):
                for chunk in chunks(segments(source.handle, table, day)):
                    self._copy(source.handle, target, chunk, columns, token_of(chunk, move_id))
                    done += chunk.rows
                    self._progress(table.name, done, total)
            differ = [] if table.is_shared else mismatches(here, day_counts(target, table, digest=True))
            if differ:
                raise MoveError(f"what arrived differs: {'; '.join(map(str, differ[:3]))}. Run the same command again.")
            counts += here
        return counts

    def _copy(self, here: Handle, there: Handle, chunk: Range, columns: list[str], token: str) -> None:
        """Copy a chunk unless it stands there already; raises MoveError where it does not arrive."""
        if count_copied(here, there, chunk) == chunk.rows:
            return
        packed = read_range(here, chunk)
        write_range(there, chunk, columns, packed, token)
        if count_copied(here, there, chunk) != chunk.rows:
            # After an unclean end a server may remember a token whose rows are gone: another one brings them.
            write_range(there, chunk, columns, packed, f"{token}:repair:{self._clock.now_ns()}")
            if (arrived := count_copied(here, there, chunk)) != chunk.rows:
                differ = Mismatch(chunk.table.name, str(chunk.day or ""), chunk.rows, arrived)
                raise MoveError(f"what arrived differs: {differ}. Run the same command again.")


def _tell_rows(report: Report, counts: list[DayCount]) -> None:
    for one in counts:
        report.rows[one.table] = report.rows.get(one.table, 0) + one.rows
    report.days = len({one.day for one in counts if one.day is not None})
