"""Names with `*` and `?`: what rules, silences and owners mean by them, here and in SQL. Pure; knows no rule.

`*` is any text, none included; `?` is any one character; everything else is itself, brackets too.
"""

import re
from functools import lru_cache
from typing import Final

EVERY: Final = "*"
_WILD: Final = re.compile(r"[*?]")
# Patterns of rules and silences at once; beyond that the oldest are compiled again.
_COMPILED_MAX: Final = 4_096


def is_pattern(name: str) -> bool:
    """Whether a name stands for more than itself."""
    return _WILD.search(name) is not None


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern, or a plain name, means this name; upper and lower case differ."""
    if pattern in {EVERY, name}:
        return True
    return is_pattern(pattern) and _compiled(pattern).fullmatch(name) is not None


def regex_of(pattern: str) -> str:
    """Return the whole-text regular expression of a pattern, in the syntax that Python and RE2 (ClickHouse) share."""
    return "(?s)^" + "".join(_WORDS.get(part) or _escaped(part) for part in pattern) + "$"


_WORDS: Final = {"*": ".*", "?": "."}


def _escaped(character: str) -> str:
    return "\\" + character if character.isascii() and not character.isalnum() and character != "_" else character


@lru_cache(_COMPILED_MAX)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(regex_of(pattern))
