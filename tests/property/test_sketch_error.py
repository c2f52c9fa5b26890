"""Percentiles stay within the stated error of the value of their rank, however a histogram was put together."""

import math

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.sketch import RELATIVE_ERROR, add_counts, bucket_of, middle_of, quantiles

VALUES = st.one_of(st.floats(1e-300, 1e12), st.floats(0.01, 600_000.0), st.integers(0, 600_000).map(float))
RANKS = (0.5, 0.95, 0.99)


def counted(values: list[float]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for value in values:
        add_counts(counts, {bucket_of(value): 1})
    return counts


@given(value=VALUES)
def test_the_middle_of_a_bucket_is_near_everything_in_it(value: float) -> None:
    assert abs(middle_of(bucket_of(value)) - value) <= RELATIVE_ERROR * value


@given(low=VALUES, high=VALUES)
def test_buckets_are_in_the_order_of_their_values(low: float, high: float) -> None:
    small, large = sorted((low, high))
    assert bucket_of(small) <= bucket_of(large)


@given(values=st.lists(VALUES, min_size=1, max_size=200))
def test_a_percentile_is_near_the_value_of_its_rank(values: list[float]) -> None:
    ordered = sorted(values)
    for rank, told in zip(RANKS, quantiles(counted(values), RANKS), strict=True):
        exact = ordered[max(1, math.ceil(rank * len(ordered))) - 1]
        assert told is not None
        assert abs(told - exact) <= RELATIVE_ERROR * exact


@given(values=st.lists(VALUES, max_size=60), at=st.integers(0, 60), again=st.lists(VALUES, max_size=20))
def test_histograms_merge_to_that_of_all_values_and_take_back_exactly(
    values: list[float], at: int, again: list[float]
) -> None:
    merged = counted(values[at:])
    add_counts(merged, counted(values[:at]))
    add_counts(merged, counted(again))
    add_counts(merged, {bucket: -count for bucket, count in counted(again).items()})
    assert merged == counted(values)
