"""Posts batches to Kafka instead of a gateway: keys, headers, and what a delivery means. Imports the driver late.

The driver takes a tenth of a second to import, which must not be a caller's.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from llmtrail.clock import Clock
from llmtrail.config import ConfigError, KafkaConfig, kafka_client
from llmtrail.core import json_decode
from llmtrail.core.ids import log_key
from llmtrail.emit.answer import Answer, Later, Split, Taken
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.tally import LOGGER

if TYPE_CHECKING:
    from llmtrail.log.kafka.deliveries import Deliveries, Outgoing

# As the gateway marks what it appends.
_HEADERS: Final = (("source", "sdk"), ("schema", "call.v1"))


class _Ids(msgspec.Struct):
    call_id: str = ""
    tenant: str | None = None


_IDS: Final = json_decode.Decoder(_Ids)


class KafkaPoster:
    """Delivers events to `llm.calls`. Not for several threads at once; begins anew in a forked child."""

    def __init__(self, config: EmitConfig, clock: Clock) -> None:
        """Take the settings of `config`. Raises ValueError where they cannot be read."""
        self._settings = kafka_settings(config)
        self._topic_prefix = config.kafka_prefix
        self._clock = clock
        self._deliveries: Deliveries | None = None
        self._has_told = False

    def connect(self) -> None:
        """Make the driver ready. Raises ImportError where it is not installed, ValueError for settings it refuses."""
        self._ready().connect()

    def post(self, events: Sequence[bytes]) -> Answer:
        """Deliver one batch; what is not acknowledged within two seconds is for later."""
        try:
            deliveries = self._ready()
            deliveries.connect()
        except (ImportError, ValueError) as error:
            if not self._has_told:
                self._has_told = True
                LOGGER.warning("llmtrail keeps calls in its spool: %s", error)
            return Later("kafka_settings", _SETTINGS_WAIT_S)
        from llmtrail.log.kafka.deliveries import Verdict  # noqa: PLC0415  # Imported above by now; late on purpose.

        outcome = deliveries.deliver([_outgoing(event) for event in events])
        match outcome.verdict:
            case Verdict.DELIVERED:
                return Taken(len(events))
            case Verdict.TOO_LARGE:
                return Split(too_large=True, reason="too_large")
            case Verdict.LATER:
                return Later(f"kafka_{outcome.reason.strip('_').lower()}")

    def close(self) -> None:
        """Let go of the driver; what it still holds is kept elsewhere."""
        deliveries, self._deliveries = self._deliveries, None
        if deliveries is not None:
            deliveries.close()

    def _ready(self) -> "Deliveries":
        if self._deliveries is None:
            from llmtrail.log.kafka.deliveries import Deliveries  # noqa: PLC0415  # A tenth of a second: not at import.
            from llmtrail.log.port import CALLS  # noqa: PLC0415

            self._deliveries = Deliveries(self._settings, self._topic_prefix + CALLS, self._clock)
        return self._deliveries


# Nothing mends settings while the process runs, except an installation beside it.
_SETTINGS_WAIT_S: Final = 60.0


def kafka_settings(config: EmitConfig) -> dict[str, str]:
    """Return the driver's settings. Raises ValueError where they cannot be read."""
    if not config.kafka:
        raise ValueError("LLMTRAIL_KAFKA names no broker; write for example kafka-1:9092")
    kafka = KafkaConfig(config.kafka, client=_client(config.kafka_client), client_file=config.kafka_client_file)
    try:
        return {"client.id": "llmtrail-python", **kafka_client(kafka)}
    except ConfigError as error:
        raise ValueError(str(error)) from error


def _outgoing(event: bytes) -> "Outgoing":
    from llmtrail.log.kafka.deliveries import Outgoing  # noqa: PLC0415  # A tenth of a second: not at import.

    try:
        ids = _IDS.decode(event)
    except msgspec.DecodeError:
        ids = _Ids()  # What cannot be read has no key; whoever reads the topic sorts it out.
    tenant = (("tenant", ids.tenant),) if ids.tenant else ()
    return Outgoing(log_key(ids.call_id).encode(), event, (*_HEADERS, *tenant))


def _client(given: Mapping[str, str] | str) -> Mapping[str, str]:
    """Return the settings of the driver; as a string they are one JSON object. Raises ValueError for anything else."""
    if not isinstance(given, str):
        return given
    try:
        return msgspec.convert(orjson.loads(given or "{}"), dict[str, str], strict=False)
    except (orjson.JSONDecodeError, msgspec.ValidationError):
        # Without the cause: there may be a password in it.
        raise ValueError(
            'LLMTRAIL_KAFKA__CLIENT is no JSON object of texts; write for example {"security.protocol": "SSL"}'
        ) from None
