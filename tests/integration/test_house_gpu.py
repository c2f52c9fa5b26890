"""GPU samples through a whole house: over HTTP to the log, into the store, beside the call."""

import json
import subprocess
import sys
import time
from pathlib import Path

from eventually import eventually
from house import STORED_S_MAX, House, running_house
from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape, encode_scrape

_S = 1_000_000_000
CONFIG = """
[gpu.deployments.llama]
address = "http://10.0.0.5:8000/v1"
model = "llama-3"
hosts = ["node-1"]
gpus = ["0"]
"""


def _scrapes(began_ns: int) -> bytes:
    lines = []
    for second in range(-30, 31, 15):
        at_ns = began_ns + second * _S
        gpus = tuple(
            GpuSample(
                sampled_at_ns=at_ns,
                host="node-1",
                gpu_uuid=f"GPU-{index}",
                gpu_index=index,
                utilization=0.75,
                xid=79 if second == 0 else None,
            )
            for index in range(2)
        )
        server = EngineSample(
            sampled_at_ns=at_ns,
            host="node-1",
            address="10.0.0.5:8000",
            engine=Engine.VLLM,
            kv_cache_used=0.99,
            waiting=41,
        )
        lines.append(
            encode_scrape(GpuScrape(sampled_at_ns=at_ns, host="node-1", target="t", gpus=gpus, engines=(server,)))
        )
    return b"\n".join(lines)


def _call(house: House, began_ns: int) -> None:
    event = {
        "started_at": began_ns,
        "request_id": "slow",
        "request_model": "llama-3",
        "latency_ms": 10_000,
        "attributes": {"server.address": "10.0.0.5", "server.port": 8000},
    }
    assert house.post(json.dumps(event)).status == 200


def test_the_gpu_of_a_slow_request_is_shown_beside_it_over_a_restart(tmp_path: Path) -> None:
    began_ns = time.time_ns() - 60 * _S
    with running_house(tmp_path, CONFIG) as house:
        answer = house.ask("POST", "/v1/gpu", b"\n".join([_scrapes(began_ns), b'{"host": 7}']))
        assert (answer.status, answer.json["accepted"]) == (200, 5)
        assert [(one["index"], one["reason"]) for one in answer.json["rejected"]] == [(5, "bad_scrape")]
        _call(house, began_ns)
        house.kill()
    with running_house(tmp_path, CONFIG) as house:
        # The same scrapes again, as a collector sends them that got no answer.
        assert house.ask("POST", "/v1/gpu", _scrapes(began_ns)).status == 200
        house.settle()
        assert house.sql("SELECT count(), uniqExact(gpu_uuid) FROM llmtrail.gpu_samples") == [[10, 2]]
        assert house.sql("SELECT count() FROM llmtrail.engine_samples") == [[5]]
        assert house.sql("SELECT reason FROM llmtrail.dead_letters") == [["bad_scrape"]]
        gpu = house.request("slow")["calls"][0]["gpu"]
        assert (gpu["told_by"], gpu["deployment"]) == ("config", "llama")
        assert [one["gpu_uuid"] for one in gpu["gpus"]] == ["GPU-0"]
        assert [one.get("xid") for one in gpu["gpus"][0]["samples"] if "xid" in one] == [79]
        command = [sys.executable, "-m", "llmtrail", "show", "slow", "--data", str(tmp_path)]
        page = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        for words in ("by the deployment llama", "XID 79", "75%", "99%", "41"):
            assert words in page
        command = [sys.executable, "-m", "llmtrail", "stats", "--gpu", "--data", str(tmp_path)]
        table = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        for words in ("Last hour of GPUs · 2 GPUs, 1 model", "XID 79 (hardware)", "75%", "99%"):
            assert words in table
        assert house.metric('llmtrail_gpu_scrapes_total{fate="acknowledged"}') == 5
        told = house.ask("GET", "/v1/gpu?host=node-1").json
        assert [(one["gpu_uuid"], one["samples"], len(one["xids"])) for one in told["devices"]] == [
            ("GPU-0", 5, 1),
            ("GPU-1", 5, 1),
        ]
        assert [(one["waiting"]["max"], one["model"]) for one in told["engines"]] == [(41.0, "")]
        assert [(one["target"], one["interval_s"]) for one in told["targets"]] == [("t", 15.0)]
        assert house.metric('llmtrail_gpu_stats_scrapes{fate="applied"}') == 5
        assert house.metric('llmtrail_gpu_stats_scrapes{fate="repeated"}') == 5


def test_the_deployments_of_the_configuration_stand_in_sql_and_follow_it(tmp_path: Path) -> None:
    shown = "SELECT deployment, address, model, host, gpu FROM llmtrail.gpu_deployments"
    with running_house(tmp_path, CONFIG) as house:
        eventually(lambda: house.sql(shown) != [], STORED_S_MAX)
        assert house.sql(shown) == [["llama", "10.0.0.5:8000", "llama-3", "node-1", "0"]]
    with running_house(tmp_path) as house:
        eventually(lambda: house.sql(shown) == [], STORED_S_MAX)
