"""GPU samples in every store: in process, over HTTP to our endpoint, and to a server where CLICKHOUSE_URL names one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from llmtrail.store.gpu import Around, EngineRow, GpuRow, gpu_around, insert_engine_samples, insert_gpu_samples
from llmtrail.store.gpu_scrapes import ScrapeRow, insert_scrapes
from llmtrail.store.handle import Handle, open_chdb, open_http
from llmtrail.store.migrate import migrate
from llmtrail.store.retention import DAYS_MAX, set_retention
from web_house import serving_store

STORES = ["chdb", "endpoint", *(["server"] if os.environ.get("CLICKHOUSE_URL") else [])]
_S = 1_000_000_000
# 2026-11-18 23:59:50, so that samples cross midnight.
NOW_NS = 1_795_046_390_000_000_000
GPU = GpuRow(
    sampled_at_ns=NOW_NS,
    received_at_ns=NOW_NS + 20_000_000,
    host="node-1",
    gpu_uuid="GPU-1",
    mig_instance="7",
    gpu_index=3,
    gpu_name="NVIDIA H200",
    mig_profile="1g.18gb",
    namespace="ml",
    pod="vllm-llama-0",
    container="vllm",
    source="dcgm",
    utilization=0.5,
    engine_active=0.25,
    tensor_active=0.125,
    dram_active=0.75,
    memory_used_bytes=140_000_000_000,
    memory_total_bytes=150_000_000_000,
    temperature_c=71.0,
    memory_temperature_c=80.0,
    power_w=512.5,
    power_limit_w=700.0,
    energy_j=1.5e9,
    sm_clock_mhz=1980.0,
    memory_clock_mhz=3201.0,
    throttle_reasons=["sw_power_cap", "hw_thermal"],
    xid=79,
    last_xid=31,
    ecc_corrected=4,
    ecc_uncorrected=0,
    remapped_rows_corrected=1,
    remapped_rows_uncorrected=2,
    row_remap_failed=False,
    pcie_replays=9,
    nvlink_bytes_s=1e9,
    pcie_sent_bytes_s=2e9,
    pcie_received_bytes_s=3e9,
)
ENGINE = EngineRow(
    sampled_at_ns=NOW_NS,
    received_at_ns=NOW_NS + 20_000_000,
    host="node-1",
    address="10.0.0.5:8000",
    engine="vllm",
    model="llama-3-70b",
    namespace="ml",
    pod="vllm-llama-0",
    container="vllm",
    running=12,
    waiting=3,
    kv_cache_used=0.875,
    preemptions=2,
    prefix_cache_queries=100,
    prefix_cache_hits=50,
    prompt_tokens=1_000_000,
    generated_tokens=500_000,
    tokens_s=1500.0,
    time_to_first_token_ms=120.5,
    time_per_token_ms=12.5,
    queue_ms=3.5,
)


@contextmanager
def _opened(kind: str, folder: Path) -> Iterator[Handle]:
    match kind:
        case "chdb":
            yield open_chdb(folder)
        case "endpoint":
            with serving_store(folder) as house:
                yield open_http(house.sql_url)
        case _:
            yield open_http(os.environ["CLICKHOUSE_URL"])


@pytest.fixture(scope="module", params=STORES)
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    with _opened(request.param, tmp_path_factory.mktemp("gpu")) as handle:
        migrate(handle)
        # The samples below do not grow too old to be kept.
        for table in ("gpu_samples", "gpu_5m"):
            set_retention(handle, table, DAYS_MAX)
        yield handle
        handle.close()


@pytest.fixture
def store(stores: Handle) -> Handle:
    for table in (
        "gpu_samples_data",
        "engine_samples_data",
        "gpu_scrapes_data",
        "gpu_places_data",
        "gpu_deployments_data",
    ):
        stores.command(f"TRUNCATE TABLE llmtrail.{table}")
    return stores


def test_samples_come_back_as_they_were_written(store: Handle) -> None:
    insert_gpu_samples(store, [GPU], "a")
    insert_engine_samples(store, [ENGINE], "a")
    assert gpu_around(store, ["node-1"], NOW_NS, NOW_NS) == Around((GPU,), (ENGINE,))


def test_what_was_not_told_is_null_and_not_zero(store: Handle) -> None:
    bare = GpuRow(sampled_at_ns=NOW_NS, received_at_ns=NOW_NS, host="node-1", gpu_uuid="GPU-1", throttle_reasons=[])
    server = EngineRow(sampled_at_ns=NOW_NS, received_at_ns=NOW_NS, host="node-1", address="a:1", engine="tgi")
    insert_gpu_samples(store, [bare], "bare")
    insert_engine_samples(store, [server], "bare")
    assert gpu_around(store, ["node-1"], NOW_NS, NOW_NS) == Around((bare,), (server,))


def test_rows_that_come_again_are_one_row_with_the_same_token_or_another(store: Handle) -> None:
    rows = [replace(GPU, sampled_at_ns=NOW_NS + number * 15 * _S) for number in range(4)]  # over midnight
    for token in ("first", "first", "another"):
        insert_gpu_samples(store, rows, token)
        insert_engine_samples(store, [ENGINE], token)
    assert gpu_around(store, ["node-1"], NOW_NS, NOW_NS + 60 * _S) == Around(tuple(rows), (ENGINE,))
    for view, wanted in (("gpu_samples", 4), ("engine_samples", 1)):
        assert list(store.query(f"SELECT count() FROM llmtrail.{view}")) == [(wanted,)]


def test_only_the_asked_nodes_and_time_are_told(store: Handle) -> None:
    rows = [
        replace(GPU, host=host, sampled_at_ns=NOW_NS + second * _S)
        for host in ("node-1", "node-2", "no'de")
        for second in (-1, 0, 20, 21)
    ]
    insert_gpu_samples(store, rows, "asked")
    found = gpu_around(store, ["node-2", "no'de"], NOW_NS, NOW_NS + 20 * _S).gpus
    told = {(row.host, (row.sampled_at_ns - NOW_NS) // _S) for row in found}
    assert told == {("node-2", 0), ("node-2", 20), ("no'de", 0), ("no'de", 20)}
    assert gpu_around(store, [], NOW_NS, NOW_NS) == Around()
    assert gpu_around(store, ["node-1"], NOW_NS, NOW_NS - 1) == Around()


def test_readings_come_back_as_they_were_written_each_record_once(store: Handle) -> None:
    row = ScrapeRow(
        sampled_at_ns=NOW_NS,
        received_at_ns=NOW_NS + _S,
        host="node-1",
        target="http://127.0.0.1:9400",
        error="cut after 10 s",
        gpus=8,
        engines=1,
        used_lines=200,
        rejected=[("malformed", 1), ("unknown", 7)],
        rejected_lines=["DCGM_FI_DEV_X 1", "it's {"],
        rejected_reasons=["unknown", "malformed"],
        topic_id="log-1",
        partition=3,
        offset=7,
    )
    bare = replace(row, offset=8, error="", used_lines=None, rejected=[], rejected_lines=[], rejected_reasons=[])
    for token in ("first", "first", "another"):
        insert_scrapes(store, [row, bare], token)
    names = "host, target, error, gpus, engines, used_lines, rejected, rejected_lines, rejected_reasons, topic_id"
    told = store.query(f"SELECT {names}, partition, offset FROM llmtrail.gpu_scrapes ORDER BY offset")
    where = ("node-1", "http://127.0.0.1:9400")
    assert [tuple(one) for one in told] == [
        (*where, row.error, 8, 1, 200, dict(row.rejected), row.rejected_lines, row.rejected_reasons, "log-1", 3, 7),
        (*where, "", 8, 1, None, {}, [], [], "log-1", 3, 8),
    ]
