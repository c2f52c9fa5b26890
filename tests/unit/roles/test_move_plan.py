"""What a move does in which pieces: chunks within limits, tokens, what arrived, where slots go."""

from dataclasses import replace
from datetime import date
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.slot import SlotKey, Tier
from llmtrail.roles.move_plan import (
    CHUNK_BYTES_MAX,
    CHUNK_ROWS_MAX,
    MOVED_HEADER,
    Mismatch,
    arrived,
    chunks,
    mismatches,
    moved_from,
    slot_partition,
    stats_conflicts,
    token_of,
)
from llmtrail.store.copy import DayCount, Range, Table

CALLS = Table("calls_data", "ingest_day", (("toUInt128(call_id)", "UInt128"),))
IDS = Table("ids_data", "", (("id_hash", "UInt64"),))
DAY = date(2026, 11, 21)
TOPIC = "5f0c7d4e-0000-4000-8000-000000000001"


def a_range(first: int, rows: int, size: int = 0) -> Range:
    return Range(CALLS, DAY, (first,), (first + rows - 1,), rows, size)


sizes = st.lists(
    st.tuples(st.integers(1, CHUNK_ROWS_MAX + 100), st.integers(0, CHUNK_BYTES_MAX + 100)), min_size=1, max_size=40
)


@given(sizes)
def test_chunks_hold_every_segment_in_order_within_the_limits(told: list[tuple[int, int]]) -> None:
    segments, start = [], 0
    for rows, size in told:
        segments.append(a_range(start, rows, size))
        start += rows

    joined = chunks(segments)

    assert sum(chunk.rows for chunk in joined) == sum(rows for rows, _ in told)
    assert sum(chunk.bytes for chunk in joined) == sum(size for _, size in told)
    assert (joined[0].first, joined[-1].last) == (segments[0].first, segments[-1].last)
    begins = {segment.first: segment for segment in segments}
    for one, following in pairwise(joined):
        head = begins[following.first]
        assert one.last < head.first
        assert one.rows + head.rows > CHUNK_ROWS_MAX or one.bytes + head.bytes > CHUNK_BYTES_MAX
    for chunk in joined:
        alone = chunk in segments
        assert alone or (chunk.rows <= CHUNK_ROWS_MAX and chunk.bytes <= CHUNK_BYTES_MAX)


def test_a_token_is_the_same_in_every_repeat_and_another_for_another_chunk_day_table_or_move() -> None:
    chunk = a_range(7, 3)
    others = [
        token_of(a_range(8, 3), "m"),
        token_of(a_range(7, 4), "m"),
        token_of(replace(chunk, day=date(2026, 11, 22)), "m"),
        token_of(replace(chunk, table=IDS), "m"),
        token_of(chunk, "n"),
    ]
    assert token_of(chunk, "m") == token_of(a_range(7, 3), "m")
    assert len({token_of(chunk, "m"), *others}) == len(others) + 1


def test_stores_differ_where_a_day_is_missing_shorter_longer_or_of_other_contents() -> None:
    here = [DayCount("calls_data", DAY, 5, 1), DayCount("bodies_data", DAY, 5, 9), DayCount("ids_data", None, 2, 3)]
    there = [DayCount("calls_data", DAY, 4, 8), DayCount("bodies_data", DAY, 5, 8), DayCount("dead", DAY, 1, 1)]

    found = mismatches(here, there)

    assert sorted(found, key=str) == [
        Mismatch("bodies_data", "2026-11-21", 5, 5),
        Mismatch("calls_data", "2026-11-21", 5, 4),
        Mismatch("dead", "2026-11-21", 0, 1),
        Mismatch("ids_data", "", 2, 0),
    ]
    assert "their contents differ" in str(min(found, key=str))
    assert mismatches(here, list(reversed(here))) == []


def test_what_arrived_is_told_from_what_others_brought() -> None:
    headers = [
        {MOVED_HEADER: moved_from(TOPIC, 3), "source": "http"},
        {MOVED_HEADER: moved_from(TOPIC, 4)},
        {MOVED_HEADER: moved_from(TOPIC, 4)},
        {MOVED_HEADER: moved_from("another", 5)},
        {MOVED_HEADER: f"{TOPIC}/x"},
        {},
    ]
    found = arrived(headers, TOPIC)
    assert (found.offsets, found.strangers, found.twice) == (frozenset({3, 4}), 3, 1)


@given(st.integers(0, 63), st.sampled_from(list(Tier)), st.integers(0, 2**40), st.integers(1, 64))
def test_a_slot_goes_where_its_shard_is(shard: int, tier: Tier, start_s: int, partitions: int) -> None:
    zone = "Europe/Berlin" if tier is Tier.MONTH else ""
    assert slot_partition(SlotKey(shard, tier, start_s, zone).text(), partitions) == shard % partitions


def test_other_values_or_other_slots_are_conflicts_and_missing_ones_are_not() -> None:
    slots = {"00/10s/0": b"a", "00/10s/10": b"b"}
    assert stats_conflicts(slots, {"00/10s/0": b"a"}) == []
    assert stats_conflicts(slots, {"00/10s/0": b"z", "01/10s/0": b"a"}) == ["00/10s/0", "01/10s/0"]
