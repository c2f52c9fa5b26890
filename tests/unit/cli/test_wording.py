"""Amounts, times and content are said so that nobody takes unknown for zero."""

import pytest

from llmtrail.cli.wording import content_text, conversation, count, duration, moment, money, tool_call_text


@pytest.mark.parametrize(
    ("nanousd", "shown"),
    [
        (None, "unknown"),
        (0, "$0"),
        (1, "$0.000000001"),
        (9_999, "$0.000009999"),
        (123_456, "$0.000123"),
        (12_345_678_900, "$12.3457"),
        (1_234_000_000_000, "$1,234.0000"),
    ],
)
def test_money_has_the_decimals_that_it_needs(nanousd: int | None, shown: str) -> None:
    assert money(nanousd) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, "unknown"), (0.25, "0.2 ms"), (42.4, "42 ms"), (4_312.3, "4.31 s"), (125_000, "2 min 5 s")],
)
def test_durations_are_said_as_people_say_them(milliseconds: float | None, shown: str) -> None:
    assert duration(milliseconds) == shown


def test_moments_are_in_utc_and_never_fail() -> None:
    assert moment(1_763_700_000_123_456_789) == "2025-11-21 04:40:00.123 UTC"
    assert moment(10**30) == f"{10**30} ns"


def test_counts_agree_in_number() -> None:
    assert [count(1, "call"), count(2_000, "call"), count(None, "call")] == ["1 call", "2,000 calls", "unknown calls"]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (None, []),
        ("hash:abc", [("", "hash:abc")]),
        ([{"role": "user", "content": "hello"}], [("user", "hello")]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            [("user", "a\nb")],
        ),
        ([{"role": "user", "parts": [{"type": "text", "content": "otel"}]}], [("user", "otel")]),
        (
            [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
            [("assistant", "→ f({})")],
        ),
        (["bare", 7], [("", "bare"), ("", "7")]),
        ([{"role": "user"}], [("user", '{"role": "user"}')]),
        ({"odd": 1}, [("", '{"odd": 1}')]),
    ],
)
def test_any_shape_of_messages_becomes_a_conversation(messages: object, expected: list[tuple[str, str]]) -> None:
    assert conversation(messages) == expected


def test_parts_that_are_no_prose_are_named() -> None:
    assert content_text([{"type": "image_url", "image_url": {"url": "u"}}]).startswith("[image_url] ")
    assert content_text({"type": "tool_use", "name": "look", "input": {"a": 1}}) == '→ look({"a": 1})'
    assert content_text(None) == ""
    assert tool_call_text("raw") == "raw"
