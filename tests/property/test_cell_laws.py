"""Cells add up in any order and grouping, can be taken back, and come back from JSON as they were."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.cell import SUMS, Cell
from llmtrail.core.failure import FailureMode
from llmtrail.core.partial import Evicted, Partial, Source, decode_partials, encode_partials
from llmtrail.core.scope import SHARDS, Scope, ScopeKind, parse_scope, shard_of
from llmtrail.core.sketch import BUCKET_MAX
from llmtrail.core.slot import SlotKey, SlotState, Tier, decode_slot, encode_slot

# Sums of a million calls may pass 64 bits; Python's integers and their JSON do not mind.
COUNTS = st.integers(-(2**70), 2**70)
NOT_ZERO = COUNTS.filter(bool)
HISTOGRAMS = st.dictionaries(st.integers(0, BUCKET_MAX), NOT_ZERO, max_size=4)
CELLS = st.builds(
    Cell,
    **dict.fromkeys(SUMS, COUNTS),
    failures=st.dictionaries(st.sampled_from([*FailureMode]), NOT_ZERO, max_size=3),
    latency=HISTOGRAMS,
    time_to_first_token=HISTOGRAMS,
)
# Every text but half a surrogate pair, which is no Unicode and gets past no door.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCOPES = st.builds(Scope, TEXTS, st.sampled_from(ScopeKind), st.lists(TEXTS, max_size=2).map(tuple))
SLOTS = st.dictionaries(SCOPES.map(Scope.text), CELLS, max_size=3)


def total(*cells: Cell) -> Cell:
    into = Cell()
    for cell in cells:
        into.add(cell)
    return into


@given(one=CELLS, two=CELLS, three=CELLS)
def test_cells_add_up_in_any_order_and_grouping(one: Cell, two: Cell, three: Cell) -> None:
    assert total(one, two, three) == total(three, one, two) == total(one, total(two, three))


@given(cell=CELLS, other=CELLS)
def test_a_cell_can_be_taken_back(cell: Cell, other: Cell) -> None:
    assert total(other, cell, cell.negated()) == other
    assert total(cell, cell.negated()).is_zero


@given(cell=CELLS, other=CELLS)
def test_a_copy_shares_nothing(cell: Cell, other: Cell) -> None:
    before = msgspec.json.encode(cell)
    copy = cell.copy()
    assert copy == cell
    copy.add(other)
    assert msgspec.json.encode(cell) == before


@given(scope=SCOPES)
def test_a_scope_comes_back_from_its_text(scope: Scope) -> None:
    assert parse_scope(scope.text()) == scope
    assert 0 <= shard_of(scope.text()) < SHARDS


@given(one=SCOPES, other=SCOPES)
def test_different_scopes_have_different_texts(one: Scope, other: Scope) -> None:
    assert (one.text() == other.text()) == (one == other)


EVICTED = st.builds(Evicted, COUNTS, COUNTS, COUNTS)


@given(
    slots=st.dictionaries(st.integers(0, 400_000_000).map(lambda tens: tens * 10), SLOTS, max_size=2),
    source=st.none() | st.builds(Source, TEXTS, st.integers(0, 99), st.integers(0, 2**63), st.integers(0, 2**63)),
    evicted=st.dictionaries(st.sampled_from([*ScopeKind]), EVICTED, max_size=2),
    skewed=st.integers(0, 9),
)
def test_a_partial_comes_back_from_the_log(
    slots: dict[int, dict[str, Cell]], source: Source | None, evicted: dict[str, Evicted], skewed: int
) -> None:
    told = Partial(shard=3, watermark_s=7, source=source, slots=slots, hitters=slots, evicted=evicted, skewed=skewed)
    assert decode_partials(encode_partials([told])) == [told]


@given(cells=SLOTS, fence=st.dictionaries(TEXTS, st.integers(0, 2**63), max_size=3))
def test_a_slot_comes_back_from_its_table(cells: dict[str, Cell], fence: dict[str, int]) -> None:
    slot = SlotState(Tier.MINUTE, 60, 120, 90, applied=2, fence=fence, cells=cells, hitters=cells)
    assert decode_slot(encode_slot(slot)) == slot


@given(
    key=st.builds(SlotKey, st.integers(0, SHARDS - 1), st.sampled_from([Tier.MINUTE, Tier.QUARTER]), st.integers(0))
    | st.builds(
        SlotKey,
        st.integers(0, SHARDS - 1),
        st.just(Tier.MONTH),
        st.integers(0),
        st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"]),
    )
)
def test_a_slot_key_comes_back_from_its_text(key: SlotKey) -> None:
    assert SlotKey.parse(key.text()) == key
