"""The minutes of the statistics over Kafka: who reads `llm.stats` into the table. Composes; decides nothing."""

import logging
import threading
from collections.abc import Sequence

from llmtrail.config import Config, kafka_client
from llmtrail.core.minutes import MinuteBook
from llmtrail.local.sink import MinuteSink
from llmtrail.log.kafka.group import GroupReader, GroupSettings
from llmtrail.log.kafka.partition import PartitionLog
from llmtrail.log.port import STATS, Records
from llmtrail.metrics import MINUTES_BEHIND_SECONDS, MINUTES_ROWS, MINUTES_UNPLACED
from llmtrail.roles.ports import APPEND_S_MAX, Producer
from llmtrail.roles.process import RoleProcess
from llmtrail.store.handle import Handle
from llmtrail_aggregator.minute_cursor import GROUP, REREAD_RECORDS, MinuteCursor
from llmtrail_aggregator.minutes import MinuteWriter
from llmtrail_ingest.dead_letter import letters_append, record_letter

_LOG = logging.getLogger(__name__)

_NS_PER_S = 1_000_000_000
_FROM_LOG = {"source": "log"}


def minute_group(config: Config, handle: Handle, process: RoleProcess, producer: Producer) -> GroupReader:
    """Return the member that writes the minutes of the partitions it is given; each has one writer in the group."""
    metrics = process.metrics
    books: dict[int, MinuteBook] = {}

    def turn_away(records: Records, strange: Sequence[tuple[int, str]]) -> None:
        metrics.unread(STATS, len(strange))
        letters = [record_letter(records, index, "bad_slot", why) for index, why in strange]
        try:
            # One by one: together they may be more than one append holds.
            for sent in [producer.append([letters_append([letter], _FROM_LOG)]) for letter in letters]:
                sent.result(APPEND_S_MAX)
        except Exception as cause:  # noqa: BLE001 - whatever the driver raises: the next start meets them again.
            _LOG.warning("%s: %d dead letters are not kept: %s", STATS, len(letters), cause)

    def cursor(log: PartitionLog, partition: int) -> MinuteCursor:
        books[partition] = MinuteBook(config.stats.zones[0], threading.Lock())
        writer = MinuteWriter(
            books[partition],
            MinuteSink(handle),
            lambda seconds, rows: metrics.count(MINUTES_ROWS, rows, seconds=str(seconds)),
        )
        return MinuteCursor(log, partition, writer, process.clock, turn_away)

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
