"""Samples of GPUs and model servers as rows: written, rolled up, and read around a time. Knows no call."""

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pyarrow as pa

from llmtrail.core import json_decode
from llmtrail.store import arrow
from llmtrail.store.handle import Handle

ROLL_S: Final = 300
_NS: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
# A node has some tens of GPUs and MIG instances, and a call some minutes: more rows are a query, not a page.
AROUND_ROWS_MAX: Final = 20_000

_TEXT = pa.string()
_COUNT = pa.uint64()
_NUMBER = pa.float32()
_TIME = pa.timestamp("ms", "UTC")
_COUNT_MAX = 2**64 - 1
_LINE = json_decode.Decoder(list[Any])
# Threads of their own, that wait for nobody: a look-up may itself run in a thread that others wait for.
_SERVERS = ThreadPoolExecutor(2, thread_name_prefix="llmtrail-servers")


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow:
    """A row of `gpu_samples`; the columns' comments tell what each is. None is unknown."""

    sampled_at_ns: int
    received_at_ns: int
    host: str
    gpu_uuid: str
    mig_instance: str = ""
    gpu_index: int | None = None
    gpu_name: str = ""
    mig_profile: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    source: str = "dcgm"
    utilization: float | None = None
    engine_active: float | None = None
    tensor_active: float | None = None
    dram_active: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    temperature_c: float | None = None
    memory_temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    throttle_reasons: Sequence[str] = ()
    xid: int | None = None
    last_xid: int | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    remapped_rows_corrected: int | None = None
    remapped_rows_uncorrected: int | None = None
    row_remap_failed: bool | None = None
    pcie_replays: int | None = None
    nvlink_bytes_s: float | None = None
    pcie_sent_bytes_s: float | None = None
    pcie_received_bytes_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """A row of `engine_samples`; the columns' comments tell what each is. None is unknown."""

    sampled_at_ns: int
    received_at_ns: int
    host: str
    address: str
    engine: str
    model: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    running: int | None = None
    waiting: int | None = None
    kv_cache_used: float | None = None
    preemptions: int | None = None
    prefix_cache_queries: int | None = None
    prefix_cache_hits: int | None = None
    prompt_tokens: int | None = None
    generated_tokens: int | None = None
    tokens_s: float | None = None
    time_to_first_token_ms: float | None = None
    time_per_token_ms: float | None = None
    queue_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What was sampled on some nodes in a stretch of time, in order of time."""

    gpus: tuple[GpuRow, ...] = ()
    engines: tuple[EngineRow, ...] = ()


_TIMES = ("sampled_at_ns", "received_at_ns")
_GPU_KINDS: dict[str, pa.DataType] = {
    "gpu_index": pa.uint16(),
    "energy_j": pa.float64(),
    "throttle_reasons": pa.list_(_TEXT),
    "xid": pa.uint32(),
    "last_xid": pa.uint32(),
    "row_remap_failed": pa.bool_(),
}
_KIND_OF: dict[object, pa.DataType] = {str: _TEXT, int | None: _COUNT, float | None: _NUMBER}


def _kinds(row: type[GpuRow | EngineRow], special: dict[str, pa.DataType]) -> dict[str, pa.DataType]:
    """Return the Arrow type of each column that a row has beside its times."""
    return {
        part.name: special[part.name] if part.name in special else _KIND_OF[part.type]
        for part in fields(row)
        if part.name not in _TIMES
    }


_GPU_COLUMNS = _kinds(GpuRow, _GPU_KINDS)
_ENGINE_COLUMNS = _kinds(EngineRow, {})


def insert_gpu_samples(handle: Handle, rows: Sequence[GpuRow], token: str) -> None:
    """Insert samples of GPUs; the same ones again, with the same token or not, are stored once."""
    insert_sampled(handle, "llmtrail.gpu_samples_data", rows, _GPU_COLUMNS, token)


def insert_engine_samples(handle: Handle, rows: Sequence[EngineRow], token: str) -> None:
    """Insert samples of model servers; the same ones again, with the same token or not, are stored once."""
    insert_sampled(handle, "llmtrail.engine_samples_data", rows, _ENGINE_COLUMNS, token)


class Sampled(Protocol):
    """A row with the times of a sample; its other fields bear the names of their columns."""

    @property
    def sampled_at_ns(self) -> int:
        """Return when it was read, by the node's clock."""

    @property
    def received_at_ns(self) -> int:
        """Return when the log took it, by the log's clock."""


def insert_sampled(
    handle: Handle, table: str, rows: Sequence[Sampled], columns: Mapping[str, pa.DataType], token: str
) -> None:
    """Insert rows with `columns` and their times, a block of one day each: stored whole or not at all."""
    by_day: dict[int, list[Sampled]] = {}
    for row in rows:
        by_day.setdefault(row.sampled_at_ns // arrow.DAY_NS, []).append(row)
    for day, same_day in by_day.items():
        block = {
            "sampled_day": pa.array([day] * len(same_day), pa.int32()).cast(pa.date32()),
            "sampled_at": _times([row.sampled_at_ns for row in same_day]),
            "received_at": _times([row.received_at_ns for row in same_day]),
            **{name: _column([getattr(row, name) for row in same_day], kind) for name, kind in columns.items()},
        }
        handle.insert_arrow(table, pa.table(block), f"{token}:{day}")


def _times(instants_ns: Sequence[int]) -> arrow.Column:
    return pa.array([ns // _NS_PER_MS for ns in instants_ns], pa.int64()).cast(_TIME)


def _column(values: Sequence[Any], kind: pa.DataType) -> arrow.Column:
    if kind == _COUNT:
        values = [None if value is None else max(0, min(int(value), _COUNT_MAX)) for value in values]
    return pa.array(values, kind)


def gpu_around(handle: Handle, hosts: Collection[str], from_ns: int, to_ns: int) -> Around:
    """Return what was sampled on `hosts` from `from_ns` to `to_ns`, by the nodes' clocks, both included."""
    if not hosts or to_ns < from_ns:
        return Around()
    where = _where(hosts, from_ns // _NS_PER_MS, to_ns // _NS_PER_MS)
    servers = _SERVERS.submit(lambda: _read(handle, "engine_samples_data", where, _ENGINE_COLUMNS))
    gpus = [GpuRow(**row) for row in _read(handle, "gpu_samples_data", where, _GPU_COLUMNS)]
    engines = [EngineRow(**row) for row in servers.result()]
    # A row that was inserted again is one row: reading it so costs less than asking the engine to merge.
    kept = {(row.host, row.gpu_uuid, row.mig_instance, row.sampled_at_ns): row for row in gpus}
    asked = {(row.host, row.address, row.model, row.sampled_at_ns): row for row in engines}
    return Around(tuple(sorted(kept.values(), key=_when)), tuple(sorted(asked.values(), key=_when)))


def _when(row: GpuRow | EngineRow) -> int:
    return row.sampled_at_ns


def texts(values: Collection[str]) -> str:
    """Return texts for a statement, as digits that are safe in it: to bind them costs a millisecond."""
    return ", ".join(f"unhex('{value.encode('utf-8', 'surrogatepass').hex()}')" for value in sorted(values))


def _where(hosts: Collection[str], from_ms: int, to_ms: int) -> str:
    first, last = (f"fromUnixTimestamp64Milli({at_ms}, 'UTC')" for at_ms in (from_ms, to_ms))
    return (
        f"sampled_day >= toDate({first}) AND sampled_day <= toDate({last}) AND host IN ({texts(hosts)}) "
        f"AND sampled_at >= {first} AND sampled_at <= {last}"
    )


def _read(handle: Handle, table: str, where: str, columns: Collection[str]) -> list[dict[str, Any]]:
    """Return the rows; columns of a later version are passed over."""
    # Of the milliseconds that this takes, most go into understanding the statement. To name its columns, or to leave
    # it to the engine what is read first (WHERE), makes it half as long again, each.
    lines = handle.query_bytes(
        f"SELECT * FROM llmtrail.{table} PREWHERE {where} LIMIT {AROUND_ROWS_MAX}",  # noqa: S608 - digits only.
        "JSONCompactEachRowWithNames",
    ).splitlines()
    if not lines:
        return []
    at = {name: place for place, name in enumerate(_LINE.decode(lines[0]))}
    sampled, received = at["sampled_at"], at["received_at"]
    wanted = [(name, at[name]) for name in columns]
    rows = []
    for values in map(_LINE.decode, lines[1:]):
        row = {name: values[place] for name, place in wanted}
        row["sampled_at_ns"], row["received_at_ns"] = _ns(values[sampled]), _ns(values[received])
        rows.append(row)
    return rows


def _ns(told: str) -> int:
    """Return a time that the engine wrote, to the millisecond."""
    at = datetime.fromisoformat(told).replace(tzinfo=UTC)
    return int(at.timestamp()) * _NS + at.microsecond * 1_000


_PLACE = "host, gpu_uuid, mig_instance"
# MIG instances have no utilization of their own; what their engine did is the nearest.
_BUSY = "if(mig_instance = '', coalesce(utilization, engine_active), coalesce(engine_active, utilization))"
# As many samples as there are, each for as long as they lie apart; what a single one covers nobody knows.
_COVERED = (
    f"if(count() > 1, least({ROLL_S}, dateDiff('millisecond', min(sampled_at), max(sampled_at)) / 1000 "
    "* count() / (count() - 1)), 0)"
)
_ROLLED = {
    "day": "toDate({start:DateTime('UTC')})",
    "start": "{start:DateTime('UTC')}",
    "host": "host",
    "gpu_uuid": "gpu_uuid",
    "mig_instance": "mig_instance",
    "rolled_at": "fromUnixTimestamp64Nano({now:Int64}, 'UTC')",
    "gpu_index": "any(gpu_index)",
    "gpu_name": "any(gpu_name)",
    "namespace": "argMax(namespace, sampled_at)",
    "pod": "argMax(pod, sampled_at)",
    "samples": "count()",
    "covered_s": _COVERED,
    "utilization": f"avg({_BUSY})",
    "utilization_max": f"max({_BUSY})",
    "busy_s": f"avg({_BUSY}) * {_COVERED}",
    "memory_used_bytes_max": "max(memory_used_bytes)",
    "memory_total_bytes": "max(memory_total_bytes)",
    "temperature_c_max": "max(temperature_c)",
    "power_w": "avg(power_w)",
    "energy_j": f"avg(power_w) * {_COVERED}",
    "sm_clock_mhz": "avg(sm_clock_mhz)",
    "throttled_samples": "countIf(notEmpty(throttle_reasons))",
    "throttle_reasons": "groupUniqArrayArray(throttle_reasons)",
    "xids": "arraySort(groupArray(xid))",
}
# Samples are looked for this far before the last roll-up: writers of other partitions may have been slower.
_LOOK_BACK_S: Final = 900
_LOOK_BACK_DAYS: Final = 2


def roll_up(handle: Handle, start_ns: int, hosts: Collection[str], now_ns: int) -> None:
    """Make five minutes of `gpu_5m` anew from all samples of these nodes; the row made last is the one that counts."""
    handle.command(
        f"INSERT INTO llmtrail.gpu_5m_data ({', '.join(_ROLLED)}) SELECT {', '.join(_ROLLED.values())} "  # noqa: S608
        "FROM llmtrail.gpu_samples_data FINAL WHERE sampled_day = toDate({start:DateTime('UTC')}) "
        "AND host IN {hosts:Array(String)} AND sampled_at >= {start:DateTime('UTC')} "
        f"AND sampled_at < {{start:DateTime('UTC')}} + INTERVAL {ROLL_S} SECOND GROUP BY {_PLACE}",
        {"start": start_ns // _NS, "hosts": sorted(hosts), "now": now_ns},
    )


def not_rolled(handle: Handle, now_ns: int) -> dict[int, set[str]]:
    """Return the five minutes (their start in nanoseconds) and nodes whose samples may be newer than their roll-up."""
    rows = handle.query(
        f"SELECT intDiv(toUnixTimestamp(sampled_at), {ROLL_S}) * {ROLL_S} AS start, groupUniqArray(host) "  # noqa: S608
        "FROM llmtrail.gpu_samples_data WHERE sampled_day >= toDate({day:UInt32}) AND received_at >= "
        f"(SELECT max(rolled_at) - INTERVAL {_LOOK_BACK_S} SECOND FROM llmtrail.gpu_5m_data "
        "WHERE day >= toDate({day:UInt32})) GROUP BY start",
        {"day": max(0, now_ns // arrow.DAY_NS - _LOOK_BACK_DAYS)},
    )
    return {int(start) * _NS: set(hosts) for start, hosts in rows}
