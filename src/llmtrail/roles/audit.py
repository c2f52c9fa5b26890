"""Keep a process's audit on `llm.audit`, where Kafka is named; from there it goes into the table. Decides nothing."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmtrail.config import Config, kafka_client
from llmtrail.core.audit import AuditRow
from llmtrail.log.port import AUDIT
from llmtrail_ingest.audit_rows import audit_append

_LOG = logging.getLogger(__name__)

_APPEND_S_MAX = 35.0


class KafkaAudit:
    """Keeps rows on the topic. The producer is made with the first of them: many processes never have one."""

    def __init__(self, settings: Callable[[], Mapping[str, Any]], prefix: str) -> None:
        self._settings = settings
        self._prefix = prefix
        self._close: Callable[[], None] = lambda: None
        self._append: Callable[[Sequence[AuditRow]], None] | None = None

    def keep(self, rows: Sequence[AuditRow]) -> None:
        """Append rows; raises what Kafka raises."""
        if self._append is None:
            self._append = self._made()
        self._append(rows)

    def close(self) -> None:
        """Wait for what is under way and end."""
        self._close()

    def _made(self) -> Callable[[Sequence[AuditRow]], None]:
        # Kafka's client is an extra, which a look-up over ClickHouse does without.
        from llmtrail.log.kafka.admin import KafkaAdmin  # noqa: PLC0415
        from llmtrail.log.kafka.producer import KafkaProducer  # noqa: PLC0415

        topic = self._prefix + AUDIT
        if topic not in KafkaAdmin(self._settings()).states({topic}):
            raise RuntimeError(f"there is no topic {topic}; run `llmtrail topics create`.")
        producer = KafkaProducer(self._settings(), self._prefix)
        self._close = producer.close

        def append(rows: Sequence[AuditRow]) -> None:
            producer.append([audit_append(rows)]).result(_APPEND_S_MAX)

        return append


def audit_keeper(config: Config) -> KafkaAudit | None:
    """Return what keeps a process's audit on Kafka, None where none is named."""
    if not config.kafka.bootstrap_servers:
        return None
    return KafkaAudit(lambda: kafka_client(config.kafka), config.kafka.topic_prefix)
