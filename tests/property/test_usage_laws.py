"""Laws of `core.usage`: reconciling is done once, changes nothing that adds up, and never loses a token."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from llmtrail.core.call import COUNT_MAX, Usage
from llmtrail.core.usage import adds_up, reconcile, usage_of
from llmtrail.core.usage_conventions import CONVENTIONS

COUNTS = st.none() | st.integers(0, 400)
USAGES = st.builds(Usage, **dict.fromkeys(Usage.__struct_fields__, COUNTS))
# Anything that JSON can hold, under the names that providers use: what a broken or hostile server answers.
MORE_NAMES = ("prompt_tokens_details", "cached_tokens", "promptTokensDetails", "tokenCount", "cost", "type")
NAMES = st.sampled_from(
    sorted({*(step for one in CONVENTIONS for place in one.marks for step in place.split(".")), *MORE_NAMES})
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)


@st.composite
def usages_told_apart(draw: st.DrawFn) -> tuple[Usage, Usage]:
    """Return a usage as it is, and as a source reports it that leaves the cache or the reasoning out of its totals."""
    reads, writes, fresh = draw(st.integers(0, 90)), draw(st.integers(0, 90)), draw(st.integers(0, 90))
    reasoning, spoken = draw(st.integers(0, 90)), draw(st.integers(0, 90))
    whole = Usage(
        input_tokens=fresh + reads + writes,
        output_tokens=spoken + reasoning,
        cache_read_tokens=reads,
        cache_write_tokens=writes,
        reasoning_tokens=reasoning,
        total_tokens=fresh + reads + writes + spoken + reasoning,
    )
    beside_input, beside_output = draw(st.booleans()), draw(st.booleans())
    told = structs.replace(
        whole,
        input_tokens=fresh if beside_input else whole.input_tokens,
        output_tokens=spoken if beside_output else whole.output_tokens,
    )
    return whole, told


@given(USAGES)
def test_reconciling_twice_is_reconciling_once(usage: Usage) -> None:
    assert reconcile(reconcile(usage)) == reconcile(usage)


@given(USAGES)
def test_a_usage_that_adds_up_is_changed_by_no_known_count(usage: Usage) -> None:
    if adds_up(usage):
        after = reconcile(usage)
        assert adds_up(after)
        assert all(
            getattr(after, name) == count
            for name in Usage.__struct_fields__
            if (count := getattr(usage, name)) is not None
        )


@given(USAGES)
def test_what_is_changed_adds_up_to_the_reported_total(usage: Usage) -> None:
    after = reconcile(usage)
    if after != usage:
        assert adds_up(after)
        assert (after.input_tokens or 0) + (after.output_tokens or 0) == usage.total_tokens
        assert (after.input_tokens or 0) >= (usage.input_tokens or 0)
        assert (after.output_tokens or 0) >= (usage.output_tokens or 0)


@given(USAGES)
def test_parts_of_a_usage_that_adds_up_are_never_more_than_their_totals(usage: Usage) -> None:
    after = reconcile(usage)
    if adds_up(after) and after.input_tokens is not None:
        assert (after.cache_read_tokens or 0) + (after.cache_write_tokens or 0) <= after.input_tokens
    if adds_up(after) and after.output_tokens is not None:
        assert (after.reasoning_tokens or 0) <= after.output_tokens


@given(usages_told_apart())
def test_parts_left_out_of_totals_are_added_in_or_the_usage_does_not_add_up(pair: tuple[Usage, Usage]) -> None:
    whole, told = pair
    after = reconcile(told)
    assert after == whole or not adds_up(after)


@given(st.dictionaries(NAMES, JSON, max_size=6), st.none() | st.sampled_from([one.name for one in CONVENTIONS]))
def test_whatever_a_server_answers_gives_counts_within_bounds_or_none(raw: dict[str, object], name: str | None) -> None:
    usage = usage_of(raw, name)
    if usage is not None:
        for field in Usage.__struct_fields__:
            count = getattr(usage, field)
            assert count is None or (isinstance(count, int) and 0 <= count <= COUNT_MAX)
