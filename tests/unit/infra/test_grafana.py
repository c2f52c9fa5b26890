"""Dashboards are whole, ask data sources that are provisioned, and metrics that roles really show."""

from itertools import pairwise
from pathlib import Path

import promql_parser
import pytest
import yaml

from grafana_files import DASHBOARDS, GRAFANA, Query, expand_promql, panels, queries, read_dashboard
from infra_files import INFRA, Document, documents
from llmtrail.core.xid import XIDS
from promql import SCRAPED, selectors, shown

PROMQL = [query for query in queries() if not query.is_sql]


def _provisioned(name: str) -> Document:
    (document,) = documents(GRAFANA / f"provisioning/{name}/llmtrail.yaml")
    return document


@pytest.fixture(scope="module")
def compose() -> Document:
    (document,) = documents(INFRA / "compose/compose.yaml")
    return document


def test_there_is_a_dashboard_of_gpus_and_one_of_the_pipeline() -> None:
    assert {read_dashboard(path)["title"] for path in DASHBOARDS} == {"llmtrail: GPUs", "llmtrail: the pipeline"}
    assert len({read_dashboard(path)["uid"] for path in DASHBOARDS}) == len(DASHBOARDS)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows_and_lies_on_no_other(path: Path) -> None:
    dashboard = read_dashboard(path)
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(titles) == len({*titles}), [one for one, other in pairwise(sorted(titles)) if one == other]


def test_every_query_asks_a_data_source_that_is_provisioned() -> None:
    sources = {source["uid"]: source["type"] for source in _provisioned("datasources")["datasources"]}
    for query in queries():
        source = query.target["datasource"]
        assert sources[source["uid"]] == source["type"], query.place
    for path in DASHBOARDS:
        for panel in panels(read_dashboard(path)):
            assert all(target["datasource"] == panel["datasource"] for target in panel["targets"]), panel["title"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), panel["title"]


@pytest.mark.parametrize("query", PROMQL, ids=lambda query: query.place)
def test_every_promql_is_of_metrics_and_labels_that_roles_show(query: Query) -> None:
    series = shown() | SCRAPED
    (rules,) = documents(INFRA / "prometheus/rules.yml")
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    found = selectors(promql_parser.parse(expand_promql(query.text)))
    assert found
    for selector in found:
        if selector.name in recorded:
            continue
        assert selector.name in series
        assert {matcher.name for matcher in selector.matchers.matchers} <= series[selector.name]


def test_labels_of_a_legend_are_ones_that_its_series_have() -> None:
    labels = {label for names in (shown() | SCRAPED).values() for label in names} | {"consumergroup", "topic"}
    for query in PROMQL:
        told = query.target["legendFormat"].split("{{")[1:]
        assert {part.partition("}}")[0] for part in told} <= labels, query.place


def test_errors_of_the_driver_are_told_in_the_words_of_our_table() -> None:
    (told,) = (
        part["value"][0]["options"]
        for path in DASHBOARDS
        for panel in panels(read_dashboard(path))
        for one in panel["fieldConfig"]["overrides"]
        if one["matcher"]["options"] == "xid"
        for part in one["properties"]
        if part["id"] == "mappings"
    )
    assert {code: word["text"] for code, word in told.items()} == {
        str(one.code): f"{one.code}: {one.meaning}" for one in XIDS.values()
    }


def test_compose_runs_grafana_with_what_it_is_provisioned_with(compose: Document) -> None:
    grafana, sources = compose["services"]["grafana"], _provisioned("datasources")["datasources"]
    by_type = {source["type"]: source for source in sources}
    plugins = [name.partition("@")[0] for name in grafana["environment"]["GF_PLUGINS_PREINSTALL_SYNC"].split(",")]
    assert set(by_type) == {"prometheus", *plugins}
    # Each source is a service of the same profile, or one that always runs.
    assert by_type["prometheus"]["url"] == "http://prometheus:9090"
    assert set(grafana["profiles"]) <= set(compose["services"]["prometheus"]["profiles"])
    clickhouse = by_type["grafana-clickhouse-datasource"]
    assert clickhouse["jsonData"]["host"] in compose["services"]
    password = clickhouse["secureJsonData"]["password"]
    assert password.removeprefix("$__file{/run/secrets/").removesuffix("}") in grafana["secrets"]
    assert grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD__FILE"].rpartition("/")[2] in grafana["secrets"]
    mounted = dict(one.removesuffix(":ro").split(":", 1) for one in grafana["volumes"] if one.startswith(".."))
    assert mounted["../grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = _provisioned("dashboards")["providers"]
    assert mounted["../grafana/dashboards"] == provider["options"]["path"]


def test_grafana_reads_clickhouse_by_a_user_that_can_only_read(compose: Document) -> None:
    script = (INFRA / "compose/secrets.sh").read_text(encoding="utf-8")
    (source,) = (one for one in _provisioned("datasources")["datasources"] if "clickhouse" in one["type"])
    name = source["jsonData"]["username"]
    assert f"<{name}>" in script
    assert "<readonly>2</readonly>" in script
    assert script.count("GRANT") == 1
    assert "GRANT SELECT ON llmtrail.*" in script
    mounted = {one["source"] for one in compose["services"]["clickhouse"]["secrets"]}
    assert "clickhouse_grafana_user" in mounted


def test_prometheus_is_asked_no_finer_than_it_scrapes() -> None:
    scraped = yaml.safe_load((INFRA / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    (source,) = (one for one in _provisioned("datasources")["datasources"] if one["type"] == "prometheus")
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
