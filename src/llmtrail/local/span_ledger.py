"""Count spans in a process's metrics. A file of its own, since both `llmtrail up` and the roles count so."""

from llmtrail.metrics import INGEST_SPANS, INGEST_SPANS_SKIPPED, Metrics
from llmtrail_ingest.otlp.ledger import SpanCounters, SpanLedger


def span_ledger(metrics: Metrics) -> SpanLedger:
    """Return a ledger of spans and log records that counts in `metrics`."""
    return SpanLedger(
        SpanCounters(
            by_fate=lambda fate, spans: metrics.count(INGEST_SPANS, spans, fate=str(fate)),
            by_reason=lambda reason, spans: metrics.count(INGEST_SPANS_SKIPPED, spans, reason=reason),
        )
    )
