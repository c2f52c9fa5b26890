"""A mergeable histogram of latencies: counts by bucket, exact to merge and to take back. Pure.

A bucket is the upper 18 bits of the number as an IEEE 754 double: its exponent and six bits of its mantissa. So the
buckets are the same in every language, each is 1/64 of its lower bound wide, and its middle is within 1/128 (0.79 %)
of every number in it. This is HdrHistogram's log-linear layout (Gil Tene) with the float's own bits as the index; a
quantile is the middle of the bucket that holds the value of that rank, as in DDSketch (Masson, Rim, Lee; VLDB 2019).
"""

import struct
from collections.abc import Iterable, Mapping
from typing import Annotated

import msgspec

# How far an estimate may be from a value of its rank, as a fraction of it.
RELATIVE_ERROR = 1 / 128
# Bits of the double that do not choose the bucket.
DROPPED_BITS = 46
_DOUBLE = struct.Struct(">d")
_BITS = struct.Struct(">q")

# The last one whose middle is a number: beyond the next one lies infinity.
BUCKET_MAX = (0x7FF << 52 >> DROPPED_BITS) - 2
Bucket = Annotated[int, msgspec.Meta(ge=0, le=BUCKET_MAX)]
# Bucket -> how many values; a count may be negative while what it takes back is still on its way.
Histogram = dict[Bucket, int]


def bucket_of(value: float) -> int:
    """Return the bucket of a finite number >= 0; zero has bucket 0."""
    if not 0 <= value < float("inf"):
        raise ValueError(f"{value} has no bucket: a latency is finite and not negative.")
    # -0.0 has the sign bit set; adding zero takes it away.
    bits: int = _BITS.unpack(_DOUBLE.pack(value + 0.0))[0]
    return bits >> DROPPED_BITS


def middle_of(bucket: int) -> float:
    """Return the number that stands for a bucket: the middle of it, 0 for bucket 0."""
    if bucket == 0:
        return 0.0
    low: float = _DOUBLE.unpack(_BITS.pack(bucket << DROPPED_BITS))[0]
    high: float = _DOUBLE.unpack(_BITS.pack((bucket + 1) << DROPPED_BITS))[0]
    return (low + high) / 2


def add_counts(into: Histogram, other: Mapping[int, int]) -> None:
    """Add the counts of `other`; a bucket whose count becomes 0 is left out."""
    for bucket, count in other.items():
        total = into.get(bucket, 0) + count
        if total:
            into[bucket] = total
        else:
            into.pop(bucket, None)


def quantiles(counts: Mapping[int, int], ranks: Iterable[float]) -> list[float | None]:
    """Return for each rank in [0, 1] the value below or at which that share of the values lies; None of nothing.

    Each is within `RELATIVE_ERROR` of the value with the nearest rank, ceil(rank * n).
    """
    present = sorted((bucket, count) for bucket, count in counts.items() if count > 0)
    total = sum(count for _, count in present)
    return [_quantile(present, total, rank) for rank in ranks]


def _quantile(present: list[tuple[int, int]], total: int, rank: float) -> float | None:
    if not total:
        return None
    wanted = max(1, -int(-rank * total // 1))
    passed = 0
    for bucket, count in present:
        passed += count
        if passed >= wanted:
            return middle_of(bucket)
    return middle_of(present[-1][0])
