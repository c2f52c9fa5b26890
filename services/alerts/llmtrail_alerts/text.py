"""Make foreign text fit to be shown: one line, bounded, without characters that hide or turn text. Pure."""

import unicodedata

MARK = "…"  # stands where text was cut
# Control, format (bidirectional overrides, zero-width), private and unassigned characters; lone surrogates.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def one_line(text: str, chars_max: int) -> str:
    """Return `text` on one line of at most `chars_max` characters, without characters that nobody sees."""
    # Twice the length is enough to find chars_max seen characters in any honest text, and bounds the work on others.
    seen = "".join(" " if unicodedata.category(char) in _UNSEEN else char for char in text[: 2 * chars_max + len(MARK)])
    return cut(" ".join(seen.split()), chars_max)


def cut(text: str, chars_max: int) -> str:
    """Return `text` of at most `chars_max` characters, with a mark where it was cut."""
    return text if len(text) <= chars_max else text[: max(chars_max - len(MARK), 0)] + MARK


def is_plain(text: str) -> bool:
    """Say whether a person who sees `text` sees all of it."""
    return not any(unicodedata.category(char) in _UNSEEN for char in text)
