"""`GET /v1/gpu`: what is told, to whom, and how it refuses."""

import asyncio
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape
from llmtrail.core.gpu_board import GpuBoard
from llmtrail_web.gpu import gpu_stats_routes
from tokens import readers_gate

NOW_NS = 1_763_700_005_000_000_000
AT_NS = NOW_NS - 5_000_000_000


def filled_board() -> GpuBoard:
    board = GpuBoard()
    gpu = GpuSample(sampled_at_ns=AT_NS, host="node-a", gpu_uuid="GPU-1", gpu_index=0, utilization=0.5, xid=79)
    engine = EngineSample(sampled_at_ns=AT_NS, host="node-a", address="a:8000", engine=Engine.VLLM, waiting=3)
    board.take(GpuScrape(sampled_at_ns=AT_NS, host="node-a", target="t", gpus=(gpu,), engines=(engine,)), AT_NS)
    board.take(GpuScrape(sampled_at_ns=AT_NS, host="node-b", target="t", error="refused"), AT_NS)
    return board


def asked(query: str = "", token: str = "Bearer everyone", reason: str = "") -> httpx.Response:
    async def ask() -> httpx.Response:
        routes = gpu_stats_routes(filled_board(), lambda: NOW_NS, readers_gate("acme"), lambda: reason)
        transport = httpx.ASGITransport(app=Starlette(routes=routes))
        async with httpx.AsyncClient(transport=transport, base_url="http://house") as client:
            return await client.get(f"/v1/gpu?{query}", headers={"authorization": token})

    return asyncio.run(ask())


def test_gpus_model_servers_and_targets_of_a_window_are_told() -> None:
    told: dict[str, Any] = asked("window=1m").json()

    (gpu,), (engine,) = told["devices"], told["engines"]
    assert (gpu["host"], gpu["utilization"], gpu["power_w"]) == ("node-a", {"mean": 0.5, "max": 0.5, "last": 0.5}, None)
    assert [(one["xid"], one["class"], one["meaning"]) for one in gpu["xids"]] == [
        (79, "hardware", "The GPU has fallen off the bus")
    ]
    assert (engine["waiting"]["max"], engine["engine"]) == (3.0, "vllm")
    assert [(one["host"], one["last_error"], one["last_arrived_at"]) for one in told["targets"]] == [
        ("node-a", "", "2025-11-21T04:40:00.000000000Z"),
        ("node-b", "refused", "2025-11-21T04:40:00.000000000Z"),
    ]
    assert [one["host"] for one in asked("host=node-b").json()["targets"]] == ["node-b"]
    assert asked("host=node-b").json()["devices"] == []
    nobody = asked("host=nobody").json()
    assert nobody["targets"] == []
    assert nobody["as_of"] == asked("").json()["as_of"], "whether anybody counts is not a matter of who is asked for"


@pytest.mark.parametrize(
    ("query", "token", "status", "said"),
    [
        ("window=1d", "Bearer everyone", 400, "by SQL"),
        ("window=x", "Bearer everyone", 400, "ask for 1m, 5m, 1h, or by SQL"),
        ("kind=user", "Bearer everyone", 400, "there is no parameter"),
        ("host=a&host=b", "Bearer everyone", 400, "given once"),
        ("", "Bearer acme", 403, "of one tenant"),
        ("", "Bearer nobody", 401, "not known here"),
    ],
)
def test_what_is_not_to_be_had_is_refused_with_the_reason(query: str, token: str, status: int, said: str) -> None:
    answer = asked(query, token)

    assert (answer.status_code, said in answer.json()["error"]) == (status, True)


def test_a_board_that_is_still_being_filled_answers_later() -> None:
    answer = asked(reason="llm.gpu is still being read")

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
