"""The demo's own GPUs: a simulated node that serves one model, read every second as `llmtrail gpu` reads a real one.

Knows nothing of the shop but when a GPU is lost in its story.
"""

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmtrail import clock as clock_module
from llmtrail.cli.demo_scenario import GPU_LOST_AT, LOCAL_MODEL
from llmtrail.config import Config, DeploymentConfig
from llmtrail.emit.endpoint import Endpoint
from llmtrail_gpu.delivery import Delivery, Edges
from llmtrail_gpu.scraper import Loop, Pace, PageReader, Scraper
from llmtrail_gpu.simulate import XID_AT_S, Node, pages
from llmtrail_gpu.simulator import Simulator
from llmtrail_gpu.targets import Target

DEPLOYMENT = "llama"
PRICES_FILE = "demo-prices.toml"
# The story is short: the collector reads as often as it can.
INTERVAL_S = 1.0
# Room for an hour of it while the gateway is away; then the demo is over.
_SPOOL_BYTES_MAX = 8 * 1024 * 1024
# What happened on the node is stored within this, or nothing is told of it.
STORED_S_MAX = 6.0
_LOOK_S = 0.2
_NODE = Node(model=LOCAL_MODEL)
_PRICES = f"""# The demo's own; written anew at each start.
[[gpu_hour]]
gpu = "NVIDIA H200"
price = "2.50"

# What its eight GPUs do at full load, all of them together.
[[own_gpu]]
deployment = "{DEPLOYMENT}"
gpu = "NVIDIA H200"
gpus = {_NODE.gpus}
input_tokens_s = 3600
output_tokens_s = 960
"""

Ask = Callable[[str], list[dict[str, Any]]]


@dataclass(slots=True)
class SimulatedNode:
    """A node that serves its pages; its story begins when the shop opens."""

    urls: Sequence[str] = ()
    began_ns: int | None = None

    @property
    def host(self) -> str:
        """Return its name."""
        return _NODE.host

    @property
    def open_s(self) -> int:
        """Return for how many seconds its story has gone on: earlier ones, on the same folder, lost a GPU too."""
        return 1 if self.began_ns is None else (time.monotonic_ns() - self.began_ns) // 1_000_000_000 + 1

    def begin(self) -> None:
        """Begin its story now."""
        self.began_ns = time.monotonic_ns()


@contextmanager
def simulated_node(seconds: float) -> Iterator[SimulatedNode]:
    """Serve the pages of a node that throttles, and loses a GPU at its moment of a story of `seconds`."""
    node = SimulatedNode()

    def age_s() -> float:
        passed_s = 0.0 if node.began_ns is None else (time.monotonic_ns() - node.began_ns) / 1e9
        return passed_s / seconds * XID_AT_S / GPU_LOST_AT

    with Simulator(pages(_NODE), age_s) as simulator:
        node.urls = simulator.urls
        yield node


def with_node(config: Config) -> Config:
    """Return the settings with the node's deployment, and with its prices where the user has none of his own."""
    deployments = {**config.gpu.deployments, DEPLOYMENT: DeploymentConfig(model=LOCAL_MODEL, hosts=(_NODE.host,))}
    told = replace(config, gpu=replace(config.gpu, deployments=deployments))
    if config.pricing.overrides is not None:
        return told
    config.server.data.mkdir(parents=True, exist_ok=True)
    file = config.server.data / PRICES_FILE
    file.write_text(_PRICES)
    return replace(told, pricing=replace(told.pricing, overrides=file))


def node_settings(folder: Path) -> str:
    """Return the same as a part of a settings file; the prices stand in `folder`."""
    file = folder / PRICES_FILE
    file.write_text(_PRICES)
    return f"""
[gpu]
node = "{_NODE.host}"
interval_s = {INTERVAL_S}

[gpu.deployments.{DEPLOYMENT}]
model = "{LOCAL_MODEL}"
hosts = ["{_NODE.host}"]

[pricing]
overrides = {json.dumps(str(file.resolve()))}
"""


@contextmanager
def collected(node: SimulatedNode, gateway_url: str, token: str | None, data: Path) -> Iterator[None]:
    """Read the node's pages and bring what they tell to a gateway, in this process."""
    clock = clock_module.SystemClock()
    edges = Edges(clock, clock_module.random_bytes)
    delivery = Delivery(Endpoint(gateway_url, token, path="/v1/gpu"), data / "gpu-spool", _SPOOL_BYTES_MAX, edges)
    pace = Pace(INTERVAL_S, 0.0, INTERVAL_S)
    fraction = random.Random(0).random  # noqa: S311 - spreads two readings; nothing secret

    def loop_of(target: Target) -> Loop:
        return Loop(PageReader(target, node.host, pace.deadline_s, clock).read, delivery.take, pace, clock, fraction)

    scraper = Scraper(loop_of)
    delivery.start()
    scraper.set_targets(Target(url, node.host, "ml", "llama-1-0", "vllm") for url in node.urls)
    try:
        yield
    finally:
        scraper.stop()
        delivery.stop()


def told_node(ask: Ask, node: SimulatedNode, is_over: Callable[[float], bool]) -> Mapping[str, Any] | None:
    """Return what the store tells of the node, once its lost GPU is among it; `is_over` waits and says to give up."""
    statement = f"""SELECT host, any(gpu_name) AS gpu_name, uniqExact(gpu_uuid) AS gpus,
        arraySort(groupUniqArrayIf(assumeNotNull(gpu_index), notEmpty(throttle_reasons))) AS throttled,
        arraySort(groupUniqArrayArray(throttle_reasons)) AS reasons,
        arraySort(groupUniqArrayIf((assumeNotNull(gpu_index), assumeNotNull(xid)), xid IS NOT NULL)) AS xids
        FROM gpu_samples WHERE host = '{node.host}' AND sampled_at > now() - INTERVAL {node.open_s} SECOND
        GROUP BY host"""  # noqa: S608 - names of ours
    until = time.monotonic() + STORED_S_MAX
    found = ask(statement)
    while not (found and found[0]["xids"]) and time.monotonic() < until and not is_over(_LOOK_S):
        found = ask(statement)
    return found[0] if found else None
