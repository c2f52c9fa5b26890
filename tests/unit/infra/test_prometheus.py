"""Rules are PromQL, name metrics and labels that roles really show, and lead to a runbook that is there."""

import re
import shutil
import subprocess
from pathlib import Path

import promql_parser
import pytest

from infra_files import INFRA, ROOT, Document, documents
from llmtrail.core.outcome import RefuseReason, RejectReason, SkipReason
from llmtrail.metrics import METRICS
from llmtrail_alerts.courier import DeliveryFate
from llmtrail_ingest.tally import Fate
from promql import SCRAPED, selectors, shown

PROMETHEUS = INFRA / "prometheus"


@pytest.fixture(scope="module")
def rules() -> list[Document]:
    (document,) = documents(PROMETHEUS / "rules.yml")
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_every_expression_is_promql(rules: list[Document]) -> None:
    assert rules
    for rule in rules:
        promql_parser.parse(rule["expr"])
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        promql_parser.parse("sum by (a) (rate(b[5m])")


def test_every_metric_and_label_of_a_rule_is_shown_by_a_role(rules: list[Document]) -> None:
    series = shown() | SCRAPED
    recorded = {rule["record"] for rule in rules if "record" in rule}
    seen = set()
    for rule in rules:
        for selector in selectors(promql_parser.parse(rule["expr"])):
            seen.add(selector.name)
            if selector.name in recorded:
                continue
            assert selector.name in series, f"{selector.name} in {rule}"
            matched = {matcher.name for matcher in selector.matchers.matchers}
            assert matched <= series[selector.name], f"{matched} in {rule}"
    # What the roles' promises are about is watched at all.
    assert {"kafka_consumergroup_lag", "llmtrail_ingest_freshness_seconds_bucket"} <= seen
    assert {"llmtrail_ingest_events_total", "llmtrail_aggregate_recovery_remaining"} <= seen


def test_fates_and_reasons_of_a_rule_are_ones_that_we_count(rules: list[Document]) -> None:
    known = {"fate": {*Fate, *DeliveryFate}, "reason": {*RefuseReason, *RejectReason, *SkipReason}}
    matched = [
        (matcher.name, value)
        for rule in rules
        for selector in selectors(promql_parser.parse(rule["expr"]))
        for matcher in selector.matchers.matchers
        if matcher.name in known
        for value in matcher.value.split("|")
    ]
    assert matched
    assert [(name, value) for name, value in matched if value not in known[name]] == []


def test_a_quantile_is_compared_with_less_than_the_last_bound_of_its_histogram(rules: list[Document]) -> None:
    (alert,) = (rule for rule in rules if rule.get("alert") == "LlmtrailStale")
    threshold = float(alert["expr"].rpartition(">")[2])
    (freshness,) = (metric for metric in METRICS if metric.name == "llmtrail_ingest_freshness_seconds")
    # Above it a quantile is told as the bound itself: an alert at 60 would be silent for ever.
    assert threshold in freshness.buckets
    assert threshold < max(freshness.buckets)


def test_recorded_names_tell_level_metric_and_operation(rules: list[Document]) -> None:
    assert all(re.fullmatch(r"llmtrail:[a-z0-9_]+:[a-z0-9_]+", rule["record"]) for rule in rules if "record" in rule)


def test_every_alert_says_how_urgent_it_is_and_leads_to_its_runbook(rules: list[Document]) -> None:
    for alert in (rule for rule in rules if "alert" in rule):
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert
        assert alert["annotations"]["summary"], alert
        runbook = ROOT / alert["annotations"]["runbook"]
        assert runbook.is_file(), alert
        assert alert["alert"] in runbook.read_text(encoding="utf-8"), f"{runbook} does not name {alert['alert']}"


def test_prometheus_scrapes_every_role_of_the_compose_file() -> None:
    (config,) = documents(PROMETHEUS / "prometheus.yml")
    (compose,) = documents(INFRA / "compose/compose.yaml")
    # Every role that runs on, which are those with a health check of their own.
    roles = {
        name
        for name, service in compose["services"].items()
        if "build" in service and "disable" not in service["healthcheck"]
    }
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert set(found["names"]) == roles
    assert found["port"] == 4318


def _promtool() -> str | None:
    unpacked = ROOT / ".cache/promtool/usr/bin/promtool"
    return str(unpacked) if unpacked.is_file() else shutil.which("promtool")


@pytest.mark.parametrize("arguments", [["check", "rules"], ["test", "rules"]], ids=["check", "test"])
def test_prometheus_itself_takes_the_rules(arguments: list[str], tmp_path: Path) -> None:
    promtool = _promtool()
    if promtool is None:
        pytest.skip("needs promtool")
    file = "rules.test.yml" if arguments[0] == "test" else "rules.yml"
    done = subprocess.run(
        [promtool, *arguments, file], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
