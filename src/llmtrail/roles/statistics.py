"""A board that is kept up from Kafka, for roles that answer from it. Composes; decides nothing."""

import logging
import threading
from collections.abc import Callable, Sequence

from llmtrail.config import Config, kafka_client
from llmtrail.core.board import Board
from llmtrail.core.calendar import UnknownZoneError, check_zone
from llmtrail.log.kafka.tail import Record, TopicTail
from llmtrail.log.port import STATS
from llmtrail.roles.process import RoleError, RoleProcess

_LOG = logging.getLogger(__name__)


def follow_statistics(
    config: Config, process: RoleProcess, news: Callable[[], object] = lambda: None
) -> tuple[Board, TopicTail]:
    """Start to read `llm.stats` in `process`, which is not ready until all of it is read; raises RoleError.

    `news` is called after each change of the board, in the reader's thread.
    """
    for zone in config.stats.zones:
        try:
            check_zone(zone)
        except UnknownZoneError as cause:
            raise RoleError(f"stats.zones: {cause}") from cause
    board = Board(config.stats.zones, threading.Lock())

    def take(records: Sequence[Record]) -> None:
        take_records(board, records)
        news()

    tail = TopicTail(kafka_client(config.kafka), config.kafka.topic_prefix + STATS, take, board.reset)
    tail.start()
    process.on_stop(tail.stop)
    process.add("stats", tail.not_ready)
    return board, tail


def take_records(board: Board, records: Sequence[Record]) -> None:
    """Put records of `llm.stats` on a board; one that is no slot is told in the log and left out."""
    newest = {key.decode("utf-8", "replace"): value for key, value in records}
    try:
        board.put(newest)
    except ValueError:
        for key, value in newest.items():
            _take_one(board, key, value)


def _take_one(board: Board, key: str, value: bytes | None) -> None:
    try:
        board.put({key: value})
    except ValueError as cause:
        _LOG.warning("%s: %r is left out: %s", STATS, key[:80], cause)
