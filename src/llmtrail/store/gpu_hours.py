"""Read what GPUs did in an hour and which calls began in it: what own GPUs' costs are settled from. Decides nothing."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from llmtrail.core.gpu_map import Place
from llmtrail.store.handle import Handle
from llmtrail.store.records import StoredCall, read_by_id

# How long one row of `gpu_5m` is.
SLOT_S: Final = 300
HOUR_S: Final = 3_600
# Calls of one read: their records are in memory together.
PAGE_CALLS: Final = 5_000


@dataclass(frozen=True, slots=True)
class GpuTime:
    """Five minutes of one GPU or MIG instance."""

    start_s: int
    place: Place
    mig_instance: str
    gpu_name: str
    covered_s: float
    busy_s: float | None  # None: nobody told


def sampled_hours(handle: Handle, from_s: int, until_s: int) -> list[int]:
    """Return the hours (their start in seconds) of [from_s, until_s) in which any GPU was sampled, in order."""
    rows = handle.query(
        "SELECT DISTINCT intDiv(toUnixTimestamp(start), {hour:UInt32}) * {hour:UInt32} AS began "
        "FROM llmtrail.gpu_5m_data WHERE day >= toDate({from:DateTime('UTC')}) "
        "AND start >= {from:DateTime('UTC')} AND start < {until:DateTime('UTC')} ORDER BY began",
        {"hour": HOUR_S, "from": from_s, "until": until_s},
    )
    return [int(row[0]) for row in rows]


def gpu_times(handle: Handle, hour_s: int) -> list[GpuTime]:
    """Return the five minutes of every GPU of an hour."""
    rows = handle.query(
        "SELECT toUnixTimestamp(start), host, namespace, pod, gpu_uuid, gpu_index, mig_instance, gpu_name, covered_s, "
        "busy_s FROM llmtrail.gpu_5m WHERE day = toDate({from:DateTime('UTC')}) AND start >= {from:DateTime('UTC')} "
        "AND start < {until:DateTime('UTC')} ORDER BY start, host, gpu_uuid, mig_instance",
        {"from": hour_s, "until": hour_s + HOUR_S},
    )
    return [GpuTime(int(row[0]), Place(*row[1:6]), *row[6:]) for row in rows]


def calls_of_hour(handle: Handle, hour_s: int, models: Collection[str], after: str) -> list[StoredCall]:
    """Return a page of the calls that began in an hour and ask for one of these models ("" among them: any).

    In the order of their ids, beginning after one ("0": with the first); none is left where the page is empty.
    """
    told: dict[str, object] = {"from": hour_s, "until": hour_s + HOUR_S, "after": after, "most": PAGE_CALLS}
    if "" not in models:
        told["models"] = sorted(models)
    # As `asked_of` has it: a model that is asked for without a name is none.
    model = "coalesce(nullIf(request_model, ''), response_model, '')"
    wanted = "1" if "" in models else f"{model} IN {{models:Array(String)}}"
    # A call is stored on the day on which it arrived, by its sender's clock at most a day before it began.
    rows = handle.query(
        f"SELECT toString(call_id), groupUniqArray(toString(ingest_day)) FROM llmtrail.calls_data WHERE {wanted} "  # noqa: S608 - ours
        "AND ingest_day >= toDate({from:DateTime('UTC')}) - 1 AND started_at >= {from:DateTime('UTC')} "
        "AND started_at < {until:DateTime('UTC')} AND toUInt128(call_id) > toUInt128({after:String}) "
        "GROUP BY call_id ORDER BY toUInt128(call_id) LIMIT {most:UInt32}",
        told,
    )
    if not rows:
        return []
    return read_by_id(handle, [str(row[0]) for row in rows], sorted({str(day) for row in rows for day in row[1]})).calls
