"""`llmtrail gpu`: reads GPUs and model servers of this node and brings the samples to the log. Composes only."""

import logging
import random
import socket
import threading
from typing import Final

from llmtrail import clock as clock_module
from llmtrail.config import Config, NvmlUse, kafka_client, read_secret
from llmtrail.core.gpu import GpuScrape, Reason
from llmtrail.emit.endpoint import Endpoint
from llmtrail.emit.sender import Poster
from llmtrail.emit.tally import Tally
from llmtrail.metrics import GPU_DELIVERED, GPU_LOST, GPU_READ, GPU_REJECTED_LINES, GPU_WAITING, Metrics
from llmtrail.roles.process import RoleError, RoleProcess
from llmtrail_gpu.delivery import Delivery, Edges, KafkaScrapes
from llmtrail_gpu.discovery import Discovery, FileSource, PodSource, Source
from llmtrail_gpu.fetch import fetcher
from llmtrail_gpu.nvml import Nvml, NvmlError
from llmtrail_gpu.scraper import Loop, NvmlReader, Pace, PageReader, Scraper
from llmtrail_gpu.targets import Target, TargetsError

_LOG = logging.getLogger(__name__)

# A pod that starts is read within this; the API server is asked no more often.
DISCOVER_EVERY_S: Final = 30.0
_STOP_S: Final = 15.0


def start(config: Config, process: RoleProcess) -> None:
    """Start the role in `process`; raises RoleError or ConfigError, with what to do."""
    host = config.gpu.node or socket.gethostname()
    discovery = _discovery(config)
    try:
        targets = discovery.targets()
    except TargetsError as cause:
        raise RoleError(f"gpu.targets: {cause}") from cause
    nvml = _nvml(config, has_pages=bool(targets or discovery.sources))
    edges = Edges(process.clock, clock_module.random_bytes)
    delivery = Delivery(_poster(config, process), config.server.data / "gpu-spool", config.gpu.spool_bytes_max, edges)
    ask = fetcher(config.client, config.gpu.allowed_addresses)
    pace = Pace(config.gpu.interval_s, config.gpu.jitter, config.gpu.deadline_s)
    # Spreads readings; nothing secret hangs on it.
    fraction = random.Random(int.from_bytes(clock_module.random_bytes(8), "big")).random  # noqa: S311

    def take(scrape: GpuScrape) -> None:
        process.metrics.count(GPU_READ, outcome="failed" if scrape.error else "read")
        for reason, lines in scrape.rejected_counts.items():
            if reason is not Reason.NOT_NEEDED:
                process.metrics.count(GPU_REJECTED_LINES, lines, reason=str(reason))
        delivery.take(scrape)

    def loop_of(target: Target) -> Loop:
        reader = PageReader(target, host, pace.deadline_s, process.clock, ask)
        return Loop(reader.read, take, pace, process.clock, fraction)

    scraper = Scraper(loop_of)
    process.on_stop(delivery.stop)
    delivery.start()
    if nvml is not None:
        process.on_stop(nvml.close)
    process.on_stop(scraper.stop)
    if nvml is not None:
        scraper.add(Loop(NvmlReader(nvml.read, host, process.clock).read, take, pace, process.clock, fraction))
    scraper.set_targets(targets)
    if discovery.sources:
        _watch(process, discovery, scraper)
    process.add("targets", lambda: _not_ready(scraper, discovery, has_nvml=nvml is not None))
    process.add("delivery", lambda: f"{delivery.waiting} scrapes wait on disk" if delivery.is_backing_off else "")
    process.before_scrape(lambda: process.metrics.set(GPU_WAITING, delivery.waiting))
    process.before_scrape(lambda: account(process.metrics, delivery.tally))
    process.serve()


def account(metrics: Metrics, tally: Tally) -> None:
    """Bring the metrics up to what was counted since they were read last."""
    with tally.lock:
        accepted, gone = tally.accepted, tally.dropped + tally.rejected
    metrics.count(GPU_DELIVERED, accepted - int(metrics.value(GPU_DELIVERED)))
    for reason, scrapes in gone.items():
        metrics.count(GPU_LOST, scrapes - int(metrics.value(GPU_LOST, reason=reason)), reason=reason)


def _discovery(config: Config) -> Discovery:
    gpu = config.gpu
    sources: dict[str, Source] = {}
    if gpu.targets_file is not None:
        sources["gpu.targets_file"] = FileSource(gpu.targets_file)
    if gpu.discover_pods:
        if not gpu.node:
            raise RoleError("gpu.discover_pods needs gpu.node: set LLMTRAIL_GPU__NODE to the pod's spec.nodeName.")
        sources["gpu.discover_pods"] = PodSource(gpu.kubernetes_url, gpu.node, gpu.kubernetes_account)
    return Discovery(gpu.targets, sources)


def _nvml(config: Config, *, has_pages: bool) -> Nvml | None:
    """Return the driver where it is to be read; raises RoleError where it must be and cannot."""
    use = config.gpu.nvml
    if use is NvmlUse.NEVER or (use is NvmlUse.AUTO and has_pages):
        if not has_pages:
            raise RoleError('nothing to read: set gpu.targets = ["http://127.0.0.1:9400"], or leave gpu.nvml out.')
        return None
    try:
        return Nvml()
    except NvmlError as cause:
        raise RoleError(f"{cause}; or set gpu.targets to the pages of dcgm-exporter and model servers") from cause


def _poster(config: Config, process: RoleProcess) -> Poster:
    if config.kafka.bootstrap_servers:
        try:
            return KafkaScrapes(kafka_client(config.kafka), config.kafka.topic_prefix, process.clock)
        except ImportError as cause:
            raise RoleError(str(cause)) from cause
    gpu = config.gpu
    token = read_secret(gpu.token, gpu.token_file, "gpu.token") if gpu.token or gpu.token_file else None
    try:
        return Endpoint(gpu.gateway, token, path="/v1/gpu", tls=config.client)
    except ValueError as cause:
        raise RoleError(f"gpu.gateway: {cause}") from cause


def _watch(process: RoleProcess, discovery: Discovery, scraper: Scraper) -> None:
    """Look for targets again and again, until the process ends."""
    stopped = threading.Event()

    def look() -> None:
        while not stopped.wait(DISCOVER_EVERY_S):
            try:
                scraper.set_targets(discovery.targets())
            except Exception:  # noqa: BLE001 - the loop's edge: what is read now is read on.
                _LOG.exception("targets could not be looked for")

    thread = threading.Thread(target=look, name="llmtrail-gpu-targets", daemon=True)

    def stop() -> None:
        stopped.set()
        thread.join(_STOP_S)

    process.on_stop(stop)
    thread.start()


def _not_ready(scraper: Scraper, discovery: Discovery, *, has_nvml: bool) -> str:
    if scraper.targets or has_nvml:
        return ""
    faults = "; ".join(f"{name}: {why}" for name, why in discovery.faults.items())
    return faults or "no target was found yet"
