"""The roll-up of GPU samples, and the statements of docs/guide/gpu-sql.md with figures that can be checked by hand."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec import Raw

from gpu_guide import COST, FAILURES, JOULES, LINES, PRESSURE, READINGS, RECORDS, SAMPLES
from llmtrail.core.call import Usage
from llmtrail.core.gpu_map import Deployment, GpuPrice
from llmtrail.store.gpu import EngineRow, GpuRow, insert_engine_samples, insert_gpu_samples, not_rolled, roll_up
from llmtrail.store.gpu_places import keep_deployments, keep_gpu_prices
from llmtrail.store.gpu_scrapes import ScrapeRow, insert_scrapes
from llmtrail.store.handle import Handle, Limits, open_chdb
from llmtrail.store.insert import insert_calls, insert_dead_letters
from llmtrail.store.migrate import migrate
from llmtrail.store.rows import DeadLetterRow
from llmtrail_ingest.gpu_prices import END_S
from stored_calls import a_call, a_row

_S = 1_000_000_000
# Five minutes of this day that are over, in one hour: the statements ask about the last days.
BEGAN_S = (int(time.time()) - 7_200) // 3_600 * 3_600
DEPLOYMENTS = [
    Deployment("llama", "http://10.0.0.5:8000", "llama-3", ("node-1",), ("0",)),
    Deployment("others", "", "mistral", ("node-2",)),
]
# 2 dollars until the samples begin, 3.60 from then on; the deployment's own price goes first.
PRICES = [
    GpuPrice("NVIDIA H200", 0, BEGAN_S, 2_000_000_000),
    GpuPrice("NVIDIA H200", BEGAN_S, END_S, 9_999_000_000),
    GpuPrice("llama", BEGAN_S, END_S, 3_600_000_000),
]


def _gpu(second: int, host: str = "node-1", index: int = 0, **fields: Any) -> GpuRow:
    at_ns = (BEGAN_S + second) * _S
    told: dict[str, Any] = {"utilization": 0.25, "power_w": 400.0, "gpu_name": "NVIDIA H200"} | fields
    return GpuRow(
        sampled_at_ns=at_ns, received_at_ns=at_ns, host=host, gpu_uuid=f"{host}-{index}", gpu_index=index, **told
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Handle]:
    handle = open_chdb(tmp_path_factory.mktemp("gpu-sql"))
    migrate(handle)
    rows = [
        _gpu(second, index=index, xid=79 if (second, index) == (60, 0) else None)
        for second in range(0, 300, 15)
        for index in (0, 1)
    ]
    insert_gpu_samples(handle, [*rows, *(_gpu(second, "node-2") for second in range(0, 300, 15))], "gpus")
    server: dict[str, Any] = {"host": "node-1", "address": "10.0.0.5:8000", "engine": "vllm"}
    insert_engine_samples(
        handle,
        [
            EngineRow(sampled_at_ns=at_ns, received_at_ns=at_ns, kv_cache_used=used, waiting=7, **server)
            for at_ns, used in (((BEGAN_S + 30) * _S, 0.25), ((BEGAN_S + 90) * _S, 0.95))
        ],
        "engines",
    )
    insert_scrapes(handle, _scrapes(), "scrapes")
    insert_dead_letters(handle, [_letter()], "letter")
    keep_deployments(handle, DEPLOYMENTS, 1)
    keep_gpu_prices(handle, PRICES, 1)
    insert_calls(handle, [a_row(call, started_at_ns=call.started_at) for call in _calls()], "calls")
    for start_ns, hosts in not_rolled(handle, time.time_ns()).items():
        roll_up(handle, start_ns, hosts, time.time_ns())
    yield handle
    handle.close()


def _scrapes() -> list[ScrapeRow]:
    """Return the readings of these samples, one of them sent twice, and one of a target that did not answer."""
    rows = [
        _scrape(BEGAN_S + second, "node-1", gpus=2, used_lines=50, rejected=[("unknown", 3), ("malformed", 1)])
        for second in range(0, 300, 15)
    ]
    rows += [_scrape(BEGAN_S + second, "node-2", gpus=1) for second in range(0, 300, 15)]
    rows += [_scrape(BEGAN_S + 315, "node-2", error="no answer in 5 s"), rows[0]]
    # The dead letter stands on the log between them.
    return [replace(row, offset=5 + place + (place >= 10)) for place, row in enumerate(rows)]


def _scrape(at_s: int, host: str, **fields: Any) -> ScrapeRow:
    at: dict[str, Any] = {"sampled_at_ns": at_s * _S, "received_at_ns": at_s * _S}
    told: dict[str, Any] = {"rejected_lines": ["up 1"], "rejected_reasons": ["unknown"]} if host == "node-1" else {}
    return ScrapeRow(**at, host=host, target="t", topic_id="log", partition=0, offset=0, **told, **fields)


def _letter() -> DeadLetterRow:
    place: dict[str, Any] = {"topic": "llm.gpu", "topic_id": "log", "partition": 0, "offset": 15}
    return DeadLetterRow(**place, received_at_ns=BEGAN_S * _S, reason="bad_scrape", detail="", key=b"", value=b"{")


def _calls() -> Iterator[Any]:
    ours = Raw(b'{"server.address":"10.0.0.5","server.port":8000}')
    usage = Usage(input_tokens=600, output_tokens=300)
    told: dict[str, Any] = {"request_model": "llama-3", "attributes": ours, "usage": usage}
    for number, second, latency_ms, failure in (
        (1, 40, 1_000.0, None),
        (2, 50, 20_000.0, "timeout"),
        (3, 100, 9_000.0, None),
    ):
        at = {"started_at": (BEGAN_S + second) * _S, "request_id": f"r-{number}", "latency_ms": latency_ms}
        yield a_call(number, failure_mode=failure, **told, **at)
    # Calls of another model, and of another server: none of the deployment's.
    at = {"started_at": (BEGAN_S + 50) * _S, "failure_mode": "timeout"}
    yield a_call(4, **(told | {"request_model": "gpt-4o"}), **at)
    yield a_call(5, **(told | {"attributes": Raw(b'{"server.address":"10.0.0.6","server.port":8000}')}), **at)


def _ask(store: Handle, statement: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.reader(Limits()).query(statement)]


def test_five_minutes_are_what_their_samples_come_to_and_rolling_again_changes_nothing(store: Handle) -> None:
    assert not_rolled(store, time.time_ns()).keys() <= {BEGAN_S * _S}
    columns = "samples, covered_s, utilization, busy_s, power_w, energy_j, xids, gpu_index"
    sql = f"SELECT {columns} FROM llmtrail.gpu_5m WHERE gpu_uuid = 'node-1-0'"
    told = _ask(store, sql)
    # Twenty samples, each for 15 s.
    assert told == [(20, 300.0, 0.25, 75.0, 400.0, 120_000.0, [79], 0)]
    roll_up(store, BEGAN_S * _S, ["node-1"], time.time_ns())
    assert _ask(store, sql) == told
    assert _ask(store, "SELECT count() FROM llmtrail.gpu_5m") == [(3,)]


def test_failures_during_a_driver_error(store: Handle) -> None:
    assert [(row[0], row[1], row[2], row[3], row[5], row[6]) for row in _ask(store, FAILURES)] == [
        ("llama", "node-1", 0, 79, "r-2", "timeout")
    ]


def test_latency_by_pressure_on_the_kv_cache(store: Handle) -> None:
    rows = [(row[0], round(row[1], 1), *row[2:5]) for row in _ask(store, PRESSURE)]
    assert rows == [("llama", 0.2, 2, 10_500.0, 19_050.0), ("llama", 0.9, 1, 9_000.0, 9_000.0)]


def test_tokens_by_the_energy_of_the_deployments_own_gpus(store: Handle) -> None:
    llama, others = _ask(store, JOULES)
    # Three calls of 300 tokens by one GPU of 400 W for 300 s; the other GPU of the node is not the deployment's.
    assert (llama[0], llama[2], llama[3], llama[4]) == ("llama", 900, 120_000.0, 0.0075)
    assert (others[0], others[3]) == ("others", 120_000.0)


def test_the_cost_of_a_thousand_tokens_with_idle_time_apart(store: Handle) -> None:
    llama, others = _ask(store, COST)
    # 300 s at 3.60 dollars an hour are 0.30 dollars; three quarters of it idle; 2,700 tokens.
    assert llama[2:6] == (0.08, 2_700, 0.3, 0.225)
    assert llama[6] == pytest.approx(0.3 / 2.7)
    assert llama[7] == pytest.approx(0.075 / 2.7)
    assert others[4] == pytest.approx(9.999 / 12, abs=1e-4)


def test_a_gpu_without_a_price_has_no_cost(store: Handle) -> None:
    keep_gpu_prices(store, PRICES[:1], 2)
    try:
        assert [row[4:] for row in _ask(store, COST)] == [(None,) * 4] * 2
    finally:
        keep_gpu_prices(store, PRICES, 3)


def test_readings_tell_what_failed_and_what_gave_nothing_by_target(store: Handle) -> None:
    ours, others = _ask(store, READINGS)
    assert (*ours[:5], ours[6]) == ("node-1", "t", 20, 0, "", 1_000)
    assert ours[7] == {"malformed": 20, "unknown": 60}
    assert (*others[:5], others[6:]) == ("node-2", "t", 21, 1, "no answer in 5 s", (None, {}))
    assert [row[:5] for row in _ask(store, LINES)] == [("node-1", "t", "unknown", "up 1", 20)]


def test_what_came_is_stored_or_rejected_and_each_sample_that_was_told_is_a_row(store: Handle) -> None:
    assert _ask(store, RECORDS) == [("log", 0, 43, 42, 1, 0)]
    day = datetime.fromtimestamp(BEGAN_S, UTC).date()
    assert _ask(store, SAMPLES) == [(day, 60, 60, 0)]
    # What is not there is seen.
    told = "SELECT * FROM llmtrail.gpu_scrapes"
    assert "llmtrail.gpu_scrapes" in RECORDS
    assert _ask(store, RECORDS.replace("llmtrail.gpu_scrapes", f"({told} WHERE offset != 20)"))[0][5] == 1
    assert _ask(store, SAMPLES.replace("llmtrail.gpu_samples", "(SELECT * FROM llmtrail.gpu_samples LIMIT 58)")) == [
        (day, 60, 58, 2)
    ]
