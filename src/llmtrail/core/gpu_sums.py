"""Add slots of GPUs up to windows. Pure.

What several targets tell of one GPU (an exporter's page and the driver) is one GPU: measured values are pooled, and of
counters and errors, which both tell, the one that tells more is believed.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from llmtrail.core.gpu_slot import DeviceCell, EngineCell, Measured, Part, from_millionths
from llmtrail.core.gpu_window import DeviceId, EngineId, EngineWindow, Gauge, GpuWindow

Cell = TypeVar("Cell", DeviceCell, EngineCell)


@dataclass(slots=True)
class Told(Generic[Cell]):
    """What one target told of one GPU or model: its cells in a window, in the order of time, and the one before it."""

    before: Cell | None = None  # counters have grown since it
    cells: list[Cell] = field(default_factory=list)


def gpu_window(device: DeviceId, told: Sequence[Told[DeviceCell]]) -> GpuWindow:
    """Return what a GPU comes to by what each target told of it, each at least once."""
    cells = [cell for one in told for cell in one.cells]
    newest = _newest_first(told)
    gauges = _gauges(cells)
    limit = gauges.get(Part.POWER_LIMIT_W)
    remapped = [cell for cell in cells if cell.row_remap_failed is not None]
    samples = sum(cell.samples for cell in cells)
    throttled: Counter[str] = Counter()
    for cell in cells:
        throttled.update(cell.throttled)
    return GpuWindow(
        host=device.host,
        gpu_uuid=device.gpu_uuid,
        mig_instance=device.mig_instance,
        gpu_index=next((cell.gpu_index for cell in newest if cell.gpu_index is not None), None),
        gpu_name=_label(newest, "gpu_name"),
        namespace=_label(newest, "namespace"),
        pod=_label(newest, "pod"),
        samples=samples,
        utilization=gauges.get(Part.UTILIZATION),
        memory_used_share=gauges.get(Part.MEMORY_USED_SHARE),
        temperature_c=gauges.get(Part.TEMPERATURE_C),
        power_w=gauges.get(Part.POWER_W),
        power_limit_w=None if limit is None else limit.last,
        throttled={reason: count / samples for reason, count in sorted(throttled.items())},
        xids=_xids(told),
        ecc_corrected=_grown(told, Part.ECC_CORRECTED),
        ecc_uncorrected=_grown(told, Part.ECC_UNCORRECTED),
        remapped_rows_corrected=_grown(told, Part.REMAPPED_ROWS_CORRECTED),
        remapped_rows_uncorrected=_grown(told, Part.REMAPPED_ROWS_UNCORRECTED),
        row_remap_failed=max(remapped, key=lambda cell: cell.remap_failed_ns).row_remap_failed if remapped else None,
        last_sampled_ns=max(cell.last_ns for cell in cells),
    )


def engine_window(engine: EngineId, told: Sequence[Told[EngineCell]]) -> EngineWindow:
    """Return what a model of a model server comes to by what each target told of it, each at least once."""
    cells = [cell for one in told for cell in one.cells]
    newest = _newest_first(told)
    gauges = _gauges(cells)
    looked_up, found = _grown(told, Part.PREFIX_CACHE_QUERIES), _grown(told, Part.PREFIX_CACHE_HITS)
    return EngineWindow(
        host=engine.host,
        address=engine.address,
        engine=engine.engine,
        model=engine.model,
        namespace=_label(newest, "namespace"),
        pod=_label(newest, "pod"),
        samples=sum(cell.samples for cell in cells),
        kv_cache_used=gauges.get(Part.KV_CACHE_USED),
        waiting=gauges.get(Part.WAITING),
        running=gauges.get(Part.RUNNING),
        tokens_s=gauges.get(Part.TOKENS_S),
        time_to_first_token_ms=gauges.get(Part.TIME_TO_FIRST_TOKEN_MS),
        preemptions=_grown(told, Part.PREEMPTIONS),
        prefix_cache_hit_share=None if not looked_up or found is None else min(found / looked_up, 1.0),
        last_sampled_ns=max(cell.last_ns for cell in cells),
    )


def _newest_first(told: Iterable[Told[Cell]]) -> list[Cell]:
    """Return the newest cell of each target, the newest of all first."""
    return sorted((one.cells[-1] for one in told), key=lambda cell: -cell.last_ns)


def _label(newest: Iterable[DeviceCell | EngineCell], name: str) -> str:
    # An exporter knows pods, the driver does not: what one leaves out the other may tell.
    return next((text for cell in newest if (text := getattr(cell, name))), "")


def _gauges(cells: Iterable[DeviceCell | EngineCell]) -> Mapping[str, Gauge]:
    sums: dict[str, Measured] = {}
    for cell in cells:
        for name, one in cell.measured.items():
            if name in sums:
                sums[name].add(one)
            else:
                sums[name] = one.copy()
    return {name: _gauge(one) for name, one in sums.items()}


def _gauge(one: Measured) -> Gauge:
    return Gauge(from_millionths(one.total / one.count), from_millionths(one.most), from_millionths(one.last))


def _grown(told: Iterable[Told[Cell]], part: Part) -> int | None:
    """Return by how much a counter grew, None where no two samples of one target tell it."""
    return max((grown for one in told if (grown := _growth(one, part)) is not None), default=None)


def _growth(told: Told[Cell], part: Part) -> int | None:
    # One pass and no lists: a board adds up hundreds of thousands of these a second.
    former = None if told.before is None else told.before.counted.get(part)
    grown, has_two = 0, False
    for cell in told.cells:
        one = cell.counted.get(part)
        if one is None:
            continue
        if former is not None:
            grown += _step(former.last, one.first)
        if one.last != one.first:
            grown += _step(one.first, one.last)
        has_two = has_two or former is not None or one.last_ns != one.first_ns
        former = one
    return grown if has_two else None


def _step(former: int, later: int) -> int:
    # A counter that went down began anew from 0: it has counted at least what it tells.
    return later - former if later >= former else later


def _xids(told: Iterable[Told[DeviceCell]]) -> tuple[tuple[int, int], ...]:
    best: dict[int, list[tuple[int, int]]] = {}
    for one in told:
        by_code: dict[int, list[tuple[int, int]]] = {}
        for at_ns, code in (xid for cell in one.cells for xid in cell.xids):
            by_code.setdefault(code, []).append((at_ns, code))
        for code, times in by_code.items():
            if len(times) > len(best.get(code, ())):
                best[code] = times
    return tuple(sorted(xid for times in best.values() for xid in times))
