"""`llmtrail aggregate`: one Faust worker and what watches over it. Composes; decides nothing."""

from collections.abc import Mapping
from typing import Any

from llmtrail.config import Config, kafka_client
from llmtrail.core.calendar import UnknownZoneError, check_zone
from llmtrail.core.gpu_board import GpuFate
from llmtrail.log.kafka.admin import KafkaAdmin
from llmtrail.log.kafka.positions import GroupPositions
from llmtrail.log.port import GPU, GPU_STATS, PARTIALS, STATS
from llmtrail.metrics import (
    AGGREGATE_COMMITTED_AGE_SECONDS,
    AGGREGATE_DELAY_SECONDS,
    AGGREGATE_PARTIALS,
    AGGREGATE_RECOVERY_REMAINING,
    AGGREGATE_RESTARTS,
    CONSUMER_LAG,
    GPU_STATS_BYTES,
    GPU_STATS_SCRAPES,
    GPU_STATS_SKEWED,
    Metrics,
)
from llmtrail.roles.kept import KeptTopic
from llmtrail.roles.process import RoleError, RoleProcess
from llmtrail_aggregator.settings import WorkerSettings
from llmtrail_aggregator.standstill import Place, Position
from llmtrail_aggregator.supervisor import Supervisor

GROUP = "llmtrail.aggregate"
_FATES = ("applied", "repeated", "late", "bad", "lost")
# librdkafka's words that the worker understands: it has another client.
_SECURITY = frozenset(
    {"security.protocol", "sasl.mechanism", "sasl.username", "sasl.password", "ssl.ca.location", "ssl.ca.pem"}
    | {"ssl.certificate.location", "ssl.key.location", "ssl.key.password", "enable.ssl.certificate.verification"}
    | {"ssl.endpoint.identification.algorithm"}
)


def _security(client: Mapping[str, Any]) -> dict[str, str]:
    """Return what the worker is told of TLS and SASL. Raises RoleError for what it does not understand."""
    told = {
        name: str(value)
        for name, value in client.items()
        if name.startswith(("security.", "sasl.", "ssl.", "enable.ssl."))
    }
    if unknown := sorted(told.keys() - _SECURITY):
        raise RoleError(
            f"[kafka.client] {', '.join(unknown)}: the aggregator takes {', '.join(sorted(_SECURITY))} alone."
        )
    return told


def start(config: Config, process: RoleProcess) -> Supervisor:
    """Start a worker in `process`; raises RoleError, with what to do."""
    if not config.kafka.bootstrap_servers:
        raise RoleError("no Kafka is named: set LLMTRAIL_KAFKA=host:port; `llmtrail up` keeps statistics by itself.")
    for zone in config.stats.zones:
        try:
            check_zone(zone)
        except UnknownZoneError as cause:
            raise RoleError(f"stats.zones: {cause}") from cause
    client, prefix = kafka_client(config.kafka), config.kafka.topic_prefix
    admin = KafkaAdmin(client)
    partitions, gpu_partitions = (
        _partitions(admin, prefix, source, state) for source, state in ((PARTIALS, STATS), (GPU, GPU_STATS))
    )
    kept = KeptTopic(config, lambda now: supervisor.keep(now.zones))
    settings = WorkerSettings(
        servers=config.kafka.bootstrap_servers,
        prefix=prefix,
        partitions=partitions,
        gpu_partitions=gpu_partitions,
        replication=config.kafka.replication or 3,
        zones=tuple(config.stats.zones),
        instance_id=config.kafka.instance_id,
        session_s=float(client.get("session.timeout.ms", 8_000)) / 1_000,
        security=_security(client),
    )
    topics = {
        topic: GroupPositions(client, prefix + GROUP, prefix + topic, number)
        for topic, number in ((PARTIALS, partitions), (GPU, gpu_partitions))
    }

    def positions() -> Mapping[Place, Position]:
        return {
            (topic, partition): Position(*told)
            for topic, cluster in topics.items()
            for partition, told in cluster.ask().items()
        }

    supervisor = Supervisor(settings, positions, process.clock)
    kept.start(process)
    supervisor.keep(kept().zones)
    supervisor.start()
    process.on_stop(supervisor.stop)
    process.add("worker", supervisor.state.ready)
    counted: dict[str, int] = {}
    process.before_scrape(lambda: _measure(supervisor, process, counted))
    process.serve()
    return supervisor


def _partitions(admin: KafkaAdmin, prefix: str, source: str, state: str) -> int:
    """Return how many partitions there are of what is folded and of what it is folded into."""
    names = {prefix + source, prefix + state}
    states = admin.states(names)
    if missing := sorted(names - states.keys()):
        raise RoleError(f"there is no topic {missing[0]}; run `llmtrail topics create`.")
    counts = {one.partitions for one in states.values()}
    if len(counts) > 1:
        raise RoleError(
            f"{prefix}{source} and {prefix}{state} have different numbers of partitions; "
            "what is counted must have the same place in both. Run `llmtrail topics check`."
        )
    return counts.pop()


def _unread(report: Mapping[str, Any], counted: dict[str, int], metrics: Metrics) -> None:
    """Count what the worker could not read since the last time; it counts from nothing each time it starts."""
    scrapes = report.get("gpu", {}).get(GpuFate.BAD, 0) + report.get("bad_scrape", 0)
    for topic, total in ((PARTIALS, report.get("bad", 0)), (GPU, scrapes)):
        metrics.unread(topic, total - counted.get(topic, 0) if total >= counted.get(topic, 0) else total)
        counted[topic] = total


def _measure(supervisor: Supervisor, process: RoleProcess, counted: dict[str, int]) -> None:
    state, metrics = supervisor.state, process.metrics
    metrics.clear(CONSUMER_LAG)
    _unread(state.report, counted, metrics)
    for (topic, partition), position in state.positions.items():
        metrics.set(CONSUMER_LAG, position.lag, consumergroup=GROUP, topic=topic, partition=str(partition))
    metrics.set(AGGREGATE_RECOVERY_REMAINING, state.recovery_remaining)
    metrics.set(AGGREGATE_COMMITTED_AGE_SECONDS, state.still_s)
    metrics.set(AGGREGATE_RESTARTS, state.restarts)
    metrics.set(AGGREGATE_DELAY_SECONDS, float(state.report.get("delay_s", 0)))
    for fate in _FATES:
        metrics.set(AGGREGATE_PARTIALS, float(state.report.get(fate, 0)), fate=fate)
    gpus = state.report.get("gpu", {})
    for scrape_fate in GpuFate:
        metrics.set(GPU_STATS_SCRAPES, float(gpus.get(scrape_fate, 0)), fate=str(scrape_fate))
    metrics.set(GPU_STATS_SKEWED, float(gpus.get("skewed", 0)))
    metrics.set(GPU_STATS_BYTES, float(gpus.get("bytes", 0)))
