"""What is called surely new was never written before, however little is remembered."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.ids import uuid7
from llmtrail_ingest.writer.seen import AHEAD_IDS_MAX, AHEAD_MS_MAX, SeenIds, made_at_ms

STARTED_MS = 1_700_000_000_000


def key(made_ms: int, salt: int) -> int:
    return uuid.UUID(uuid7(made_ms * 1_000_000, salt.to_bytes(10, "big"))).int


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=-100_000, max_value=100_000),  # made, relative to start
            st.integers(min_value=0, max_value=100_000),  # arrived, relative to start
            st.integers(min_value=0, max_value=3),
        ),
        max_size=200,
    ),
    st.integers(min_value=1, max_value=5),
)
def test_a_call_written_once_is_never_surely_new_again(calls: list[tuple[int, int, int]], room: int) -> None:
    seen = SeenIds(STARTED_MS, generation_ids_max=room)
    written: set[int] = set()
    for made, arrived, salt in calls:
        call_key, arrived_ms = key(STARTED_MS + made, salt), STARTED_MS + arrived
        if seen.surely_new(call_key, arrived_ms):
            assert call_key not in written
        written.add(call_key)
        seen.add(call_key, arrived_ms)


def test_fresh_ids_need_no_look_up() -> None:
    seen = SeenIds(STARTED_MS)
    assert seen.surely_new(key(STARTED_MS + 1, 1), STARTED_MS + 2)


def test_ids_older_than_the_process_are_looked_up() -> None:
    seen = SeenIds(STARTED_MS)
    assert not seen.surely_new(key(STARTED_MS - 1, 1), STARTED_MS + 2)


def test_an_id_from_the_future_tells_nothing_and_moves_no_horizon() -> None:
    seen = SeenIds(STARTED_MS, generation_ids_max=1)
    ahead = key(STARTED_MS + 10 * AHEAD_MS_MAX, 1)
    assert made_at_ms(ahead, STARTED_MS) is None
    seen.add(ahead, STARTED_MS)
    assert seen.horizon_ms == STARTED_MS
    assert not seen.surely_new(ahead, STARTED_MS)


def test_other_uuids_are_always_looked_up() -> None:
    seen = SeenIds(STARTED_MS)
    assert not seen.surely_new(uuid.UUID("c0ffee00-0000-4000-8000-000000000000").int, STARTED_MS)


def test_memory_is_bounded_and_the_horizon_follows() -> None:
    seen = SeenIds(STARTED_MS, generation_ids_max=10)
    for index in range(1, 100):
        seen.add(key(STARTED_MS + index, index), STARTED_MS + index)
    assert len(seen._current) + len(seen._former) <= 20
    assert seen.horizon_ms > STARTED_MS


@given(
    st.lists(
        st.tuples(
            st.integers(min_value=-100_000, max_value=400_000),  # made, relative to start
            st.integers(min_value=0, max_value=10_000),  # arrived, after the one before
            st.integers(min_value=0, max_value=2),
            st.booleans(),  # whether the process restarts before it
        ),
        max_size=120,
    ),
    st.integers(min_value=1, max_value=5),
)
def test_restarts_and_clocks_ahead_never_make_a_written_call_new(
    calls: list[tuple[int, int, int, bool]], room: int
) -> None:
    now_ms, written, seen = STARTED_MS, set[int](), SeenIds(STARTED_MS - 1, generation_ids_max=room)
    for made, after_ms, salt, restarts in calls:
        now_ms += after_ms
        if restarts:
            trusted_ms = now_ms + AHEAD_MS_MAX
            newest = max((one >> 80 for one in written if one >> 80 <= trusted_ms), default=0)
            ahead = sorted((one for one in written if one >> 80 > trusted_ms), reverse=True)
            seen = SeenIds(newest, generation_ids_max=room, ahead=ahead)
        call_key = key(STARTED_MS + made, salt)
        if seen.surely_new(call_key, now_ms):
            assert call_key not in written
        written.add(call_key)
        seen.add(call_key, now_ms)


def test_a_spool_sent_again_after_a_restart_with_clocks_five_minutes_ahead_is_known() -> None:
    call_key = key(STARTED_MS + 300_000, 1)
    seen = SeenIds(STARTED_MS, ahead=[call_key])
    assert not seen.surely_new(call_key, STARTED_MS + 250_000)
    assert seen.surely_new(key(STARTED_MS + 300_000, 2), STARTED_MS + 250_000)
    seen.add(key(STARTED_MS + 240_000, 3), STARTED_MS + 260_000)
    assert not seen.surely_new(call_key, STARTED_MS + 261_000)


def test_too_many_ids_ahead_are_all_looked_up() -> None:
    ahead = (key(STARTED_MS + 300_000 - made, made) for made in range(AHEAD_IDS_MAX + 2))
    seen = SeenIds(STARTED_MS, ahead=ahead)
    assert seen.horizon_ms == STARTED_MS + 300_000 - AHEAD_IDS_MAX
    assert len(seen._ahead) == AHEAD_IDS_MAX
