"""The state of the GPUs that answered a call, as a document beside it. What is whose is decided in core/gpu_map."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from llmtrail.core import gpu_map
from llmtrail.core.gpu_map import Deployment, Gap, Place, Target, Window
from llmtrail.store.gpu import Around, EngineRow, GpuRow, gpu_around
from llmtrail.store.gpu_places import day_of, stored_deployments, stored_places
from llmtrail.store.handle import Handle
from llmtrail.store.records import StoredCall

# A session of more calls than this is a query, not a page.
CALLS_MAX = 20
# Samples during a call that are told one by one; of more, evenly many, and every one with an XID.
SAMPLES_MAX = 12
_NS_PER_MS = 1_000_000
_REACH_NS = 2 * gpu_map.CLOCK_GAP_NS + gpu_map.SAMPLE_GAP_NS
_NAMES = ("sampled_at_ns", "received_at_ns", "host")
_GPU_NAMES = (
    "gpu_uuid",
    "mig_instance",
    "gpu_index",
    "gpu_name",
    "mig_profile",
    "namespace",
    "pod",
    "container",
    "source",
)
_ENGINE_NAMES = ("address", "engine", "model", "namespace", "pod", "container")
# What a sample tells beside what it is of.
_GPU_TOLD = tuple(part.name for part in fields(GpuRow) if part.name not in {*_NAMES, *_GPU_NAMES})
_ENGINE_TOLD = tuple(part.name for part in fields(EngineRow) if part.name not in {*_NAMES, *_ENGINE_NAMES})

GpuDocument = dict[str, Any]
_Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Call:
    index: int
    stored: StoredCall
    targets: Sequence[Target]
    ended_ns: int

    @property
    def began_ns(self) -> int:
        return self.stored.started_at_ns


def gpus_of_calls(
    handle: Handle, stored: Sequence[StoredCall], deployments: Collection[Deployment] | None = None
) -> list[GpuDocument | None]:
    """Return for each call what the GPUs did around it, ready to become JSON; None where none are known.

    `deployments` are those of the store, where they have been read already.
    """
    told: list[GpuDocument | None] = [None] * len(stored)
    asked = [(index, one, gpu_map.asked_of(one.call)) for index, one in enumerate(stored[:CALLS_MAX])]
    if deployments is None:
        deployments = stored_deployments(handle)
    # Whatever was not sampled near a call has nothing to tell of it.
    near = ((one.started_at_ns, _ended_ns(one)) for _, one, _ in asked)
    days = {day_of(at_ns) for began, ended in near for at_ns in (began - _REACH_NS, began, ended, ended + _REACH_NS)}
    places = stored_places(handle, days, gpu_map.sought((call for _, _, call in asked), deployments))
    calls = [
        _Call(index, one, meant, _ended_ns(one))
        for index, one, call in asked
        if (meant := gpu_map.targets(call, deployments, places))
    ]
    clocks = _clocks(calls)
    for together in _near(calls):
        hosts = {host for call in together for target in call.targets for host in _hosts(target, places)}
        found = gpu_around(handle, hosts, together[0].began_ns - _REACH_NS, _last(together) + _REACH_NS)
        nodes = _node_gaps(found)
        for call in together:
            told[call.index] = _document(call, found, clocks.get(call.stored.call.host or ""), nodes)
    return told


def _ended_ns(one: StoredCall) -> int:
    return one.started_at_ns + round((one.call.latency_ms or 0) * _NS_PER_MS)


def _hosts(target: Target, places: Iterable[Place]) -> Iterable[str]:
    return target.hosts or {place.host for place in places if target.holds(place)}


def _clocks(calls: Iterable[_Call]) -> dict[str, Gap]:
    """Return how far the clock of each application's host is off, from all its calls here."""
    ends: dict[str, list[tuple[int, int]]] = {}
    for call in calls:
        ends.setdefault(call.stored.call.host or "", []).append((call.ended_ns, call.stored.first_ingested_at_ns))
    return {host: gap for host, pairs in ends.items() if (gap := gpu_map.clock_gap(pairs)) is not None}


def _node_gaps(found: Around) -> dict[str, Gap]:
    ends: dict[str, list[tuple[int, int]]] = {}
    rows: tuple[GpuRow | EngineRow, ...] = (*found.gpus, *found.engines)
    for row in rows:
        ends.setdefault(row.host, []).append((row.sampled_at_ns, row.received_at_ns))
    return {host: gap for host, pairs in ends.items() if (gap := gpu_map.clock_gap(pairs)) is not None}


def _near(calls: Sequence[_Call]) -> list[list[_Call]]:
    """Return the calls in runs that one read answers: those of a loop lie close together."""
    runs: list[list[_Call]] = []
    for call in sorted(calls, key=lambda call: call.began_ns):
        if runs and call.began_ns <= _last(runs[-1]) + _REACH_NS:
            runs[-1].append(call)
        else:
            runs.append([call])
    return runs


def _last(calls: Sequence[_Call]) -> int:
    return max(call.ended_ns for call in calls)


def _document(call: _Call, found: Around, app: Gap | None, nodes: Mapping[str, Gap]) -> GpuDocument | None:
    hosts = {row.host for row in found.gpus} | {row.host for row in found.engines}
    windows = {host: gpu_map.window(call.began_ns, call.ended_ns, app, nodes.get(host)) for host in hosts}
    gpus = _series(call, (row for row in found.gpus if _meant(call, row)), windows, _GPU_NAMES)
    engines = _series(call, (row for row in found.engines if _meant(call, row)), windows, _ENGINE_NAMES)
    if not gpus and not engines:
        return None
    first = call.targets[0]
    used = {one["host"] for one in (*gpus, *engines)}
    return {
        "told_by": str(first.told),
        "deployment": first.deployment or None,
        "clocks": {
            "application": _gap(app),
            "nodes": {host: _gap(nodes.get(host)) for host in sorted(used)},
        },
        "gpus": gpus,
        "engines": engines,
    }


def _gap(gap: Gap | None) -> dict[str, Any] | None:
    if gap is None:
        return None
    return {
        "ahead_ms_min": gap.least_ns // _NS_PER_MS,
        "ahead_ms_max": gap.most_ns // _NS_PER_MS,
        "beyond_allowance": gap.is_large,
    }


def _meant(call: _Call, row: GpuRow | EngineRow) -> bool:
    if isinstance(row, GpuRow):
        place = Place(row.host, row.namespace, row.pod, row.gpu_uuid, row.gpu_index)
    else:
        place = Place(row.host, row.namespace, row.pod, address=row.address)
    return any(target.holds(place) for target in call.targets)


def _series(
    call: _Call, rows: Iterable[GpuRow | EngineRow], windows: Mapping[str, Window], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the samples by what they are of: the last before the call, those during it, the first after."""
    by_thing: dict[_Key, list[GpuRow | EngineRow]] = {}
    for row in rows:
        of = ("gpu_uuid", "mig_instance") if isinstance(row, GpuRow) else ("address", "model")
        by_thing.setdefault((row.host, *(getattr(row, name) for name in of)), []).append(row)
    listed = []
    for _, same in sorted(by_thing.items()):
        window = windows[same[0].host]
        listed.append(
            {
                "host": same[0].host,
                **{name: getattr(same[-1], name) for name in names},
                "samples": [_sample(row, phase, call, window) for row, phase in _chosen(same, window)],
            }
        )
    return listed


def _chosen(rows: Sequence[GpuRow | EngineRow], window: Window) -> list[tuple[GpuRow | EngineRow, str]]:
    before = [row for row in rows if row.sampled_at_ns < window.first_ns]
    during = [row for row in rows if window.first_ns <= row.sampled_at_ns <= window.last_ns]
    after = [row for row in rows if row.sampled_at_ns > window.last_ns]
    step = max(1, -(-len(during) // SAMPLES_MAX))
    kept = [row for place, row in enumerate(during) if place % step == 0 or _is_event(row)]
    # An error before or after is told whatever else is: it is what the reader looks for.
    early = [row for row in before[:-1] if _is_event(row)] + before[-1:]
    late = after[:1] + [row for row in after[1:] if _is_event(row)]
    return [(row, phase) for phase, some in (("before", early), ("during", kept), ("after", late)) for row in some]


def _is_event(row: GpuRow | EngineRow) -> bool:
    return isinstance(row, GpuRow) and row.xid is not None


def _sample(row: GpuRow | EngineRow, phase: str, call: _Call, window: Window) -> dict[str, Any]:
    # By the application's own clock: half-way between what both clocks allow.
    began_there_ns = (window.first_ns + window.last_ns - (call.ended_ns - call.began_ns)) // 2
    told = {name: getattr(row, name) for name in (_GPU_TOLD if isinstance(row, GpuRow) else _ENGINE_TOLD)}
    return {
        "phase": phase,
        "after_start_ms": (row.sampled_at_ns - began_there_ns) // _NS_PER_MS,
        "sampled_at_ns": row.sampled_at_ns,
        "received_at_ns": row.received_at_ns,
        **{name: value for name, value in told.items() if value is not None and value not in ([], ())},
    }
