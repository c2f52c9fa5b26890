"""What the gateway is given of the settings. Composes; decides nothing."""

from llmtrail.config import IngestConfig
from llmtrail.core.redact import ContentPolicy
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
