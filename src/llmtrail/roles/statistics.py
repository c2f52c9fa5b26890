"""A board that is kept up from Kafka, for roles that answer from it. Composes; decides nothing."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from llmtrail.config import Config, kafka_client
from llmtrail.core.board import Board
from llmtrail.core.calendar import UnknownZoneError, check_zone
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.slot_parts import check_slot
from llmtrail.log.kafka.tail import Record, TopicTail
from llmtrail.log.port import GPU_STATS, STATS
from llmtrail.roles.kept import KeptTopic
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
    kept = KeptTopic(config, lambda now: board.keep(now.zones))
    kept.start(process)

    def take(records: Sequence[Record]) -> None:
        take_records(board, records, check_slot, lambda strange: process.metrics.unread(STATS, strange))
        news()

    return board, _follow(config, process, STATS, take, board.reset)


def follow_gpu_statistics(
    config: Config, process: RoleProcess, news: Callable[[], object] = lambda: None
) -> tuple[GpuBoard, TopicTail]:
    """Start to read `llm.gpu_stats` in `process`, as `follow_statistics` does."""
    board = GpuBoard(threading.Lock())

    def take(records: Sequence[Record]) -> None:
        take_records(board, records, unread=lambda strange: process.metrics.unread(GPU_STATS, strange))
        news()

    return board, _follow(config, process, GPU_STATS, take, board.reset)


def _follow(
    config: Config,
    process: RoleProcess,
    topic: str,
    take: Callable[[Sequence[Record]], None],
    reset: Callable[[], None],
) -> TopicTail:
    tail = TopicTail(kafka_client(config.kafka), config.kafka.topic_prefix + topic, take, reset)
    tail.start()
    process.on_stop(tail.stop)
    process.add(topic.removeprefix("llm."), tail.not_ready)
    return tail


class Slots(Protocol):
    """A board as records fill it."""

    def put(self, changes: Mapping[str, bytes | None]) -> None:
        """Take what became of some slots in one step; raises ValueError where one is no slot, and takes nothing."""


def take_records(
    board: Slots,
    records: Sequence[Record],
    check: Callable[[bytes], None] = lambda _: None,
    unread: Callable[[int], object] = lambda _: None,
) -> None:
    """Put the records of a topic of slots on a board; one that is no slot is reported in the log and left out.

    `check` raises ValueError for a value that the board would take and could not read later; `unread` counts those.
    """
    newest = {key.decode("utf-8", "replace"): value for key, value in records}
    try:
        for value in newest.values():
            if value is not None:
                check(value)
        board.put(newest)
    except ValueError:
        if strange := sum(not _take_one(board, key, value, check) for key, value in newest.items()):
            unread(strange)


def _take_one(board: Slots, key: str, value: bytes | None, check: Callable[[bytes], None]) -> bool:
    try:
        if value is not None:
            check(value)
        board.put({key: value})
    except ValueError as cause:
        _LOG.warning("%r is left out of the statistics: %s", key[:80], cause)
        return False
    return True
