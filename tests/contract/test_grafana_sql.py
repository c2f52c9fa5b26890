"""Queries of dashboards and runbooks run on a real store that the simulated node filled, and show what happened."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import Raw

from grafana_files import DASHBOARDS, Query, Shown, columns_of, expand_sql, panels, queries, read_dashboard
from infra_files import ROOT
from llmtrail.core.call import Usage
from llmtrail.core.gpu import encode_scrape
from llmtrail.core.gpu_map import Deployment, GpuPrice
from llmtrail.core.xid import XIDS
from llmtrail.log.port import Records
from llmtrail.store.alerts import AlertRow, insert_alerts
from llmtrail.store.gpu import insert_engine_samples, insert_gpu_samples, not_rolled, roll_up
from llmtrail.store.gpu_places import insert_places, keep_deployments, keep_gpu_prices
from llmtrail.store.gpu_scrapes import insert_scrapes
from llmtrail.store.handle import Handle, Limits, open_chdb
from llmtrail.store.insert import insert_calls, insert_dead_letters
from llmtrail.store.migrate import migrate
from llmtrail.store.rows import DeadLetterRow
from llmtrail_gpu.history import History
from llmtrail_gpu.page import Place, failed_scrape, read_page
from llmtrail_gpu.simulate import Node, pages
from llmtrail_ingest.gpu.rows import rows_of
from llmtrail_ingest.gpu_prices import END_S
from stored_calls import a_call, a_row

_S = 1_000_000_000
# Ten minutes of an hour that is over: the simulated node throttles from second 30 to 90, and loses a GPU at 60.
BEGAN_S = (int(time.time()) - 3_600) // 3_600 * 3_600
ENDED_S = BEGAN_S + 600
NODE = Node()
SHOWN = Shown(BEGAN_S, ENDED_S, chosen={"host": [NODE.host, "it's another"]})
SQL = [query for query in queries() if query.is_sql]
STATEMENTS = [
    (path.stem, statement)
    for path in sorted((ROOT / "docs/runbooks").glob("*.md"))
    for statement in re.findall(r"^ *```sql\n(.*?)^ *```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    handle = open_chdb(tmp_path_factory.mktemp("grafana"))
    migrate(handle)
    run = rows_of(_records())
    insert_gpu_samples(handle, run.gpus, "gpus")
    insert_engine_samples(handle, run.engines, "engines")
    insert_scrapes(handle, run.scrapes, "scrapes")
    insert_places(handle, run.places(), "places")
    keep_deployments(handle, [Deployment("llama", model=NODE.model, hosts=(NODE.host,))], 1)
    keep_gpu_prices(handle, [GpuPrice("NVIDIA H200", 0, END_S, 2_500_000_000)], 1)
    insert_calls(handle, [a_row(call, started_at_ns=call.started_at) for call in _calls()], "calls")
    place: dict[str, Any] = {"topic": "llm.calls", "topic_id": "log", "partition": 0, "offset": 15}
    received: dict[str, Any] = {
        "received_at_ns": (BEGAN_S + 5) * _S,
        "reason": "bad_json",
        "detail": "no JSON",
        "key": b"",
        "value": b"{",
    }
    insert_dead_letters(handle, [DeadLetterRow(**place, **received)], "letter")
    insert_alerts(handle, [_alert()], "alert")
    for start_ns, hosts in not_rolled(handle, time.time_ns()).items():
        roll_up(handle, start_ns, hosts, time.time_ns())
    yield handle
    handle.close()


def _records() -> Records:
    """Return what the collector of the simulated node sends, every 15 s; a third target never answers."""
    values, taken = [], []
    histories = dict.fromkeys(pages(NODE), History())
    for second in range(0, 600, 15):
        at_ns = (BEGAN_S + second) * _S
        for path, page in pages(NODE).items():
            place = Place(NODE.host, f"http://127.0.0.1:9400{path}", "127.0.0.1:9400")
            scrape, histories[path] = read_page(page(float(second)).encode(), place, at_ns, histories[path])
            values.append(encode_scrape(scrape))
        values.append(encode_scrape(failed_scrape(Place(NODE.host, "http://127.0.0.1:1/metrics"), at_ns, "no answer")))
        taken += [at_ns] * 3
    empty = [b""] * len(values)
    return Records("llm.gpu", "log", 0, 0, values, empty, taken, [{}] * len(values))


def _calls() -> Iterator[Any]:
    told: dict[str, Any] = {
        "request_model": NODE.model,
        "attributes": Raw(b'{"server.address":"127.0.0.1","server.port":9400}'),
        "usage": Usage(input_tokens=900, output_tokens=240),
    }
    for number, (second, latency_ms, failure) in enumerate(((20, 900.0, None), (50, 20_000.0, "timeout")), start=1):
        at = {"started_at": (BEGAN_S + second) * _S, "request_id": f"r-{number}", "latency_ms": latency_ms}
        yield a_call(number, failure_mode=failure, **told, **at)


def _alert() -> AlertRow:
    named: dict[str, Any] = {
        "alert_id": "a",
        "incident": "i",
        "rule": "spend",
        "rule_kind": "budget",
        "reason": "first",
        "tenant": "",
        "told": True,
    }
    return AlertRow(decided_at_ns=(BEGAN_S + 9) * _S, scope_kind="feature", scope=["search"], **named)


def _ask(store: Handle, query: Query) -> tuple[list[str], list[tuple[Any, ...]]]:
    reader = store.reader(Limits())
    statement = expand_sql(query.text, SHOWN)
    names = [row[0] for row in reader.query(f"DESCRIBE ({statement})")]
    return names, [tuple(row) for row in reader.query(statement)]


def _rows(store: Handle, title: str) -> list[dict[str, Any]]:
    (query,) = (one for one in SQL if f": {title} A" in one.place)
    names, rows = _ask(store, query)
    return [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.parametrize("query", SQL, ids=lambda query: query.place)
def test_every_query_runs_and_shows_something(store: Handle, query: Query) -> None:
    names, rows = _ask(store, query)
    # The simulated node has no memory error; all else happened there.
    assert bool(rows) is ("Memory errors" not in query.place)
    if query.target["queryType"] == "timeseries":
        # The plugin makes series of rows that are sorted by their time: one column of it, then labels, then figures.
        place = names.index("time")
        times = [row[place] for row in rows]
        assert times == sorted(times)
        assert None not in times


@pytest.mark.parametrize(("page", "statement"), STATEMENTS)
def test_every_statement_of_a_runbook_runs(store: Handle, page: str, statement: str) -> None:
    # As the SQL port and `llmtrail sql` find tables.
    full = re.sub(r"\bFROM (?=\w)", "FROM llmtrail.", statement)
    of_node = full.replace("'NODE'", f"'{NODE.host}'").replace("30 MINUTE", "1 DAY").replace("15 MINUTE", "1 DAY")
    rows = store.reader(Limits()).query(of_node)
    # What is asked of every GPU has an answer for the simulated ones, where no memory failed.
    assert bool(rows) or "'NODE'" not in statement or page in {"gpu-remapped-rows", "gpu-ecc-corrected-rate"}


def test_names_of_series_and_of_columns_are_ones_that_their_queries_give(store: Handle) -> None:
    for path in DASHBOARDS:
        for panel in panels(read_dashboard(path)):
            asked = [Query(panel["title"], target) for target in panel["targets"]]
            if not all(query.is_sql for query in asked):
                continue
            names = {name for query in asked for name in _ask(store, query)[0]}
            assert columns_of(panel) <= names, panel["title"]
            label = panel["fieldConfig"]["defaults"].get("displayName", "")
            assert label.removeprefix("${__field.labels.").removesuffix("}") in {*names, ""}, panel["title"]


def test_the_story_of_the_simulated_node_is_seen(store: Handle) -> None:
    (xid,) = _rows(store, "Driver errors (XID)")
    assert (xid["xid"], xid["gpu_index"], xid["host"]) == (79, NODE.lost_gpu, NODE.host)
    assert xid["xid"] in XIDS
    held = _rows(store, "Held down by")
    assert {row["reason"] for row in held} == {"hw_slowdown", "hw_thermal"}
    # One GPU of eight, in every sample of those seconds.
    assert held[0]["share"] == pytest.approx(1 / 8)
    (failure,) = _rows(store, "Failures around a driver error")
    assert (failure["request_id"], failure["xid"], failure["deployment"]) == ("r-2", 79, "llama")
    assert _rows(store, "Silent targets") == [{"silent": 1}]


def test_costs_and_energy_add_up(store: Handle) -> None:
    (cost,) = _rows(store, "Cost of 1,000 tokens")
    # Eight GPUs for ten minutes at 2.50 dollars an hour; the lost one is still told of, and paid.
    assert cost["gpu_hours"] == pytest.approx(8 * 600 / 3_600)
    assert cost["cost_usd"] == pytest.approx(cost["gpu_hours"] * 2.5)
    assert cost["usd_per_1000_tokens"] == pytest.approx(cost["cost_usd"] / 2.28)
    hours = _rows(store, "Cost by hour, busy and idle")
    assert sum(row["busy"] + row["idle"] + row["unknown"] for row in hours) == pytest.approx(cost["cost_usd"])
    # Of the five minutes in which it told no more than its error nobody knows whether it was in use.
    assert sum(row["unknown"] for row in hours) == pytest.approx(300 / 3_600 * 2.5)
    assert sum(row["idle"] for row in hours) == pytest.approx(cost["idle_usd"])
    (energy,) = _rows(store, "Tokens for a joule")
    assert energy["tokens_per_joule"] > 0


def test_what_only_looks_like_a_macro_or_a_variable_is_an_error() -> None:
    with pytest.raises(KeyError):
        expand_sql("SELECT $__timeGroup(a)", SHOWN)
    with pytest.raises(KeyError):
        expand_sql("SELECT ${host:csv}", SHOWN)
    assert expand_sql("host IN (${host:singlequote})", SHOWN) == f"host IN ('{NODE.host}','it\\'s another')"
