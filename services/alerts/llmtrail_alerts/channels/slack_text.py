"""Write foreign text so that Slack shows it and does nothing else with it. Pure.

Slack's markup begins with `<`, `&`, a backtick or one of `*_~`; its clients also make links of what looks like an
address and mentions of what follows `@`. Inside a code span none of that happens, so foreign text stands there.
"""

import re
from collections.abc import Callable

from llmtrail_alerts.text import cut, one_line

_JOINER = "\u2060"  # seen by nobody, and neither a mention nor a link goes on across it

# A dot as in example.org, but not as in 41.20.
_NAME_DOT = re.compile(r"(?<=\w)\.(?=[^\W\d_])")


def escaped(text: str) -> str:
    """Return text without Slack's three control characters, as Slack asks for it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: str, chars_max: int) -> str:
    """Return foreign text as a code span of at most `chars_max` characters, escapes counted."""
    inside = one_line(text, chars_max).replace("`", "'")
    return f"`{_fitting(inside, chars_max - 2, escaped)}`" if inside else "-"


def block(text: str, chars_max: int) -> str:
    """Return a command as a code block that nothing in it can end, of at most `chars_max` characters."""
    return f"```{_fitting(text.replace('```', chr(39) * 3), chars_max - 6, escaped)}```"


def words(text: str, chars_max: int) -> str:
    """Return foreign text for where no code span can be (headers, fallback text): no link, no mention, no markup.

    The result has at most `chars_max` characters, escapes counted, and no half of an escape at its end.
    """
    return _fitting(one_line(text, chars_max), chars_max, _defused)


def link(url: str, label: str) -> str:
    """Return a link to an address of ours; both parts must hold no foreign text but what is percent-encoded."""
    return f"<{escaped(url).replace('|', '%7C')}|{label}>"


def _fitting(text: str, chars_max: int, write: Callable[[str], str]) -> str:
    """Return as much of the text as is at most `chars_max` long once it is written."""
    written = write(text)
    while len(written) > chars_max:
        # Escapes make a character at most five; so each turn removes some, and never more than is needed by much.
        text = cut(text, len(text) - max(1, (len(written) - chars_max) // 6))
        written = write(text)
    return written


def _defused(text: str) -> str:
    for sign in "@#*_~`":
        text = text.replace(sign, sign + _JOINER)
    # An address is known by its scheme, or by a dot with a letter behind it.
    text = _NAME_DOT.sub(f".{_JOINER}", text.replace("://", f":{_JOINER}//"))
    return escaped(text)
