"""What one planned range adds to the statistics, packed by shard. Pure: the same range gives the same partials.

Every scope of every call would be seven updates a call; Arrow groups the whole range at once instead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llmtrail.core.cell import Cell
from llmtrail.core.partial import Evicted, Partial, Source
from llmtrail.core.scope import Scope, ScopeKind, shard_of
from llmtrail.store.rows import CallRow
from llmtrail_ingest.statistics.columns import (
    FAILURE,
    FIRST_TOKEN,
    LATENCY,
    SLOT,
    SUMS,
    Contributions,
    place_of,
    table_of,
)
from llmtrail_ingest.writer.step import Batch

# Requests, sessions and prompts of one range that are told of each kind and slot: half by attempts, half by cost.
HITTERS_MAX = 20
_NS_PER_S = 1_000_000_000
# Which columns a scope of each kind is made of, beside the tenant.
_PARTS: dict[ScopeKind, tuple[str, ...]] = {
    ScopeKind.TENANT: (),
    ScopeKind.FEATURE: ("feature",),
    ScopeKind.USER: ("user",),
    ScopeKind.MODEL: ("model",),
    ScopeKind.VERSION: ("prompt_name", "prompt_version"),
    ScopeKind.FEATURE_MODEL: ("feature", "model"),
    ScopeKind.FEATURE_USER: ("feature", "user"),
}
_HITTER_PARTS = {
    ScopeKind.REQUEST: ("request",),
    ScopeKind.SESSION: ("session",),
    ScopeKind.PROMPT: ("prompt",),
}
_KEY = "key"
# The stubs know it for arrays only.
_select: Any = pc.select_k_unstable


@dataclass(slots=True)
class _Packed:
    """The partials under way, by shard."""

    source: Source
    watermark_s: int
    by_shard: dict[int, Partial] = field(default_factory=dict)

    def of(self, scope: str) -> Partial:
        shard = shard_of(scope)
        partial = self.by_shard.get(shard)
        if partial is None:
            partial = Partial(shard=shard, watermark_s=self.watermark_s, source=self.source)
            self.by_shard[shard] = partial
        return partial


def partials_of(batch: Batch, watermark_ns: int, feature_users: frozenset[str] = frozenset()) -> list[Partial]:
    """Return what a range adds, one partial a shard that it touches.

    `watermark_ns` is when the range's last record reached the log. `feature_users` names the features whose users are
    counted one by one as well. A revision brings the new minus the former, both where the call counts. A call that came
    a day too late is `late`, once, whatever revises it.
    """
    source = Source(batch.topic_id, batch.partition, batch.first_offset, batch.next_offset)
    packed = _Packed(source, watermark_ns // _NS_PER_S)
    contributions = _contributions(batch, packed)
    if contributions.stands:
        table = table_of(contributions)
        _add_scopes(table, packed, feature_users)
        _add_hitters(table, packed)
    return [packed.by_shard[shard] for shard in sorted(packed.by_shard)]


def _contributions(batch: Batch, packed: _Packed) -> Contributions:
    found = Contributions()
    formers = batch.formers
    for index, row in enumerate(batch.rows):
        slot_s = place_of(row)
        former = formers.get(index)
        if slot_s is None:
            if former is None:
                tenant = _tenant(row)
                late = packed.of(tenant).late
                late[tenant] = late.get(tenant, 0) + 1
            continue
        found.add(row, slot_s, 1)
        if former is not None:
            found.add(former, slot_s, -1)
        elif row.started_at_ns > row.ingested_at_ns:
            packed.of(_tenant(row)).skewed += 1
    return found


def _tenant(row: CallRow) -> str:
    return Scope(row.tenant, ScopeKind.TENANT, ()).text()


@dataclass(frozen=True, slots=True)
class _Names:
    """How a key of one kind is read back: the distinct slots, tenants and parts behind its digits."""

    kind: ScopeKind
    lists: tuple[list[Any], ...]

    def read(self, key: int) -> tuple[int, str]:
        """Return the slot and the scope of a key."""
        found = []
        for names in reversed(self.lists):
            key, place = divmod(key, len(names))
            found.append(names[place])
        slot_s, tenant, *parts = reversed(found)
        return slot_s, Scope(tenant, self.kind, tuple(parts)).text()


def _keyed(table: pa.Table, kind: ScopeKind, parts: Sequence[str]) -> tuple[pa.Table, _Names]:
    """Return the table with one number a row that stands for its slot, tenant and parts; null where a part is."""
    slots: Any = table.column(SLOT).combine_chunks().dictionary_encode()
    key = slots.indices.cast(pa.int64())
    lists = [slots.dictionary.to_pylist()]
    for name in ("tenant", *parts):
        column: Any = table.column(name).combine_chunks()
        names = column.dictionary.to_pylist() or [""]
        key = pc.add(pc.multiply(key, len(names)), column.indices.cast(pa.int64()))
        lists.append(names)
    return table.append_column(_KEY, key), _Names(kind, tuple(lists))


def _add_scopes(table: pa.Table, packed: _Packed, feature_users: frozenset[str]) -> None:
    for kind, parts in _PARTS.items():
        some = table
        if kind is ScopeKind.FEATURE_USER:
            if not feature_users:
                continue
            wanted = pc.is_in(table.column("feature").cast(pa.string()), value_set=pa.array(sorted(feature_users)))
            some = table.filter(wanted)
        keyed, names = _keyed(some, kind, parts)
        for key, cell in _cells(keyed).items():
            slot_s, scope = names.read(key)
            # What a revision leaves as it was is told too: the shard says by it how far it has counted.
            packed.of(scope).slots.setdefault(slot_s, {})[scope] = cell


def _cells(keyed: pa.Table) -> dict[int, Cell]:
    """Return the cell of each key: its sums, its failures, its histograms."""
    sums = _grouped(keyed, [_KEY], SUMS)
    columns = [_integers(sums, name) for name in SUMS]
    keys: list[Any] = sums.column(_KEY).to_pylist()
    cells = {
        key: Cell(**dict(zip(SUMS, values, strict=True)))
        for key, values in zip(keys, zip(*columns, strict=True), strict=True)
    }
    for name, read in ((FAILURE, _failures), (LATENCY, _latency), (FIRST_TOKEN, _first_token)):
        for key, value, count in _counted(keyed, name):
            if count:
                read(cells[key])[value] = count
    return cells


def _integers(sums: pa.Table, name: str) -> list[int]:
    """Return a column of sums as integers of any size: costs may be decimals, which are wider."""
    values: list[Any] = sums.column(f"{name}_sum").to_pylist()
    return [int(value) for value in values] if name == "cost_nanousd" else values


def _failures(cell: Cell) -> dict[Any, int]:
    return cell.failures


def _latency(cell: Cell) -> dict[Any, int]:
    return cell.latency


def _first_token(cell: Cell) -> dict[Any, int]:
    return cell.time_to_first_token


def _counted(keyed: pa.Table, name: str) -> Iterator[tuple[int, Any, int]]:
    """Return (key, value, signed count) of each value that calls of a key told."""
    told = keyed.select([_KEY, name, "calls"]).filter(pc.is_valid(keyed.column(name)))
    if not told.num_rows:
        return iter(())
    counts = _grouped(told, [_KEY, name], ("calls",))
    told_columns: list[list[Any]] = [counts.column(column).to_pylist() for column in (_KEY, name, "calls_sum")]
    return zip(*told_columns, strict=True)


def _grouped(keyed: pa.Table, by: list[str], sums: Sequence[str]) -> pa.Table:
    # One thread: the process has its share of the cores already.
    there = keyed.filter(pc.is_valid(keyed.column(_KEY)))
    return there.group_by(by, use_threads=False).aggregate([(name, "sum") for name in sums])


def _add_hitters(table: pa.Table, packed: _Packed) -> None:
    """Add the heaviest requests, sessions and prompts, and say what of them was left out."""
    for kind, parts in _HITTER_PARTS.items():
        keyed, names = _keyed(table, kind, parts)
        sums = _grouped(keyed, [_KEY], SUMS)
        chosen = _heaviest(sums)
        for place in chosen:
            slot_s, scope = names.read(sums.column(_KEY)[place].as_py())
            values: dict[str, Any] = {name: int(sums.column(f"{name}_sum")[place].as_py()) for name in SUMS}
            packed.of(scope).hitters.setdefault(slot_s, {})[scope] = Cell(**values)
        if len(chosen) < sums.num_rows:
            # Told once for all shards: in that of the kind's own name.
            packed.of(kind).evicted[kind] = _left_out(sums, set(chosen))


def _heaviest(sums: pa.Table) -> list[int]:
    if sums.num_rows <= HITTERS_MAX:
        return list(range(sums.num_rows))
    chosen: list[int] = []
    # The key decides between equals, so that the same range always chooses the same ones.
    for first, second in (("attempts_sum", "cost_nanousd_sum"), ("cost_nanousd_sum", "attempts_sum")):
        order = [(first, "descending"), (second, "descending"), (_KEY, "ascending")]
        best = _select(sums, k=HITTERS_MAX, sort_keys=order).to_pylist()
        fresh = [place for place in best if place not in chosen]
        chosen += fresh[: HITTERS_MAX // 2]
    return sorted(chosen)


def _left_out(sums: pa.Table, chosen: set[int]) -> Evicted:
    rest = sums.take([place for place in range(sums.num_rows) if place not in chosen])
    attempts, costs = rest.column("attempts_sum"), rest.column("cost_nanousd_sum")
    return Evicted(rest.num_rows, pc.max(attempts).as_py(), int(pc.max(costs).as_py()))
