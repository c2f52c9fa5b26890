"""Samples of GPUs in one process: what writes them, and which deployments are whose. Composes; decides nothing."""

from collections.abc import Collection, Iterable, Sequence

from llmtrail.clock import Clock
from llmtrail.config import GpuConfig
from llmtrail.core.gpu_map import Deployment, Place
from llmtrail.log.port import GroupLog
from llmtrail.store.gpu import EngineRow, GpuRow, insert_engine_samples, insert_gpu_samples, not_rolled, roll_up
from llmtrail.store.gpu_places import insert_places, keep_deployments
from llmtrail.store.handle import Handle
from llmtrail.store.insert import insert_dead_letters
from llmtrail.store.rows import DeadLetterRow
from llmtrail_ingest.gpu.writer import GpuWriter, Slots


class GpuStore:
    """Where samples go: tables of a store."""

    def __init__(self, handle: Handle, config: GpuConfig) -> None:
        self._handle = handle
        self._config = config

    def insert_gpu(self, gpus: Sequence[GpuRow], engines: Sequence[EngineRow], token: str) -> None:
        """Insert samples; the same ones again are the same rows."""
        insert_gpu_samples(self._handle, gpus, token)
        insert_engine_samples(self._handle, engines, token)

    def insert_places(self, places: Iterable[tuple[int, Place]], token: str) -> None:
        """Insert what was sampled on a day."""
        insert_places(self._handle, places, token)

    def insert_dead_letters(self, letters: Sequence[DeadLetterRow], token: str) -> None:
        """Insert letters; a letter of the same place again replaces itself."""
        insert_dead_letters(self._handle, letters, token)

    def roll_up(self, start_ns: int, hosts: Collection[str], now_ns: int) -> None:
        """Make the roll-up of five minutes anew."""
        roll_up(self._handle, start_ns, hosts, now_ns)

    def begin(self, now_ns: int) -> Slots:
        """Tell the store the configured deployments; return the five minutes whose roll-up may be too old."""
        keep_deployments(self._handle, _deployments(self._config), now_ns)
        return not_rolled(self._handle, now_ns)


def gpu_writer(log: GroupLog, handle: Handle, config: GpuConfig, clock: Clock, partition: int = 0) -> GpuWriter:
    """Return what carries the samples of a partition into a store."""
    return GpuWriter(log, GpuStore(handle, config), clock, partition)


def _deployments(config: GpuConfig) -> list[Deployment]:
    return [
        Deployment(name, one.address, one.model, tuple(one.hosts), tuple(one.gpus), tuple(one.pods))
        for name, one in sorted(config.deployments.items())
    ]
