"""The minutes of the statistics as rows: written, and asked about. Decides nothing about when."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec
import pyarrow as pa

from llmtrail.core.cell import SUMS, Cell
from llmtrail.core.minutes import Stretch
from llmtrail.core.scope import Scope, ScopeKind, parse_scope
from llmtrail.core.sketch import quantiles
from llmtrail.core.window import PERCENTILES, Percentiles
from llmtrail.store.handle import Handle

TABLE = "llmtrail.stats_minute_data"
_DAY_S = 86_400
_TEXT = pa.string()
_COUNT = pa.int64()
# What one call may count very much of: sums of a quarter of an hour may exceed 64 bits.
_WIDE = ("cost_nanousd", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_TYPES = dict.fromkeys(_WIDE, pa.decimal128(38, 0))
_HISTOGRAM = pa.map_(pa.uint32(), _COUNT)
_MAPS = ("failures", "latency", "time_to_first_token")
_SCOPE = "tenant, toString(scope_kind), scope_values"


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """One scope in one stretch. `version` grows with each change of it; without a cell nothing is left of it."""

    stretch: Stretch
    scope: str
    version: int
    cell: Cell | None


def insert_minutes(handle: Handle, rows: Sequence[MinuteRow]) -> None:
    """Insert rows; durable when it returns, and all rows of a day or none. The same rows again change nothing."""
    by_day: dict[int, list[MinuteRow]] = {}
    for row in rows:
        by_day.setdefault(row.stretch.start_s // _DAY_S, []).append(row)
    for same_day in by_day.values():
        # The rows' own versions make the token: rows that say something else have another one.
        told = sorted((row.stretch, row.scope, row.version, row.cell is None) for row in same_day)
        handle.insert_arrow(
            TABLE, _block(same_day), f"minutes:{blake2b(repr(told).encode(), digest_size=16).hexdigest()}"
        )


def stored_versions(handle: Handle, stretches: Collection[Stretch]) -> dict[Stretch, int]:
    """Return the highest version that is stored of each of these stretches; one that has no row is left out."""
    if not stretches:
        return {}
    rows = handle.query(
        f"SELECT toUnixTimestamp(start), seconds, shard, max(applied) FROM {TABLE} "  # noqa: S608 - numbers only
        f"WHERE {_among(stretches)} GROUP BY start, seconds, shard"
    )
    return {Stretch(int(start), int(seconds), int(shard)): int(version) for start, seconds, shard, version in rows}


def stored_scopes(handle: Handle, stretches: Collection[Stretch]) -> dict[Stretch, set[str]]:
    """Return the scopes that have a row in each of these stretches."""
    found: dict[Stretch, set[str]] = {stretch: set() for stretch in stretches}
    if not stretches:
        return found
    rows = handle.query(
        f"SELECT toUnixTimestamp(start), seconds, shard, {_SCOPE} FROM {TABLE} FINAL "  # noqa: S608 - numbers only
        f"WHERE {_among(stretches)}"
    )
    for start, seconds, shard, *scope in rows:
        found[Stretch(int(start), int(seconds), int(shard))].add(_text(*scope))
    return found


def stored_sums(handle: Handle, wholes: Mapping[Stretch, Collection[Stretch]]) -> dict[Stretch, dict[str, Cell]]:
    """Return what the minutes of each quarter come to by scope; `wholes` names the minutes of each."""
    found: dict[Stretch, dict[str, Cell]] = {whole: {} for whole in wholes}
    whole_of = {minute: whole for whole, minutes in wholes.items() for minute in minutes}
    if not whole_of:
        return found
    names = (*SUMS, *_MAPS)
    rows = handle.query(
        f"SELECT toUnixTimestamp(start), seconds, shard, {_SCOPE}, {', '.join(names)} "  # noqa: S608 - numbers and names
        f"FROM {TABLE} FINAL WHERE {_among(whole_of)}"
    )
    for start, seconds, shard, tenant, kind, values, *sums in rows:
        cells = found[whole_of[Stretch(int(start), int(seconds), int(shard))]]
        told = dict(zip(names, sums, strict=True))
        cell = msgspec.convert(told, Cell)
        cells.setdefault(_text(tenant, kind, values), Cell()).add(cell)
    return found


def _text(tenant: str, kind: str, values: Sequence[str]) -> str:
    return Scope(tenant, ScopeKind(kind), tuple(values)).text()


def _among(stretches: Collection[Stretch]) -> str:
    """Return the condition for some stretches; the bounds reach the index."""
    starts = [stretch.start_s for stretch in stretches]
    days = ", ".join(f"toDate({day})" for day in sorted({start // _DAY_S for start in starts}))
    places = ", ".join(f"({stretch.start_s}, {stretch.seconds}, {stretch.shard})" for stretch in sorted(stretches))
    return (
        f"day IN ({days}) AND start >= toDateTime({min(starts)}, 'UTC') AND start <= toDateTime({max(starts)}, 'UTC') "
        f"AND (toUnixTimestamp(start), seconds, shard) IN ({places})"
    )


def _block(rows: Sequence[MinuteRow]) -> pa.Table:
    scopes = [parse_scope(row.scope) for row in rows]
    cells = [row.cell or Cell() for row in rows]
    starts = [row.stretch.start_s for row in rows]
    return pa.table(
        {
            "day": pa.array([start // _DAY_S for start in starts], pa.int32()).cast(pa.date32()),
            "start": pa.array(starts, pa.timestamp("s", "UTC")),
            "seconds": pa.array([row.stretch.seconds for row in rows], pa.uint16()),
            "shard": pa.array([row.stretch.shard for row in rows], pa.uint16()),
            "tenant": pa.array([scope.tenant for scope in scopes], _TEXT),
            "scope_kind": pa.array([str(scope.kind) for scope in scopes], _TEXT),
            "scope_values": pa.array([list(scope.values) for scope in scopes], pa.list_(_TEXT)),
            "applied": pa.array([row.version for row in rows], pa.uint64()),
            "gone": pa.array([int(row.cell is None) for row in rows], pa.uint8()),
            **{name: pa.array([getattr(cell, name) for cell in cells], _TYPES.get(name, _COUNT)) for name in SUMS},
            "failures": pa.array([sorted(cell.failures.items()) for cell in cells], pa.map_(_TEXT, _COUNT)),
            "latency": pa.array([sorted(cell.latency.items()) for cell in cells], _HISTOGRAM),
            "time_to_first_token": pa.array([sorted(cell.time_to_first_token.items()) for cell in cells], _HISTOGRAM),
            **_percentiles("latency_ms", (cell.latency for cell in cells)),
            **_percentiles("time_to_first_token_ms", (cell.time_to_first_token for cell in cells)),
        }
    )


def _percentiles(name: str, histograms: Iterable[Mapping[int, int]]) -> dict[str, "pa.Array[pa.DoubleScalar]"]:
    columns = zip(*(quantiles(histogram, PERCENTILES) for histogram in histograms), strict=True)
    return {
        f"{name}_{rank}": pa.array(column, pa.float64())
        for rank, column in zip(Percentiles.__struct_fields__, columns, strict=True)
    }
