"""Samples of GPUs in one process: what writes them, and which deployments are whose. Composes; decides nothing."""

from collections.abc import Collection, Iterable, Sequence

from llmtrail.clock import Clock
from llmtrail.config import Config
from llmtrail.core.gpu_board import GpuBoard
from llmtrail.core.gpu_map import Deployment, GpuPrice, Place
from llmtrail.local.prices import deployments_of
from llmtrail.log.port import GroupLog, Unread, uncounted
from llmtrail.metrics import GPU_STATS_BYTES, GPU_STATS_SCRAPES, GPU_STATS_SKEWED, Metrics
from llmtrail.store.gpu import EngineRow, GpuRow, insert_engine_samples, insert_gpu_samples, not_rolled, roll_up
from llmtrail.store.gpu_places import insert_places, keep_deployments, keep_gpu_prices
from llmtrail.store.gpu_scrapes import ScrapeRow, insert_scrapes
from llmtrail.store.handle import Handle
from llmtrail.store.insert import insert_dead_letters
from llmtrail.store.rows import DeadLetterRow
from llmtrail_ingest.gpu.writer import GpuWriter, Slots
from llmtrail_ingest.gpu_prices import parse_gpu_prices


class GpuStore:
    """Where samples go: tables of a store."""

    def __init__(self, handle: Handle, deployments: Sequence[Deployment], prices: Sequence[GpuPrice]) -> None:
        self._handle = handle
        self._deployments = deployments
        self._prices = prices

    def insert_gpu(self, gpus: Sequence[GpuRow], engines: Sequence[EngineRow], token: str) -> None:
        """Insert samples; the same ones again are the same rows."""
        insert_gpu_samples(self._handle, gpus, token)
        insert_engine_samples(self._handle, engines, token)

    def insert_scrapes(self, scrapes: Sequence[ScrapeRow], token: str) -> None:
        """Insert readings; that of the same record again is the same row."""
        insert_scrapes(self._handle, scrapes, token)

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
        """Tell the store deployments and prices; return the five minutes whose roll-up may be too old."""
        keep_deployments(self._handle, self._deployments, now_ns)
        keep_gpu_prices(self._handle, self._prices, now_ns)
        return not_rolled(self._handle, now_ns)


def gpu_store(handle: Handle, config: Config) -> GpuStore:
    """Return where samples go, with the configured deployments and prices; raises PriceFileError, OSError."""
    file = config.pricing.overrides
    prices = () if file is None else parse_gpu_prices(file.read_text(encoding="utf-8"), str(file))
    return GpuStore(handle, deployments_of(config), prices)


def gpu_writer(
    log: GroupLog, store: GpuStore, clock: Clock, partition: int = 0, unread: Unread = uncounted
) -> GpuWriter:
    """Return what carries the samples of a partition into a store."""
    return GpuWriter(log, store, clock, partition, unread)


def measure_gpu_board(board: GpuBoard, metrics: Metrics) -> None:
    """Set the gauges of a board that takes scrapes."""
    for fate, scrapes in board.counts.items():
        metrics.set(GPU_STATS_SCRAPES, scrapes, fate=str(fate))
    metrics.set(GPU_STATS_SKEWED, board.skewed)
    metrics.set(GPU_STATS_BYTES, board.bytes_kept)
