"""Metrics are counted, named by one rule and shown as Prometheus reads them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from llmtrail import metrics
from llmtrail.metrics import METRICS, Kind, Metric, Metrics


def test_names_follow_the_rule_and_tell_their_unit() -> None:
    rule = re.compile(
        r"llmtrail_(ingest|log|store|web|statistics|aggregate|alerts|minutes|gpu|http|tls|audit)_[a-z]+(_[a-z]+)*_?[a-z]+"
    )
    for metric in METRICS:
        # The name that every dashboard of Kafka knows already.
        assert rule.fullmatch(metric.name) or metric.name == "kafka_consumergroup_lag", metric.name
        assert metric.help.endswith("."), metric.name
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_metric_of_the_file_is_listed() -> None:
    written = [value for value in vars(metrics).values() if isinstance(value, metrics.Metric)]
    assert tuple(written) == METRICS


def test_what_was_counted_is_shown() -> None:
    house = Metrics()
    house.add("stored", "", 3)
    house.add("skipped", "duplicate", 2)
    house.add("stored", "", 1)
    house.set(metrics.INGEST_BACKLOG_EVENTS, 17)
    house.observe(metrics.INGEST_BATCH_ROWS, 400)

    families = {family.name: family for family in text_string_to_metric_families(house.render().decode())}

    events = {
        (sample.labels["fate"], sample.labels["reason"]): sample.value
        for sample in families["llmtrail_ingest_events"].samples
        if sample.name == "llmtrail_ingest_events_total"
    }
    assert events == {("stored", ""): 4.0, ("skipped", "duplicate"): 2.0}
    assert families["llmtrail_ingest_backlog_events"].samples[0].value == 17
    shown = {name for name in families if not name.endswith("_created")}
    assert shown == {metric.name for metric in METRICS}
    assert house.value(metrics.INGEST_EVENTS, fate="stored", reason="") == 4
    assert house.value(metrics.INGEST_EVENTS, fate="refused", reason="too_large") == 0


def test_two_houses_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.add("stored", "", 1)
    assert other.value(metrics.INGEST_EVENTS, fate="stored", reason="") == 0


@pytest.mark.parametrize("kind", Kind)
def test_a_metric_takes_only_what_its_kind_can(kind: Kind) -> None:
    house = Metrics()
    metric = next(metric for metric in METRICS if metric.kind is kind and not metric.labels)
    able: dict[Kind, Callable[[Metric, float], None]] = {
        Kind.COUNTER: house.count,
        Kind.GAUGE: house.set,
        Kind.HISTOGRAM: house.observe,
    }
    for other, act in able.items():
        if other is kind:
            act(metric, 1)
        else:
            with pytest.raises(TypeError, match=f"{metric.name} is no {other}"):
                act(metric, 1)


def test_every_metric_is_counted_somewhere() -> None:
    root = Path(__file__).parents[3]
    code = "\n".join(
        path.read_text()
        for folder in ("src", "services")
        for path in (root / folder).rglob("*.py")
        if path.name != "metrics.py"
    )
    # These have methods of their own.
    counted = {"INGEST_EVENTS", "UNREADABLE_RECORDS"}
    written = {name for name, value in vars(metrics).items() if isinstance(value, Metric) and name not in counted}
    assert {name for name in written if not re.search(rf"\b{name}\b", code)} == set()
