"""Whatever a sender writes, a terminal shows it and obeys none of it."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmtrail.cli.safe_text import safe, safe_line, safe_pieces

# What terminals act upon, thrown among ordinary text more often than chance would.
HOSTILE = st.lists(
    st.sampled_from(
        [
            *("\x1b[31m", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x9b2J", "\x90q\x9c", "\x1bP", "\x1b", "\x07"),
            *("\r", "\u202e", "\u2066", "\u200b", "\ufeff", "\x00", "\x7f", "plain ", "日本", "\u200d", "\n", "\t"),
            "\ud800",
        ]
    )
).map("".join)


@given(text=HOSTILE | st.text())
@example("\x1b[31mred\x1b[0m")
def test_no_character_that_a_terminal_obeys_is_left(text: str) -> None:
    for character in safe(text):
        category = unicodedata.category(character)
        assert character in "\n\t\u200c\u200d" or category not in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}


@given(text=HOSTILE | st.text())
def test_made_safe_once_is_safe_for_ever(text: str) -> None:
    assert safe(safe(text)) == safe(text)


@given(text=st.text(st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert safe(text) == text


@given(text=HOSTILE | st.text(), width=st.integers(1, 40))
def test_a_line_is_one_line_and_fits(text: str, width: int) -> None:
    line = safe_line(text, width)
    assert len(line) <= width
    assert "\n" not in line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;you are root\x07$ ", "\\x1b]0;you are root\\x07$ "),
        ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "\\x1b]8;;http://evil\\x1b\\click\\x1b]8;;\\x1b\\"),
        ("a\x00b\x7f", "a\\x00b\\x7f"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("one\r\ntwo", "one\ntwo"),
        ("over\rwritten", "over\\x0dwritten"),
        ("👩\u200d💻 日本語", "👩\u200d💻 日本語"),
    ],
)
def test_what_is_hostile_is_spelled_out(text: str, shown: str) -> None:
    assert safe(text) == shown


@given(data=st.binary() | (HOSTILE | st.text()).map(lambda text: text.encode("utf-8", "replace")), cuts=st.data())
def test_bytes_cut_anywhere_are_shown_as_the_whole(data: bytes, cuts: st.DataObject) -> None:
    ends = sorted(cuts.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    pieces = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    assert "".join(safe_pieces(pieces)) == safe(data.decode("utf-8", "backslashreplace"))
