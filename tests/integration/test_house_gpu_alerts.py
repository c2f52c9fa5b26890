"""A GPU falls off the bus while another gets hot: the owner hears of each once, and what it means."""

import json
import time
from contextlib import ExitStack
from pathlib import Path

from alert_rules import write_rules
from eventually import eventually
from house import House, running_house
from llmtrail.core.gpu import GpuSample, GpuScrape, encode_scrape
from llmtrail.testing.recorders import pagerduty, slack_webhook

TOLD_S_MAX = 20.0
_S = 1_000_000_000
RULES = """
[[alarm]]
name = "gpu-broken"
measure = "gpu"
gpu_condition = "xid"
xid_class = ["hardware", "reset"]
critical = 1

[[alarm]]
name = "gpu-throttled"
measure = "gpu"
gpu_condition = "throttled"
gpu = "1"
warning = "20 %"
"""
DEPLOYMENT = """
[gpu.deployments.llama]
address = "http://10.0.0.5:8000/v1"
hosts = ["node-1"]
"""


def _post(house: House, ago_s: float, *, xid: int | None = None, hot: bool = False) -> None:
    at_ns = time.time_ns() - int(ago_s * _S)
    gpus = (
        GpuSample(sampled_at_ns=at_ns, host="node-1", gpu_uuid="GPU-a", gpu_index=0, gpu_name="NVIDIA H200", xid=xid),
        GpuSample(
            sampled_at_ns=at_ns,
            host="node-1",
            gpu_uuid="GPU-b",
            gpu_index=1,
            throttle_reasons=("hw_thermal",) if hot else (),
        ),
    )
    scrape = GpuScrape(sampled_at_ns=at_ns, host="node-1", target="http://127.0.0.1:9400/metrics", gpus=gpus)
    assert house.ask("POST", "/v1/gpu", encode_scrape(scrape)).status == 200


def test_an_xid_and_a_throttle_are_told_once_each_with_what_they_mean(tmp_path: Path) -> None:
    with ExitStack() as stack:
        slack, pager = stack.enter_context(slack_webhook()), stack.enter_context(pagerduty())
        write_rules(tmp_path / "rules", slack, pager, "", RULES)
        config = f'[alerts]\nfolder = "{tmp_path / "rules"}"\n{DEPLOYMENT}'
        with running_house(tmp_path / "data", config) as house:
            attributes = {"server.address": "10.0.0.5", "server.port": 8000}
            call = {"started_at": time.time_ns(), "request_id": "r-79", "request_model": "m", "attributes": attributes}
            assert house.post(json.dumps(call)).status == 200
            _post(house, 20.0)
            house.settle()
            _post(house, 1.0, xid=79, hot=True)
            eventually(lambda: len(slack.bodies()) == 2 and len(pager.bodies()) == 1, TOLD_S_MAX)

            told = {body["blocks"][0]["text"]["text"]: json.dumps(body) for body in slack.bodies()}
            broken = next(title for title in told if "XID 79" in title)
            assert broken.endswith("GPU 0 of node node-1: XID 79, The GPU has fallen off the bus (critical)")
            for words in ("power-cycle", "NVIDIA H200", "r-79", "Requests that ran there", "docs/runbooks/gpu-xid.md"):
                assert words in told[broken]
            hot = next(title for title in told if title != broken)
            assert "GPU 1 of node node-1: clocks held down " in hot
            assert "% of the time by hw thermal (warning: 20 %)" in hot
            rows = "SELECT scope_kind, scope, tenant FROM alerts WHERE rule = 'gpu-broken'"
            eventually(lambda: house.sql(rows) == [["gpu", ["node-1", "GPU-a"], ""]], TOLD_S_MAX)
            # A GPU is no scope of the statistics of calls, and stops nobody.
            assert house.ask("GET", "/v1/limits").json["limits"] == []
            assert house.ask("GET", "/v1/stats?kind=gpu").status == 400
            assert {one["kind"] for one in house.ask("GET", "/v1/alerts").json["firing"]} == {"gpu"}
        assert slack.breaches == pager.breaches == []
