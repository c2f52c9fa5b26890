"""Limits as published on `llm.limits`, for roles that tell callers of them. Composes; decides nothing."""

import logging
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute

from llmtrail.config import Config, kafka_client
from llmtrail.core.limit import BadLimitError, LimitChange, UnreadLimit, read_change
from llmtrail.local.alerts import new_limit_board
from llmtrail.log.kafka.tail import Record, TopicTail
from llmtrail.log.port import LIMITS
from llmtrail.roles.process import RoleProcess
from llmtrail_web.limit_board import LimitBoard
from llmtrail_web.limits import limit_routes

_LOG = logging.getLogger(__name__)


def limits_from_kafka(config: Config, process: RoleProcess) -> list[BaseRoute]:
    """Start to follow `llm.limits` in `process`, and return `GET /v1/limits`.

    Until all of it was read once the answer is 503: each caller goes on or refuses, as it was told to.
    """
    board = new_limit_board()
    tail = TopicTail(
        kafka_client(config.kafka),
        config.kafka.topic_prefix + LIMITS,
        lambda records: take_limits(board, records, process.metrics.unread),
    )
    tail.start()
    process.on_stop(tail.stop)
    process.before_stop(board.close)
    process.add("limits", tail.not_ready)
    return [*limit_routes(board, process.gate, tail.not_ready)]


def take_limits(board: LimitBoard, records: Sequence[Record], unread: Callable[[str], object]) -> None:
    """Put the records of `llm.limits` on a board; `unread` counts those that cannot be read, by topic."""
    changes: dict[str, LimitChange] = {}
    for key, value in records:
        try:
            change = read_change(key, value)
        except BadLimitError as cause:
            _LOG.warning("%s: %r is left out: %s", LIMITS, key[:80], cause)
            unread(LIMITS)
            continue
        changes[key.decode()] = change
        if isinstance(change, UnreadLimit):
            _LOG.warning("%s: what %r says cannot be read: callers that fail closed stop there", LIMITS, key[:80])
            unread(LIMITS)
    board.change(changes)
