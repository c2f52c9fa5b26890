"""A span that sums up its calls adds nothing to them, in whatever order and however late they come."""

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.call import Call
from llmtrail_ingest.otlp.records import SpanRecord
from llmtrail_ingest.otlp.settle import Settler
from otlp_spans import EPOCH_NS, chat, parts_from, span, stored

SECOND_NS = 1_000_000_000
MODEL = {"gen_ai.request.model": "gpt-4o-mini", "gen_ai.provider.name": "openai"}


def summary(number: int, parent: int | None, tokens: int) -> SpanRecord:
    """Return an agent's span that says what all calls below it used."""
    told = {"gen_ai.operation.name": "invoke_agent", **MODEL, "gen_ai.usage.input_tokens": tokens}
    return span(number, parent, told, start_ms=0, end_ms=9_000)


@st.composite
def agents(draw: st.DrawFn) -> tuple[list[SpanRecord], list[int]]:
    """Draw one to three agents in one another, with calls below the innermost; and what the calls used."""
    depth = draw(st.integers(1, 3))
    tokens = draw(st.lists(st.integers(1, 99), max_size=3))
    holders = [
        summary(number, number - 1 if number > 1 else None, max(sum(tokens), 7)) for number in range(1, depth + 1)
    ]
    calls = [
        span(10 + index, depth, chat(f"r-{index}", **{"gen_ai.usage.input_tokens": used}), start_ms=100 * index)
        for index, used in enumerate(tokens, start=1)
    ]
    return [*holders, *calls], tokens


def settle(records: list[SpanRecord], gaps_s: list[int]) -> list[Call]:
    settler = Settler()
    calls: dict[str, Call] = {}
    now_ns = EPOCH_NS
    for part, gap_s in zip(parts_from(records), gaps_s, strict=True):
        settler.take(part, now_ns)
        now_ns += gap_s * SECOND_NS
        stored(settler.publish(now_ns), calls)
    stored(settler.publish(now_ns + 60 * SECOND_NS), calls)
    return list(calls.values())


@given(drawn=agents(), data=st.data())
def test_calls_below_an_agent_count_once_and_an_agent_without_calls_is_one(
    drawn: tuple[list[SpanRecord], list[int]], data: st.DataObject
) -> None:
    records, tokens = drawn
    ordered = data.draw(st.permutations(records))
    calls = settle(ordered, [0] * len(ordered))
    used = sorted(call.usage.input_tokens or 0 for call in calls if call.usage is not None)
    assert used == (sorted(tokens) or [7])


@given(drawn=agents(), gaps=st.lists(st.sampled_from([0, 5]), min_size=6, max_size=6))
def test_calls_that_come_after_their_agent_was_published_replace_it(
    drawn: tuple[list[SpanRecord], list[int]], gaps: list[int]
) -> None:
    records, tokens = drawn
    calls = settle(records, gaps[: len(records)])
    used = sorted(call.usage.input_tokens or 0 for call in calls if call.usage is not None)
    assert used == (sorted(tokens) or [7])
