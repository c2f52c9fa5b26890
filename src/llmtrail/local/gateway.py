"""What the gateway is given: settings, and the log of this machine. Composes; decides nothing."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future

from llmtrail.config import IngestConfig
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.local import LocalLog
from llmtrail.log.port import Append
from llmtrail_ingest.gateway.app import GatewayConfig
from llmtrail_ingest.gateway.body import BodyLimits


def gateway_config(config: IngestConfig) -> GatewayConfig:
    """Return the settings of the gateway."""
    return GatewayConfig(
        policy=ContentPolicy(config.content),
        limits=BodyLimits(body_bytes_max=config.body_bytes_max),
        bodies_bytes_max=config.bodies_bytes_max,
        letter_bytes_max=config.dead_letter_bytes_max,
    )


class LogAppender:
    """The local log for the event loop: group commit happens in the log's own thread."""

    def __init__(self, log: LocalLog) -> None:
        self._log = log

    async def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append all or nothing; durable when this returns."""
        future: Future[list[int]] = self._log.append_async(appends, now_ns)
        return await asyncio.wrap_future(future)
