"""The aggregator's worker on a cluster that is slow to say where its group stands: slow_seek_worker.py SETTINGS."""

import asyncio
from collections.abc import Mapping
from typing import Any

from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from llmtrail_aggregator import worker

SLOW_S = 1.0
_answered = Consumer.seek_to_committed


async def _slow(self: Any) -> Mapping[TP, int]:
    await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=SLOW_S)
    return await _answered(self)


if __name__ == "__main__":
    Consumer.seek_to_committed = _slow  # type: ignore[method-assign]
    worker.main()
