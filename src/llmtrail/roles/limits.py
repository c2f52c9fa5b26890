"""Limits as published on `llm.limits`, for roles that tell callers of them. Composes; decides nothing."""

import logging
from collections.abc import Sequence

from starlette.routing import BaseRoute

from llmtrail.config import Config, kafka_client
from llmtrail.core.limit import BadLimitError, LimitState, decode_limit
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
        kafka_client(config.kafka), config.kafka.topic_prefix + LIMITS, lambda records: _take(board, records)
    )
    tail.start()
    process.on_stop(tail.stop)
    process.before_stop(board.close)
    process.add("limits", tail.not_ready)
    return [*limit_routes(board, process.gate, tail.not_ready)]


def _take(board: LimitBoard, records: Sequence[Record]) -> None:
    changes: dict[str, LimitState | None] = {}
    for key, value in records:
        try:
            changes[key.decode()] = None if value is None else decode_limit(value)
        except (BadLimitError, UnicodeDecodeError) as cause:
            _LOG.warning("%s: %r is left out: %s", LIMITS, key[:80], cause)
    board.change(changes)
