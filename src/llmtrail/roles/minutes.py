"""The minutes of the statistics over Kafka: who reads `llm.stats` into the table. Composes; decides nothing."""

import threading

from llmtrail.config import Config, kafka_client
from llmtrail.core.minutes import MinuteBook
from llmtrail.local.sink import MinuteSink
from llmtrail.log.kafka.group import GroupReader, GroupSettings
from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.port import STATS
from llmtrail.metrics import MINUTES_BEHIND_SECONDS, MINUTES_ROWS, MINUTES_UNPLACED
from llmtrail.roles.process import RoleProcess
from llmtrail.store.handle import Handle
from llmtrail_aggregator.minute_cursor import GROUP, REREAD_RECORDS, MinuteCursor
from llmtrail_aggregator.minutes import MinuteWriter

_NS_PER_S = 1_000_000_000


def minute_group(config: Config, handle: Handle, process: RoleProcess) -> GroupReader:
    """Return the member that writes the minutes of the partitions it is given; each has one writer in the group."""
    metrics = process.metrics
    books: dict[int, MinuteBook] = {}

    def cursor(log: PartitionLog, partition: int) -> MinuteCursor:
        books[partition] = MinuteBook(config.stats.zones[0], threading.Lock())
        writer = MinuteWriter(
            books[partition],
            MinuteSink(handle),
            lambda seconds, rows: metrics.count(MINUTES_ROWS, rows, seconds=str(seconds)),
        )
        return MinuteCursor(log, partition, writer, process.clock)

    settings = GroupSettings(
        kafka_client(config.kafka), GROUP, STATS, config.kafka.topic_prefix, config.kafka.instance_id, REREAD_RECORDS
    )
    group = GroupReader(settings, cursor)

    def measure() -> None:
        now_s = process.clock.now_ns() // _NS_PER_S
        ours = [books[partition] for partition in group.partitions() if partition in books]
        metrics.set(MINUTES_BEHIND_SECONDS, max((book.behind_s(now_s) for book in ours), default=0))
        metrics.set(MINUTES_UNPLACED, sum(book.unplaced for book in ours))

    process.before_scrape(measure)
    return group
