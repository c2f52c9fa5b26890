"""Patterns of names: `*` and `?` mean what they mean in a shell, all else is itself, and SQL is asked the same."""

import re

from hypothesis import given
from hypothesis import strategies as st

from llmtrail.core.pattern import is_pattern, matches, regex_of

NAMES = st.text(st.sampled_from("ab*?[].-/@:\n\\é🦊"), max_size=8)


def means(pattern: str, name: str) -> bool:
    """Match by the plain recursion that defines patterns."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(means(pattern[1:], name[cut:]) for cut in range(len(name) + 1))
    return bool(name) and pattern[0] in {"?", name[0]} and means(pattern[1:], name[1:])


@given(NAMES, NAMES)
def test_a_pattern_means_what_its_definition_says(pattern: str, name: str) -> None:
    # A name is itself, even where it holds what a pattern is made of.
    assert matches(pattern, name) == (means(pattern, name) or pattern == name)


@given(NAMES, NAMES)
def test_the_expression_that_sql_is_asked_means_the_same(pattern: str, name: str) -> None:
    assert (re.search(regex_of(pattern), name) is not None) == means(pattern, name) or name.endswith("\n")


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_name_without_wildcards_means_itself_alone(name: str, other: str) -> None:
    if not is_pattern(name):
        assert matches(name, other) == (name == other)
