"""What one target told in ten seconds or a minute: the value of `llm.gpu_stats`, and how a scrape is added. Pure.

A slot names the scrapes that are in it, so the same scrape again changes nothing, and it is the same whatever order
they came in: measured values are summed as whole millionths, and of a counter the earliest and the latest are kept.
"""

from bisect import insort
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.gpu import Engine, EngineSample, GpuSample, GpuScrape
from llmtrail.core.gpu_window import DeviceId, EngineId
from llmtrail.core.partial import SLOT_S
from llmtrail.core.slot import MINUTE_S

# How long a slot is -> how long it is kept, with time for what is on its way: windows of up to five minutes are made of
# ten seconds each, longer ones of minutes.
KEPT_S: Final = {SLOT_S: 300 + 60, MINUTE_S: 3_600 + 300}
# Targets are read once a second at most. Twice as many, so that jitter and a restart lose none; a sender that is faster
# is not counted in full.
SCRAPES_PER_S_MAX: Final = 2
# The driver knows eleven reasons; a sender who makes some up fills no slot.
REASONS_MAX: Final = 32
# Names that are read once and not with each slot: those of 8,000 GPUs.
IDS_MAX: Final = 8_192
# No GPU draws, and no engine tells, a thousand millions of anything; so a minute's sum stays below 64 bits.
_AMOUNT_MAX: Final = 1e9
_MILLIONTHS: Final = 1_000_000


# What a value was added up from, once it is written: nobody divides by nothing.
Some = Annotated[int, msgspec.Meta(ge=1)]


class BadGpuSlotError(ValueError):
    """A key or a value of `llm.gpu_stats` that cannot be read."""


class GpuSlotKey(NamedTuple):
    """Where a slot stands: the partition of `llm.gpu` that its scrapes came by, its target, length and start."""

    partition: int
    host: str
    target: str
    length_s: int
    start_s: int

    def text(self) -> str:
        """Return the key as `[3,"node-a","http://127.0.0.1:9400/metrics",10,1700000040]`."""
        return _ENCODE(self).decode()

    @staticmethod
    def parse(text: str | bytes) -> "GpuSlotKey":
        """Return the key whose `text()` this is; raises BadGpuSlotError."""
        try:
            key = GpuSlotKey(*_KEY.decode(text))
        except msgspec.DecodeError as cause:
            raise BadGpuSlotError(f"{text[:80]!r} is no key of a GPU's slot") from cause
        if key.length_s not in KEPT_S:
            raise BadGpuSlotError(f"{text[:80]!r}: slots of {key.length_s} s are not known")
        return key


class Measured(msgspec.Struct, array_like=True, gc=False):
    """A measured value's sums, in millionths."""

    count: Some
    total: int
    most: int
    last_ns: int
    last: int

    def add(self, other: "Measured") -> None:
        """Add what other samples came to."""
        self.count += other.count
        self.total += other.total
        self.most = max(self.most, other.most)
        # Of one time a target tells one value. Of what two tell at once, the larger, so that their order is nothing.
        if other.last_ns > self.last_ns or (other.last_ns == self.last_ns and other.last > self.last):
            self.last_ns, self.last = other.last_ns, other.last

    def copy(self) -> "Measured":
        """Return sums of their own."""
        return Measured(self.count, self.total, self.most, self.last_ns, self.last)


class Counted(msgspec.Struct, array_like=True, gc=False):
    """A counter's earliest and latest value."""

    first_ns: int
    first: int
    last_ns: int
    last: int

    def take(self, value: int, at_ns: int) -> None:
        """Take a value in."""
        self.first_ns, self.first = min((self.first_ns, self.first), (at_ns, value))
        self.last_ns, self.last = max((self.last_ns, self.last), (at_ns, value))


class DeviceCell(msgspec.Struct, omit_defaults=True, gc=False):
    """A GPU's part of a slot."""

    samples: Some
    last_ns: int = 0
    gpu_index: int | None = None
    gpu_name: str = ""
    namespace: str = ""
    pod: str = ""
    measured: dict[str, Measured] = {}
    counted: dict[str, Counted] = {}
    throttled: dict[str, int] = {}  # reason -> samples
    xids: list[tuple[int, int]] = []
    remap_failed_ns: int = 0
    row_remap_failed: bool | None = None


class EngineCell(msgspec.Struct, omit_defaults=True, gc=False):
    """A model's part of a slot."""

    samples: Some
    last_ns: int = 0
    namespace: str = ""
    pod: str = ""
    measured: dict[str, Measured] = {}
    counted: dict[str, Counted] = {}


class GpuSlot(msgspec.Struct, omit_defaults=True, gc=False):
    """Absolute sums of one target and stretch of time. Keys of cells are `DeviceId` and `EngineId` as JSON arrays."""

    at_ns: list[int] = []  # when its scrapes were sampled, in order: each stands for one that is counted
    arrived_ns: int = 0  # when the last of them reached the log
    error: str = ""  # of the newest of them
    devices: dict[str, DeviceCell] = {}
    engines: dict[str, EngineCell] = {}


class Part(StrEnum):
    """The values of cells that have sums."""

    UTILIZATION = "utilization"
    MEMORY_USED_SHARE = "memory_used_share"
    TEMPERATURE_C = "temperature_c"
    POWER_W = "power_w"
    POWER_LIMIT_W = "power_limit_w"
    ECC_CORRECTED = "ecc_corrected"
    ECC_UNCORRECTED = "ecc_uncorrected"
    REMAPPED_ROWS_CORRECTED = "remapped_rows_corrected"
    REMAPPED_ROWS_UNCORRECTED = "remapped_rows_uncorrected"
    KV_CACHE_USED = "kv_cache_used"
    WAITING = "waiting"
    RUNNING = "running"
    TOKENS_S = "tokens_s"
    TIME_TO_FIRST_TOKEN_MS = "time_to_first_token_ms"  # noqa: S105 - no password
    PREEMPTIONS = "preemptions"
    PREFIX_CACHE_QUERIES = "prefix_cache_queries"
    PREFIX_CACHE_HITS = "prefix_cache_hits"


_DEVICE_COUNTS: Final = (
    Part.ECC_CORRECTED, Part.ECC_UNCORRECTED, Part.REMAPPED_ROWS_CORRECTED, Part.REMAPPED_ROWS_UNCORRECTED,
)  # fmt: skip
_ENGINE_VALUES: Final = (
    Part.KV_CACHE_USED, Part.WAITING, Part.RUNNING, Part.TOKENS_S, Part.TIME_TO_FIRST_TOKEN_MS,
)  # fmt: skip
_ENGINE_COUNTS: Final = (Part.PREEMPTIONS, Part.PREFIX_CACHE_QUERIES, Part.PREFIX_CACHE_HITS)


def has_room(slot: GpuSlot, length_s: int) -> bool:
    """Say whether one more scrape may be counted in a slot."""
    return len(slot.at_ns) < length_s * SCRAPES_PER_S_MAX


def add_scrape(slot: GpuSlot, scrape: GpuScrape, arrived_ns: int) -> None:
    """Count a scrape that the slot does not hold yet, in place."""
    at_ns = scrape.sampled_at_ns
    if not slot.at_ns or at_ns > slot.at_ns[-1]:
        slot.error = scrape.error
    insort(slot.at_ns, at_ns)
    slot.arrived_ns = max(slot.arrived_ns, arrived_ns)
    for gpu in scrape.gpus:
        text = _ENCODE(DeviceId(gpu.host, gpu.gpu_uuid, gpu.mig_instance)).decode()
        _add_gpu(slot.devices.setdefault(text, DeviceCell(0)), gpu, at_ns)
    for engine in scrape.engines:
        text = _ENCODE(EngineId(engine.host, engine.address, engine.engine, engine.model)).decode()
        _add_engine(slot.engines.setdefault(text, EngineCell(0)), engine, at_ns)


@lru_cache(IDS_MAX)
def device_id(text: str) -> DeviceId:
    """Return whose cell stands under a key of `GpuSlot.devices`; raises BadGpuSlotError."""
    try:
        return DeviceId(*_DEVICE.decode(text))
    except msgspec.DecodeError as cause:
        raise BadGpuSlotError(f"{text[:80]!r} is no GPU") from cause


@lru_cache(IDS_MAX)
def engine_id(text: str) -> EngineId:
    """Return whose cell stands under a key of `GpuSlot.engines`; raises BadGpuSlotError."""
    try:
        return EngineId(*_ENGINE.decode(text))
    except msgspec.DecodeError as cause:
        raise BadGpuSlotError(f"{text[:80]!r} is no model server's model") from cause


def encode_gpu_slot(slot: GpuSlot) -> bytes:
    """Return `slot` as JSON."""
    return _ENCODE(slot)


def decode_gpu_slot(value: bytes) -> GpuSlot:
    """Return the slot that `value` holds; raises BadGpuSlotError."""
    try:
        return _DECODER.decode(value)
    except msgspec.DecodeError as cause:
        raise BadGpuSlotError(f"no slot of a GPU: {cause}") from cause


def millionths(value: float) -> int:
    """Return a measured value as sums hold it."""
    return round(min(max(value, -_AMOUNT_MAX), _AMOUNT_MAX) * _MILLIONTHS)


def from_millionths(value: float) -> float:
    """Return the measured value of a sum."""
    return value / _MILLIONTHS


def _add_gpu(cell: DeviceCell, gpu: GpuSample, at_ns: int) -> None:
    cell.samples += 1
    if at_ns >= cell.last_ns:
        cell.last_ns = at_ns
        cell.gpu_index, cell.gpu_name = gpu.gpu_index, gpu.gpu_name
        cell.namespace, cell.pod = gpu.namespace, gpu.pod
    used, total = gpu.memory_used_bytes, gpu.memory_total_bytes
    _measure(
        cell.measured,
        at_ns,
        (
            (Part.UTILIZATION, gpu.engine_active if gpu.utilization is None else gpu.utilization),
            (Part.MEMORY_USED_SHARE, None if used is None or not total else used / total),
            (Part.TEMPERATURE_C, gpu.temperature_c),
            (Part.POWER_W, gpu.power_w),
            (Part.POWER_LIMIT_W, gpu.power_limit_w),
        ),
    )
    _count(cell.counted, at_ns, gpu, _DEVICE_COUNTS)
    for reason in set(gpu.throttle_reasons):
        if reason in cell.throttled or len(cell.throttled) < REASONS_MAX:
            cell.throttled[reason] = cell.throttled.get(reason, 0) + 1
    if gpu.xid:
        insort(cell.xids, (at_ns, gpu.xid))
    if gpu.row_remap_failed is not None and at_ns >= cell.remap_failed_ns:
        cell.remap_failed_ns, cell.row_remap_failed = at_ns, gpu.row_remap_failed


def _add_engine(cell: EngineCell, engine: EngineSample, at_ns: int) -> None:
    cell.samples += 1
    if at_ns >= cell.last_ns:
        cell.last_ns = at_ns
        cell.namespace, cell.pod = engine.namespace, engine.pod
    _measure(cell.measured, at_ns, ((name, getattr(engine, name)) for name in _ENGINE_VALUES))
    _count(cell.counted, at_ns, engine, _ENGINE_COUNTS)


def _measure(into: dict[str, Measured], at_ns: int, told: Iterable[tuple[Part, float | None]]) -> None:
    for name, value in told:
        if value is None:
            continue
        whole = millionths(value)
        one = Measured(1, whole, whole, at_ns, whole)
        if name in into:
            into[name].add(one)
        else:
            into[name.value] = one


def _count(into: dict[str, Counted], at_ns: int, sample: GpuSample | EngineSample, names: Iterable[Part]) -> None:
    for name in names:
        value = getattr(sample, name)
        if value is None:
            continue
        found = into.get(name)
        if found is None:
            into[name.value] = Counted(at_ns, value, at_ns, value)
        else:
            found.take(value, at_ns)


_ENCODE: Final = msgspec.json.Encoder().encode
_DECODER: Final = json_decode.Decoder(GpuSlot)
_KEY: Final = json_decode.Decoder(tuple[int, str, str, int, int])
_DEVICE: Final = json_decode.Decoder(tuple[str, str, str])
_ENGINE: Final = json_decode.Decoder(tuple[str, str, Engine, str])
