"""Every metric of the house, in one file, with what it means. Knows nothing of who counts. Needs `llmtrail[server]`.

Names are `llmtrail_<room>_<what>_<unit>`; a counter's name gets `_total` when it is shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE

__all__ = ["CONTENT_TYPE", "METRICS", "Kind", "Metric", "Metrics"]

# From a fast answer in memory to a request that nobody waits for any longer.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_ROWS = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000)


class Kind(StrEnum):
    """How a metric behaves."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name without a counter's `_total`, and what it tells."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = _SECONDS

    @property
    def shown_name(self) -> str:
        """Return the name under which it is scraped."""
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name


INGEST_EVENTS = Metric(
    "llmtrail_ingest_events",
    Kind.COUNTER,
    "Events by what became of them: received = stored + skipped + rejected + refused once nothing is under way.",
    ("fate", "reason"),
)
INGEST_REQUEST_SECONDS = Metric(
    "llmtrail_ingest_request_seconds", Kind.HISTOGRAM, "Time to answer a request that brings events.", ("route", "code")
)
INGEST_BATCH_ROWS = Metric("llmtrail_ingest_batch_rows", Kind.HISTOGRAM, "Rows of one planned batch.", (), _ROWS)
INGEST_WRITE_SECONDS = Metric("llmtrail_ingest_write_seconds", Kind.HISTOGRAM, "Time to store one planned batch.")
INGEST_WRITE_FAILURES = Metric(
    "llmtrail_ingest_write_failures", Kind.COUNTER, "Batches that the store did not take and that are tried again."
)
INGEST_FRESHNESS_SECONDS = Metric(
    "llmtrail_ingest_freshness_seconds", Kind.HISTOGRAM, "Time from acknowledged to queryable, of each batch's oldest."
)
INGEST_BACKLOG_EVENTS = Metric("llmtrail_ingest_backlog_events", Kind.GAUGE, "Events on the log, not yet stored.")
INGEST_UNPRICED_CALLS = Metric(
    "llmtrail_ingest_unpriced_calls", Kind.COUNTER, "Calls stored without a cost, by the reason why.", ("reason",)
)
INGEST_REPORTED_CALLS = Metric(
    "llmtrail_ingest_reported_cost_calls",
    Kind.COUNTER,
    "Calls whose source reports a cost beside ours, by provider and whether it is the same, more or less.",
    ("provider", "reported"),
)
INGEST_REPORTED_GAP = Metric(
    "llmtrail_ingest_reported_cost_gap_dollars",
    Kind.COUNTER,
    "Dollars by which reported costs differ from ours, by provider and whether more or less is reported.",
    ("provider", "reported"),
)
INGEST_SPANS = Metric(
    "llmtrail_ingest_spans", Kind.COUNTER, "OTLP spans and log records by what became of them.", ("fate",)
)
INGEST_SPANS_SKIPPED = Metric(
    "llmtrail_ingest_skipped_spans",
    Kind.COUNTER,
    "OTLP spans and log records that are no calls, by reason; no_model and not_understood look like calls.",
    ("reason",),
)
INGEST_LETTERS_UNKEPT = Metric(
    "llmtrail_ingest_unkept_dead_letters",
    Kind.COUNTER,
    "Rejected events that were answered and counted but not kept: their tenant's dead letters of the day were full.",
)
INGEST_FIELDS_MOVED = Metric(
    "llmtrail_ingest_moved_fields",
    Kind.COUNTER,
    "Fields of stored events that fitted nowhere and went to their attributes, by field; the answer says why.",
    ("field",),
)
HTTP_REFUSED = Metric(
    "llmtrail_http_refused",
    Kind.COUNTER,
    "Connections and requests turned away, by reason; the log says whose: see the guide's page on the gateway.",
    ("reason",),
)
HTTP_HELD = Metric(
    "llmtrail_http_held",
    Kind.COUNTER,
    "Requests that waited because their sender used more than its share of the processor while others sent.",
)
HTTP_CONNECTIONS = Metric("llmtrail_http_connections", Kind.GAUGE, "Connections to the HTTP ports of this process.")
AUDIT_ROWS = Metric(
    "llmtrail_audit_rows",
    Kind.COUNTER,
    "Rows for the audit by what became of them: taken = kept + lost + llmtrail_audit_waiting_rows.",
    ("fate",),
)
AUDIT_WAITING = Metric("llmtrail_audit_waiting_rows", Kind.GAUGE, "Rows for the audit that wait in memory to be kept.")
AUDIT_UNASKED = Metric(
    "llmtrail_audit_unasked",
    Kind.COUNTER,
    "Ids that a tenant's token found nothing under, of which nobody asked whether they are another tenant's.",
)
GPU_SCRAPES = Metric(
    "llmtrail_gpu_scrapes", Kind.COUNTER, "Scrapes of GPUs and model servers by what became of them.", ("fate",)
)
GPU_READ = Metric("llmtrail_gpu_readings", Kind.COUNTER, "Readings of pages and drivers by outcome.", ("outcome",))
GPU_REJECTED_LINES = Metric(
    "llmtrail_gpu_rejected_lines", Kind.COUNTER, "Lines of pages that gave no sample, by reason.", ("reason",)
)
GPU_WAITING = Metric("llmtrail_gpu_waiting_scrapes", Kind.GAUGE, "Scrapes that have not left this node yet.")
GPU_DELIVERED = Metric("llmtrail_gpu_delivered_scrapes", Kind.COUNTER, "Scrapes of this node that the log has taken.")
GPU_LOST = Metric(
    "llmtrail_gpu_lost_scrapes",
    Kind.COUNTER,
    "Scrapes of this node that were given up, by reason: no room was left for them, or they were refused.",
    ("reason",),
)
GPU_STATS_SCRAPES = Metric(
    "llmtrail_gpu_stats_scrapes",
    Kind.GAUGE,
    "What became of scrapes in the rolling statistics since the process, or its worker, started: applied, repeated, "
    "late (of a time that is no longer kept), crowded (read too often), refused (no room), bad.",
    ("fate",),
)
GPU_STATS_SKEWED = Metric(
    "llmtrail_gpu_stats_skewed_scrapes", Kind.GAUGE, "Scrapes of nodes whose clock is over 5 s ahead of the log's."
)
GPU_STATS_BYTES = Metric("llmtrail_gpu_stats_bytes", Kind.GAUGE, "Bytes of slots of the statistics of GPUs at hand.")
CONSUMER_LAG = Metric(
    "kafka_consumergroup_lag",
    Kind.GAUGE,
    "Records of a partition that the group has not committed, as the member that works on it sees it.",
    ("consumergroup", "topic", "partition"),
)
UNREADABLE_RECORDS = Metric(
    "llmtrail_log_unreadable_records",
    Kind.COUNTER,
    "Records that could not be read and were passed over, by topic; events of llm.calls are llmtrail_ingest_events.",
    ("topic",),
)
INGEST_SKIPPED_RECORDS = Metric(
    "llmtrail_ingest_skipped_records", Kind.GAUGE, "Records that left the topic before they were read.", ("topic",)
)
STATISTICS_UNMATCHED = Metric(
    "llmtrail_statistics_unmatched_revisions",
    Kind.COUNTER,
    "Revisions of calls counted too long ago to be remembered: stored, but not in the rolling statistics.",
)
MINUTES_ROWS = Metric(
    "llmtrail_minutes_rows",
    Kind.COUNTER,
    "Rows of stats_minute that were written, by what they span: 60 a minute, 900 what came too late for its minute.",
    ("seconds",),
)
MINUTES_BEHIND_SECONDS = Metric(
    "llmtrail_minutes_behind_seconds",
    Kind.GAUGE,
    "For how long the eldest minute that is not in stats_minute has been due.",
)
MINUTES_UNPLACED = Metric(
    "llmtrail_minutes_unplaced",
    Kind.GAUGE,
    "Ranges that came too late even for a quarter of an hour: counted in their month, not in stats_minute.",
)
AGGREGATE_PARTIALS = Metric(
    "llmtrail_aggregate_partials",
    Kind.GAUGE,
    "What the worker did with partials since it started: applied, repeated, late, bad; lost: bad, and no broker took "
    "the dead letter.",
    ("fate",),
)
AGGREGATE_DELAY_SECONDS = Metric(
    "llmtrail_aggregate_delay_seconds", Kind.GAUGE, "Longest time from a range on the log to its fold, last second."
)
AGGREGATE_RECOVERY_REMAINING = Metric(
    "llmtrail_aggregate_recovery_remaining", Kind.GAUGE, "Changelog messages to read before the worker folds again."
)
AGGREGATE_COMMITTED_AGE_SECONDS = Metric(
    "llmtrail_aggregate_committed_age_seconds",
    Kind.GAUGE,
    "For how long the worker has committed nothing though there was something to fold.",
)
AGGREGATE_RESTARTS = Metric("llmtrail_aggregate_restarts", Kind.GAUGE, "Workers that were replaced.")
ALERTS_DELIVERIES = Metric(
    "llmtrail_alerts_deliveries",
    Kind.COUNTER,
    "Messages by channel and fate: sent, failed (one attempt of possibly several), given_up.",
    ("channel", "fate"),
)
ALERTS_DELIVERY_SECONDS = Metric(
    "llmtrail_alerts_delivery_seconds", Kind.HISTOGRAM, "Time from decided to taken by the channel.", ("channel",)
)
ALERTS_WAITING = Metric("llmtrail_alerts_waiting", Kind.GAUGE, "Messages that the channel has not taken.", ("channel",))
ALERTS_OLDEST_WAITING_SECONDS = Metric(
    "llmtrail_alerts_oldest_waiting_seconds", Kind.GAUGE, "Age of the oldest of them; 0: none waits.", ("channel",)
)
ALERTS_VERDICTS = Metric(
    "llmtrail_alerts_verdicts", Kind.COUNTER, "Decisions on budgets and alarms, told or not, by reason.", ("reason",)
)
ALERTS_GROUPS = Metric("llmtrail_alerts_groups", Kind.GAUGE, "Groups (a scope under a rule) that are remembered.")
ALERTS_FIRING = Metric("llmtrail_alerts_firing", Kind.GAUGE, "Groups that are at a level now.")
ALERTS_DECIDE_SECONDS = Metric("llmtrail_alerts_decide_seconds", Kind.HISTOGRAM, "Time of one look at what changed.")
ALERTS_UNSTORED = Metric("llmtrail_alerts_unstored", Kind.GAUGE, "Decisions that are not in the table yet.")
ALERTS_RULES_REFUSED = Metric("llmtrail_alerts_rules_refused", Kind.COUNTER, "Changes of rules that could not be used.")
LOG_SIZE_BYTES = Metric("llmtrail_log_size_bytes", Kind.GAUGE, "Bytes on disk of the local log.")
WEB_LOOKUP_SECONDS = Metric("llmtrail_web_lookup_seconds", Kind.HISTOGRAM, "Time to find the record of one id.")
WEB_QUERIES = Metric(
    "llmtrail_web_queries", Kind.COUNTER, "SQL statements of users, by outcome: done, failed, refused.", ("outcome",)
)
TLS_CERTIFICATE_EXPIRY = Metric(
    "llmtrail_tls_certificate_expiry_timestamp_seconds", Kind.GAUGE, "When the ports' certificate ends, in Unix time."
)
TLS_CERTIFICATE_REFUSED = Metric(
    "llmtrail_tls_certificate_refused",
    Kind.GAUGE,
    "1 while changed files of the certificate cannot be used and the former one stays in use.",
)

METRICS = (
    INGEST_EVENTS,
    INGEST_REQUEST_SECONDS,
    INGEST_BATCH_ROWS,
    INGEST_WRITE_SECONDS,
    INGEST_WRITE_FAILURES,
    INGEST_FRESHNESS_SECONDS,
    INGEST_BACKLOG_EVENTS,
    INGEST_UNPRICED_CALLS,
    INGEST_REPORTED_CALLS,
    INGEST_REPORTED_GAP,
    INGEST_SPANS,
    INGEST_SPANS_SKIPPED,
    INGEST_LETTERS_UNKEPT,
    INGEST_FIELDS_MOVED,
    HTTP_REFUSED,
    HTTP_HELD,
    HTTP_CONNECTIONS,
    AUDIT_ROWS,
    AUDIT_WAITING,
    AUDIT_UNASKED,
    GPU_SCRAPES,
    GPU_READ,
    GPU_REJECTED_LINES,
    GPU_WAITING,
    GPU_DELIVERED,
    GPU_LOST,
    GPU_STATS_SCRAPES,
    GPU_STATS_SKEWED,
    GPU_STATS_BYTES,
    CONSUMER_LAG,
    UNREADABLE_RECORDS,
    INGEST_SKIPPED_RECORDS,
    STATISTICS_UNMATCHED,
    MINUTES_ROWS,
    MINUTES_BEHIND_SECONDS,
    MINUTES_UNPLACED,
    AGGREGATE_PARTIALS,
    AGGREGATE_DELAY_SECONDS,
    AGGREGATE_RECOVERY_REMAINING,
    AGGREGATE_COMMITTED_AGE_SECONDS,
    AGGREGATE_RESTARTS,
    ALERTS_DELIVERIES,
    ALERTS_DELIVERY_SECONDS,
    ALERTS_WAITING,
    ALERTS_OLDEST_WAITING_SECONDS,
    ALERTS_VERDICTS,
    ALERTS_GROUPS,
    ALERTS_FIRING,
    ALERTS_DECIDE_SECONDS,
    ALERTS_UNSTORED,
    ALERTS_RULES_REFUSED,
    LOG_SIZE_BYTES,
    WEB_LOOKUP_SECONDS,
    WEB_QUERIES,
    TLS_CERTIFICATE_EXPIRY,
    TLS_CERTIFICATE_REFUSED,
)


class Metrics:
    """One process's metrics in a registry of their own. Safe from several threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._made = {metric.name: _make(metric, self._registry) for metric in METRICS}

    def add(self, fate: str, reason: str, events: int) -> None:
        """Count `events` events of this fate: the gateway's and the writer's tally."""
        self.count(INGEST_EVENTS, events, fate=str(fate), reason=str(reason))

    def unread(self, topic: str, records: int = 1) -> None:
        """Count records of a topic that could not be read."""
        self.count(UNREADABLE_RECORDS, records, topic=topic)

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        """Add `amount` to a counter."""
        made = self._labelled(metric, labels)
        if not isinstance(made, Counter):
            raise TypeError(f"{metric.name} is no counter.")
        made.inc(amount)

    def set(self, metric: Metric, value: float, **labels: str) -> None:
        """Set a gauge to `value`."""
        made = self._labelled(metric, labels)
        if not isinstance(made, Gauge):
            raise TypeError(f"{metric.name} is no gauge.")
        made.set(value)

    def clear(self, metric: Metric) -> None:
        """Forget every value of a gauge with labels: what is set afterwards is all there is."""
        self._made[metric.name].clear()

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Add one observation to a histogram."""
        made = self._labelled(metric, labels)
        if not isinstance(made, Histogram):
            raise TypeError(f"{metric.name} is no histogram.")
        made.observe(value)

    def value(self, metric: Metric, **labels: str) -> float:
        """Return the present value of a counter or gauge, 0 where it was never touched."""
        return self._registry.get_sample_value(metric.shown_name, labels) or 0.0

    def render(self) -> bytes:
        """Return all metrics as Prometheus reads them; the content type is CONTENT_TYPE."""
        return generate_latest(self._registry)

    def _labelled(self, metric: Metric, labels: Mapping[str, str]) -> Counter | Gauge | Histogram:
        made = self._made[metric.name]
        return made.labels(**labels) if labels else made


def _make(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    match metric.kind:
        case Kind.COUNTER:
            return Counter(metric.name, metric.help, metric.labels, registry=registry)
        case Kind.GAUGE:
            return Gauge(metric.name, metric.help, metric.labels, registry=registry)
        case Kind.HISTOGRAM:
            return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
