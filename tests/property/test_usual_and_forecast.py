"""What is usual, and when a limit is reached: constant loads never alarm, runaways do, and forecasts are never past."""

import random
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from llmtrail_alerts.baseline import MINUTES_MIN, usual
from llmtrail_alerts.forecast import forecast_ns

NOW_S = 1_795_000_020
NS = 1_000_000_000
RUNAWAY = 10
ALARM_AT = 3  # times the usual


def past_of(per_s: Callable[[int], int]) -> Callable[[int, int], int]:
    """Return what a load of so much a second came to in a stretch of time."""
    return lambda start_s, end_s: sum(per_s(at) for at in range(start_s, end_s, 10)) * 10


@given(st.integers(1, 10**9), st.sampled_from((60, 300, 3_600)), st.integers(0, 10**6))
def test_a_constant_load_is_once_its_usual(per_s: int, window_s: int, later_s: int) -> None:
    found = usual(past_of(lambda _: per_s), window_s, NOW_S + later_s)
    if window_s < 3_600:
        assert found == per_s * window_s
    else:
        # Its whole hour is what is asked about; yesterday alone says what is usual.
        assert found is not None
        assert found == per_s * window_s


@given(st.integers(0, 10_000), st.sampled_from((60, 300)))
def test_a_load_that_wavers_by_a_third_never_alarms(seed: int, window_s: int) -> None:
    rng = random.Random(seed)
    rates = [rng.randint(67, 133) for _ in range(9_000)]
    past = past_of(lambda at: rates[at // 10 % len(rates)])
    found = usual(past, window_s, NOW_S)
    assert found is not None
    assert past(NOW_S - window_s, NOW_S) < ALARM_AT * found


@given(st.integers(1, 10**6), st.integers(60, 1_200))
def test_a_runaway_is_seen_from_its_first_whole_window_on_and_for_twenty_minutes(per_s: int, since_s: int) -> None:
    began_s = NOW_S - since_s
    past = past_of(lambda at: per_s * (RUNAWAY if at >= began_s - 10 else 1))
    found = usual(past, 60, NOW_S)
    assert found is not None
    assert past(NOW_S - 60, NOW_S) >= ALARM_AT * found


@given(st.integers(0, MINUTES_MIN * 60))
def test_with_little_history_nothing_is_usual(age_s: int) -> None:
    assert usual(past_of(lambda at: 5 if at >= NOW_S - age_s else 0), 60, NOW_S) is None


@given(
    st.integers(0, 10**12),
    st.integers(1, 10**12),
    st.integers(0, 10**12),
    st.integers(1, 3_600),
    st.integers(0, 86_400),
)
def test_a_forecast_lies_between_now_and_the_end_and_reaches_the_limit(
    spent: int, limit: int, lately: int, lately_s: int, left_s: int
) -> None:
    now_ns, end_ns = NOW_S * NS, (NOW_S + left_s) * NS
    found = forecast_ns(spent, limit, lately, lately_s, now_ns, end_ns)
    at_end = spent * lately_s + lately * left_s
    if found is None:
        assert spent >= limit or at_end <= limit * lately_s or lately == 0
    else:
        assert spent < limit
        assert now_ns <= found < end_ns
        # At that moment, to the nanosecond, the limit is reached.
        assert lately * (found + 1 - now_ns) >= (limit - spent) * lately_s * NS


@given(st.integers(1, 10**9))
def test_a_burst_of_a_minute_moves_an_hours_pace_by_its_share_only(per_minute: int) -> None:
    calm, burst = 60 * per_minute, 59 * per_minute + 10 * per_minute
    limit, end_ns = 1_000 * per_minute, 0
    slow = forecast_ns(0, limit, calm, 3_600, 0, end_ns)
    fast = forecast_ns(0, limit, burst, 3_600, 0, end_ns)
    assert slow is not None
    assert fast is not None
    assert slow * 8 // 10 < fast < slow
