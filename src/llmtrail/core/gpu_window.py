"""What GPUs, model servers and their targets come to in a window: the answers of a `GpuBoard`. Types only; pure.

None is unknown: nothing in the window told it. It is never 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from llmtrail.core.gpu import Engine


class DeviceId(NamedTuple):
    """A GPU of a node, or a MIG instance of it."""

    host: str
    gpu_uuid: str
    mig_instance: str  # "" for a whole GPU


class EngineId(NamedTuple):
    """A model of a model server."""

    host: str
    address: str
    engine: Engine
    model: str


class TargetId(NamedTuple):
    """A page, or the driver, that a node's collector reads."""

    host: str
    target: str


@dataclass(frozen=True, slots=True)
class Gauge:
    """What a measured value came to: over the samples that told it."""

    mean: float
    max: float
    last: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuWindow:
    """One GPU, or one MIG instance, in one window."""

    host: str
    gpu_uuid: str
    mig_instance: str
    gpu_index: int | None
    gpu_name: str
    namespace: str
    pod: str  # who holds it, by the newest sample; "" where nobody does or it is not told
    samples: int
    # Of a MIG instance, for which the driver tells none, the share of time in which its engines were active.
    utilization: Gauge | None
    memory_used_share: Gauge | None
    temperature_c: Gauge | None
    power_w: Gauge | None
    power_limit_w: float | None
    throttled: Mapping[str, float] = field(default_factory=dict)  # reason -> share of the samples; see the guide
    xids: tuple[tuple[int, int], ...] = ()  # (epoch nanoseconds, code), the oldest first
    # By how much counters grew. After a reset, what they have counted since.
    ecc_corrected: int | None
    ecc_uncorrected: int | None
    remapped_rows_corrected: int | None
    remapped_rows_uncorrected: int | None
    row_remap_failed: bool | None
    last_sampled_ns: int

    @property
    def id(self) -> DeviceId:
        """Return what the window is of."""
        return DeviceId(self.host, self.gpu_uuid, self.mig_instance)

    @property
    def remapped_rows(self) -> int | None:
        """Return how many rows were remapped for either reason."""
        told = [rows for rows in (self.remapped_rows_corrected, self.remapped_rows_uncorrected) if rows is not None]
        return sum(told) if told else None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineWindow:
    """One model of one model server in one window."""

    host: str
    address: str
    engine: Engine
    model: str
    namespace: str
    pod: str
    samples: int
    kv_cache_used: Gauge | None
    waiting: Gauge | None
    running: Gauge | None
    tokens_s: Gauge | None
    time_to_first_token_ms: Gauge | None
    preemptions: int | None  # by how much the counter grew
    prefix_cache_hit_share: float | None  # None where nothing was looked up
    last_sampled_ns: int

    @property
    def id(self) -> EngineId:
        """Return what the window is of."""
        return EngineId(self.host, self.address, self.engine, self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetSeen:
    """When a target was last heard of. A reading that failed was heard of too, and told its error."""

    host: str
    target: str
    last_sampled_ns: int  # by the node's clock
    last_arrived_ns: int  # by the log's clock: this says whether a node is silent
    last_error: str  # of the newest reading; "" where it went well
    interval_s: float | None  # median of the last ones; None until there are two

    @property
    def id(self) -> TargetId:
        """Return which target it is."""
        return TargetId(self.host, self.target)


@dataclass(frozen=True, slots=True)
class GpuChanged:
    """What new samples have told of since the generation that was asked about. Windows also move with time alone."""

    generation: int
    devices: frozenset[DeviceId]
    engines: frozenset[EngineId]
    targets: frozenset[TargetId]
