"""Laying revisions over one another: in any grouping, and any number of times, the same record comes out."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.call import Call
from llmtrail.core.codec import decode_call
from llmtrail.core.merge import merge_calls

SMALL = st.integers(0, 3)
KEYS = st.dictionaries(st.sampled_from("abc"), SMALL, max_size=3)
EVENTS = st.fixed_dictionaries(
    {"started_at": st.integers(10**18, 10**18 + 3), "request_model": st.sampled_from(["m", "n"])},
    optional={
        "revision": SMALL,
        "request_id": st.none() | st.sampled_from(["r-1", "r-2"]),
        "messages": st.none() | st.lists(SMALL, max_size=2),
        "input_bytes": st.none() | SMALL,
        "attributes": st.none() | KEYS,
        "parameters": KEYS,
        "usage": st.dictionaries(st.sampled_from(["input_tokens", "output_tokens"]), st.none() | SMALL),
        "parser": st.dictionaries(st.sampled_from(["status", "error"]), st.sampled_from(["ok", "failed"])),
        "attempts": st.lists(
            st.fixed_dictionaries({"number": st.integers(1, 3)}, optional={"error": st.just("e"), "latency_ms": SMALL}),
            max_size=3,
        ),
    },
)
CALLS = EVENTS.map(lambda event: decode_call(json.dumps(event).encode()))


def plain(call: Call) -> dict[str, Any]:
    raw = {name: bytes(getattr(call, name)) for name in ("attributes", "parameters", "messages")}
    rest = {name: getattr(call, name) for name in Call.__struct_fields__ if name not in raw}
    return rest | {name: json.loads(text) if text else None for name, text in raw.items()}


@given(first=CALLS, second=CALLS, third=CALLS)
def test_merging_is_associative(first: Call, second: Call, third: Call) -> None:
    left = merge_calls(merge_calls(first, second), third)
    right = merge_calls(first, merge_calls(second, third))
    assert plain(left) == plain(right)


@given(first=CALLS, second=CALLS)
def test_merging_again_changes_nothing(first: Call, second: Call) -> None:
    merged = merge_calls(first, second)
    assert plain(merge_calls(first, first)) == plain(first)
    assert plain(merge_calls(merged, second)) == plain(merged)


@given(first=CALLS, second=CALLS)
def test_what_the_later_one_says_wins_and_nothing_else_is_lost(first: Call, second: Call) -> None:
    old, new, merged = plain(first), plain(second), plain(merge_calls(first, second))
    assert merged["request_id"] == (new["request_id"] or old["request_id"])
    assert merged["messages"] == (old["messages"] if new["messages"] is None else new["messages"])
    for name in ("attributes", "parameters"):
        assert (merged[name] or {}) == {**(old[name] or {}), **(new[name] or {})}
    numbers = {attempt.number for call in (first, second) for attempt in call.attempts or ()}
    assert {attempt.number for attempt in merged["attempts"] or ()} == numbers


@given(first=CALLS, second=CALLS)
def test_a_text_that_comes_later_is_no_longer_of_the_former_size(first: Call, second: Call) -> None:
    merged = merge_calls(first, second)
    if bytes(second.messages) not in (b"", b"null"):
        assert merged.input_bytes == second.input_bytes
    elif second.input_bytes is None:
        assert merged.input_bytes == first.input_bytes
