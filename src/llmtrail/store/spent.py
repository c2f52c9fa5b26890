"""What calls came to since a time, by scope: what budgets are filled from. Knows no rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from llmtrail.core import json_decode
from llmtrail.core.pattern import EVERY, is_pattern, regex_of
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail.store.handle import Handle
from llmtrail.store.proof import COLUMNS

# Scopes of one answer, those that used most: who comes behind ten thousand others is far from any limit.
SCOPES_MAX = 10_000
_SOURCE = "concat(src_topic_id, '/', toString(src_partition))"


@dataclass(frozen=True, slots=True)
class Spent:
    """What one scope used."""

    scope: Scope
    calls: int
    refused: int
    cost_nanousd: int
    unpriced: int
    input_tokens: int
    output_tokens: int
    corrected: int = 0  # calls whose cost is another now than when they were written
    moving: int = 0  # calls that a revision beyond the offsets has replaced: what they came to before is not stored
    # By source of the log, as in `core.partial`: the offset of the last of its calls.
    offsets: Mapping[str, int] = field(default_factory=dict, kw_only=True)


def spent_by_scope(
    handle: Handle,
    kind: ScopeKind,
    values: Sequence[str],
    between_ns: tuple[int, int],
    below: Mapping[str, int] | None = None,
) -> list[Spent]:
    """Return what each scope of a kind used of calls that count in [since_ns, until_ns); raises StoreError.

    `values` are the scope's names or patterns of them. `below` names offsets by source: of a source's topic only calls
    below count. None: all of them.
    """
    columns = COLUMNS[kind]
    since_ns, until_ns = between_ns
    conditions = ["counted_at >= fromUnixTimestamp64Nano({since:Int64})"]
    conditions.append("counted_at < fromUnixTimestamp64Nano({until:Int64})")
    # A call is stored on the day on which it first arrived, which is none before it counts.
    conditions.append("ingest_day >= toDate({day:UInt32})")
    told: dict[str, object] = {"since": since_ns, "until": until_ns, "day": since_ns // 86_400_000_000_000}
    for number, (column, value) in enumerate(zip(columns, values, strict=False)):
        if value == EVERY:
            conditions.append(f"notEmpty(coalesce({column}, ''))" if column == "model" else f"{column} IS NOT NULL")
        elif is_pattern(value):
            conditions.append(f"match(assumeNotNull({column}), {{v{number}:String}}) AND {column} IS NOT NULL")
            told[f"v{number}"] = regex_of(value)
        else:
            conditions.append(f"{column} = {{v{number}:String}}")
            told[f"v{number}"] = value
    is_below, moving = _below(below or {}, told), "0"
    if below:
        moving = f"countIf(NOT ({is_below}) AND revision > 0)"
    names = ", ".join(["tenant", *columns])
    rows = handle.query(
        f"SELECT {names}, countIf({is_below}), countIf({is_below} AND failure_mode = 'budget_refused'), "  # noqa: S608 - ours
        f"sumIf(cost_nanousd, {is_below}), countIf({is_below} AND cost_nanousd IS NULL), "
        f"sumIf(toInt128(coalesce(input_tokens, estimated_input_tokens)), {is_below}), "
        f"sumIf(toInt128(coalesce(output_tokens, estimated_output_tokens)), {is_below}), "
        f"countIf({is_below} AND cost_corrected_at IS NOT NULL), {moving}, "
        f"toJSONString(maxMapIf(map({_SOURCE}, src_offset), {is_below})) "
        f"FROM llmtrail.calls WHERE {' AND '.join(conditions)} GROUP BY {names} "
        f"ORDER BY sum(cost_nanousd) DESC, count() DESC LIMIT {SCOPES_MAX}",
        told,
    )
    found = []
    for tenant, *rest, offsets in rows:
        parts, sums = rest[: len(columns)], (int(value or 0) for value in rest[len(columns) :])
        scope = Scope(str(tenant), kind, tuple(str(part) for part in parts))
        last = json_decode.decode(offsets, type=dict[str, int], strict=False)
        found.append(Spent(scope, *sums, offsets=last))
    return found


def _below(below: Mapping[str, int], told: dict[str, object]) -> str:
    """Return the condition that a call lies below the offsets, or is of a topic that they do not name."""
    if not below:
        return "1"
    by_topic: dict[str, dict[int, int]] = {}
    for source, offset in below.items():
        topic_id, _, partition = source.rpartition("/")
        by_topic.setdefault(topic_id, {})[int(partition)] = offset
    either = []
    for number, (topic_id, offsets) in enumerate(sorted(by_topic.items())):
        told[f"topic{number}"] = topic_id
        partitions, ends = ", ".join(map(str, offsets)), ", ".join(map(str, offsets.values()))
        end = f"transform(src_partition, [{partitions}], [{ends}], 0)"
        either.append(f"(src_topic_id = {{topic{number}:String}} AND src_offset < {end})")
    names = ", ".join(f"{{topic{number}:String}}" for number in range(len(by_topic)))
    return f"({' OR '.join(either)} OR src_topic_id NOT IN ({names}))"


def last_corrected_ns(handle: Handle, since_ns: int) -> int:
    """Return when a stored cost was last corrected, of days since a time; 0: never since then. Raises StoreError."""
    rows = handle.query(
        "SELECT toUnixTimestamp64Nano(max(toDateTime64(corrected_at, 9, 'UTC'))) FROM llmtrail.price_corrections "
        "WHERE corrected_day >= toDate({day:UInt32})",
        {"day": since_ns // 86_400_000_000_000},
    )
    return int(rows[0][0])
