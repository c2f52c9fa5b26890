"""The GPU's state beside a call, from the store to the page."""

import io
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from msgspec import Raw
from rich.console import Console

from llmtrail.cli.page import print_page
from llmtrail.core.gpu_map import Deployment, Place, Sought
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.gpu import EngineRow, GpuRow, insert_engine_samples, insert_gpu_samples
from llmtrail.store.gpu_places import (
    NEEDLES_MAX,
    day_of,
    insert_places,
    keep_deployments,
    stored_deployments,
    stored_places,
)
from llmtrail.store.gpu_proof import LATELY_S, requests_on
from llmtrail.store.handle import Handle, open_chdb
from llmtrail.store.insert import insert_calls
from llmtrail.store.lookup import find_request
from llmtrail.store.migrate import migrate
from llmtrail.store.retention import DAYS_MAX, set_retention
from stored_calls import NOW_NS, a_call, a_call_id, a_row

_S = 1_000_000_000
_DAY = day_of(NOW_NS)
SERVER = b'{"server.address":"10.0.0.5","server.port":8000}'
ATTRIBUTES = Raw(SERVER)
DEPLOYMENTS = [
    Deployment("llama", "10.0.0.5:8000", "", ("node-1", "node-2"), ("0", "1"), ("vllm-*",)),
    Deployment("other", "", "nobody-asks", ("node-3",)),
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    handle = open_chdb(tmp_path_factory.mktemp("join"))
    migrate(handle)
    for table in ("calls", "bodies", "gpu_samples", "gpu_5m"):
        set_retention(handle, table, DAYS_MAX)
    yield handle
    handle.close()


@pytest.fixture
def store(opened: Handle) -> Handle:
    for table in ("gpu_samples_data", "engine_samples_data", "gpu_places_data", "gpu_deployments_data"):
        opened.command(f"TRUNCATE TABLE llmtrail.{table}")
    return opened


_NUMBERS = count(1)


def _samples(node: str, ahead_ns: int, index: int = 0) -> list[GpuRow]:
    """Return a sample every 15 s for two minutes either side; the GPU falls off the bus 10 s into the call."""
    rows = []
    for second in range(-120, 121, 15):
        true_ns = NOW_NS + second * _S
        rows.append(
            GpuRow(
                sampled_at_ns=true_ns + ahead_ns,
                received_at_ns=true_ns + 100_000_000,
                host=node,
                gpu_uuid=f"GPU-{node}-{index}",
                gpu_index=index,
                gpu_name="NVIDIA H200",
                pod="vllm-0",
                utilization=0.97,
                memory_used_bytes=140 * 1024**3,
                memory_total_bytes=141 * 1024**3,
                temperature_c=91.0,
                power_w=690.0,
                throttle_reasons=["hw_thermal"],
                xid=79 if second == 15 else None,
            )
        )
    return rows


def _keep(store: Handle, rows: list[GpuRow]) -> None:
    insert_gpu_samples(store, rows, rows[0].gpu_uuid)
    places = {Place(row.host, row.namespace, row.pod, row.gpu_uuid, row.gpu_index) for row in rows}
    insert_places(store, [(_DAY, place) for place in places], rows[0].gpu_uuid)


def _call(store: Handle, **fields: Any) -> dict[str, Any]:
    number = next(_NUMBERS)
    call = a_call(number, request_id=f"slow-{number}", latency_ms=30_000.0, **fields)
    insert_calls(store, [a_row(call, first_ingested_at_ns=NOW_NS + 31 * _S)], f"call-{number}")
    document = find_request(store, f"slow-{number}")
    assert document is not None
    (told,) = document["calls"]
    return dict(told, document=document)


def test_the_gpus_of_a_deployment_stand_beside_the_call(store: Handle) -> None:
    keep_deployments(store, DEPLOYMENTS, NOW_NS)
    for rows in (_samples("node-1", 0), _samples("node-1", 0, 7), _samples("node-3", 0)):
        _keep(store, rows)
    server = EngineRow(
        sampled_at_ns=NOW_NS + 5 * _S,
        received_at_ns=NOW_NS + 5 * _S,
        host="node-1",
        address="10.0.0.5:8000",
        engine="vllm",
        model="llama-3",
        pod="vllm-0",
        kv_cache_used=0.99,
        waiting=41,
    )
    insert_engine_samples(store, [server], "server")

    told = _call(store, attributes=ATTRIBUTES)

    gpu = told["gpu"]
    assert (gpu["told_by"], gpu["deployment"]) == ("config", "llama")
    # GPU 7 of the node and the other node are none of the deployment's.
    assert [one["gpu_uuid"] for one in gpu["gpus"]] == ["GPU-node-1-0"]
    phases = [sample["phase"] for sample in gpu["gpus"][0]["samples"]]
    assert phases == ["before", *["during"] * (len(phases) - 2), "after"]
    assert [sample["xid"] for sample in gpu["gpus"][0]["samples"] if "xid" in sample] == [79]
    assert [one["samples"][0]["kv_cache_used"] for one in gpu["engines"]] == [pytest.approx(0.99)]
    shown = io.StringIO()
    print_page(told["document"], console=Console(file=shown, width=140, highlight=False, markup=False))
    for words in ("by the deployment llama", "XID 79", "91 °C", "hw_thermal", "140.0 of 141 GiB", "99%", "41"):
        assert words in shown.getvalue()


@pytest.mark.parametrize("ahead_s", [-5, -2, 0, 2, 5])
def test_an_error_is_seen_during_the_call_though_the_nodes_clock_is_off(store: Handle, ahead_s: int) -> None:
    keep_deployments(store, DEPLOYMENTS, NOW_NS)
    _keep(store, _samples("node-1", ahead_s * _S))
    told = _call(store, attributes=ATTRIBUTES)
    (error,) = [sample for one in told["gpu"]["gpus"] for sample in one["samples"] if "xid" in sample]
    assert error["phase"] == "during"
    # Fifteen seconds after the call's start, whatever the node's clock showed: within what nobody can know.
    assert abs(error["after_start_ms"] - 15_000) <= 7_500
    gap = told["gpu"]["clocks"]["nodes"]["node-1"]
    assert gap["ahead_ms_min"] <= ahead_s * 1_000 <= gap["ahead_ms_max"]
    # Measured either way, not only allowed for.
    assert gap["ahead_ms_max"] - gap["ahead_ms_min"] == 2_000


def test_without_a_deployment_the_servers_name_is_enough_and_a_stranger_has_no_gpu(store: Handle) -> None:
    _keep(store, _samples("node-1", 0))
    named = _call(store, attributes=Raw(b'{"server.address":"node-1"}'))
    assert named["gpu"]["told_by"] == "address"
    for attributes in (b'{"server.address":"api.openai.com"}', b'{"server.address":7}', b"[1]"):
        assert _call(store, attributes=Raw(attributes))["gpu"] is None


def test_where_nothing_was_sampled_a_call_has_no_gpu(store: Handle) -> None:
    keep_deployments(store, DEPLOYMENTS, NOW_NS)
    assert _call(store, attributes=ATTRIBUTES)["gpu"] is None


def test_deployments_are_replaced_as_a_whole_and_only_when_they_change(store: Handle) -> None:
    assert keep_deployments(store, DEPLOYMENTS, 1)
    assert stored_deployments(store) == DEPLOYMENTS
    assert not keep_deployments(store, DEPLOYMENTS, 2)
    assert keep_deployments(store, DEPLOYMENTS[:1], 3)
    assert stored_deployments(store) == DEPLOYMENTS[:1]
    assert keep_deployments(store, [], 4)
    assert stored_deployments(store) == []
    assert not keep_deployments(store, [], 5)


def test_places_are_one_row_a_day(store: Handle) -> None:
    places = [Place("node-1", "ml", "vllm-0", "GPU-1", 3), Place("node-1", "ml", "vllm-0", address="a:1")]
    for token in ("one", "two"):
        insert_places(store, [(_DAY, place) for place in places], token)
    wanted = Sought(nodes=frozenset({"node-1"}))
    assert sorted(stored_places(store, [_DAY], wanted), key=lambda place: place.address) == places
    assert stored_places(store, [_DAY + 1], wanted) == []
    assert stored_places(store, [], wanted) == []
    assert stored_places(store, [_DAY], Sought()) == []


def test_places_are_found_by_the_names_that_are_sought_and_no_others(store: Handle) -> None:
    places = [
        Place("gpu-1.example", "ml", "vllm-llama-0", "GPU-1", 0),
        Place("GPU-1.lab", "ml", "", "GPU-2", 1),
        Place("10.0.0.5", "ml", "it's_50%", "GPU-3"),
        Place("gpu-10", "ml", "vllm-llama-1", address="Llm.example:8000"),
    ]
    insert_places(store, [(_DAY, place) for place in places], "sought")
    for sought in (
        Sought(nodes=frozenset({"gpu-1"})),
        Sought(nodes=frozenset({"10.0.0.5", "10"})),
        Sought(servers=frozenset({"llm.example", "x"})),
        Sought(servers=frozenset({"llm.example", *(f"10.1.2.{number}" for number in range(2 * NEEDLES_MAX))})),
        Sought(pods=frozenset({"vllm-llama", "x"})),
        Sought(pods=frozenset({"it's_"})),
        Sought(pods=frozenset({""})),
        Sought(frozenset({"gpu-10"}), frozenset({"x"}), frozenset({"it"})),
    ):
        found = stored_places(store, [_DAY], sought)
        assert sorted(found, key=repr) == sorted(filter(sought.wants, places), key=repr)
        assert found
    # A thousand servers by their long names are more than one statement holds: then nothing is left out.
    hosts = [f"llm-{number}.{'inference.' * 6}local" for number in range(1_000)]
    many = Sought(frozenset(hosts), frozenset({*hosts, "llm.example"}), frozenset(hosts))
    assert places[3] in stored_places(store, [_DAY], many)


def test_requests_that_ran_on_a_machine_are_found_the_failed_ones_first(store: Handle) -> None:
    now_ns = time.time_ns()
    keep_deployments(store, DEPLOYMENTS, now_ns)
    gpus = [Place("node-1", "ml", "vllm-0", f"GPU-{index}", index) for index in (0, 7)]
    server = Place("node-3", address="10.0.0.9:8000")
    insert_places(store, [(day_of(now_ns), place) for place in (*gpus, server)], "places")

    def call(name: str, ago_s: int, attributes: bytes, **fields: Any) -> None:
        number, at_ns = next(_NUMBERS), now_ns - ago_s * _S
        made = a_call(
            number,
            call_id=a_call_id(number, at_ns),
            started_at=at_ns,
            request_id=name,
            attributes=Raw(attributes),
            **fields,
        )
        insert_calls(store, [a_row(made, started_at_ns=at_ns, first_ingested_at_ns=at_ns)], f"ran-{name}")

    call("ok", 5, SERVER)
    call("later", 2, b'{"server.address":"10.0.0.5","server.port":"8000"}')
    call("failed", 20, SERVER, failure_mode="timeout", status="error")
    call("long-ago", LATELY_S + 60, SERVER)
    call("elsewhere", 3, b'{"server.address":"api.openai.com"}')
    call("server", 4, b'{"server.address":"10.0.0.9","server.port":8000}')

    def ran(kind: ScopeKind, *values: str, since_ns: int = 0) -> tuple[str, ...]:
        return requests_on(store, Scope("", kind, values), since_ns)

    since_ns = now_ns - 3_600 * _S
    assert ran(ScopeKind.GPU, "node-1", "GPU-0", since_ns=since_ns) == ("failed", "later", "ok")
    assert ran(ScopeKind.GPU, "node-1", "GPU-7", since_ns=since_ns) == ()
    assert ran(ScopeKind.NODE, "node-1", since_ns=now_ns - 10 * _S) == ("later", "ok")
    assert ran(ScopeKind.ENGINE, "node-3", "llama", "10.0.0.9:8000", since_ns=since_ns) == ("server",)
    assert ran(ScopeKind.NODE, "node-9", since_ns=since_ns) == ()
