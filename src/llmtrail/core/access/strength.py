"""Estimate how hard a token is to guess, and say what is wrong with a weak one. Pure; never shows the token.

The estimate is one from above: it finds what is surely weak (short, repeated, counted up, written in words), and takes
what looks random for random. Only a token that `llmtrail tokens new` made is known to be.
"""

import itertools
import math
import re

BITS_MIN = 128
# A repeat of so many characters is no chance: random hexadecimal text of 32 digits has one in 40,000.
_REPEAT_MIN = 6
# Written language holds about 1.5 bits a letter (Shannon 1951), whatever its alphabet would allow.
_BITS_A_LETTER = 1.5
_CURE = "make one with `llmtrail tokens new NAME`, or with `openssl rand -hex 32`"
# A random UUID (version 4) spends six of its bits on its form.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_UUID_BITS = 122
_ALPHABETS = ((re.compile(r"[0-9]+"), 10), (re.compile(r"[0-9a-f]+"), 16), (re.compile(r"[0-9A-F]+"), 16))
# Letters of both cases that are no words are taken for Base64, even where no digit happens to be among them.
_MIXED_CASE = re.compile(r"[a-z].*[A-Z]|[A-Z].*[a-z]")
_BASE64, _BASE36 = 64, 36
_PUNCTUATION = re.compile(r"[^A-Za-z0-9]")


def weakness(token: str) -> str:
    """Return why a token cannot be used and what to do, "" where it can."""
    if not token.strip():
        return f"it is empty; {_CURE}"
    if not token.isascii() or not token.isprintable() or " " in token:
        return f"it holds blanks, control characters or letters beyond ASCII, which no header carries; {_CURE}"
    bits = estimated_bits(token)
    if bits < BITS_MIN:
        return f"it has at most {int(bits)} bits of entropy, and {BITS_MIN} are the least; {_CURE}"
    return ""


def estimated_bits(token: str) -> float:
    """Return the most entropy that a text may hold, in bits."""
    if _UUID.fullmatch(token):
        return _UUID_BITS
    # Separators are where a form puts them; in Base64 they are symbols like others.
    symbols = _PUNCTUATION.sub("", token)
    for pattern, size in _ALPHABETS:
        if pattern.fullmatch(symbols):
            return _new_symbols(symbols) * math.log2(size)
    if _reads_as_words(symbols):
        letters = sum(one.isalpha() for one in symbols)
        return min(letters, _new_symbols(symbols)) * _BITS_A_LETTER + (len(symbols) - letters) * math.log2(10)
    text = token.rstrip("=")
    return _new_symbols(text) * math.log2(_BASE64 if _MIXED_CASE.search(text) else _BASE36)


def _new_symbols(symbols: str) -> int:
    """Return how many characters tell something new: a repeat of what came before, or a count up or down, is one."""
    new = place = 0
    while place < len(symbols):
        place += max(1, _repeated(symbols, place), _counted(symbols, place))
        new += 1
    return new


def _repeated(symbols: str, place: int) -> int:
    """Return the length of the text at `place` that stood before, 0 where it is too short to be a repeat."""
    length = _REPEAT_MIN
    while place + length <= len(symbols) and symbols.find(symbols[place : place + length], 0, place + length - 1) >= 0:
        length += 1
    return length - 1 if length > _REPEAT_MIN else 0


def _counted(symbols: str, place: int) -> int:
    """Return how many characters from `place` go up or down by one, 0 where they are too few."""
    end = place + 1
    if end >= len(symbols):
        return 0
    step = ord(symbols[end]) - ord(symbols[place])
    while end < len(symbols) and abs(step) == 1 and ord(symbols[end]) - ord(symbols[end - 1]) == step:
        end += 1
    return end - place if end - place >= _REPEAT_MIN else 0


def _reads_as_words(symbols: str) -> bool:
    """Whether a text is letters in the case that people write, with no number but before or after them."""
    letters = symbols.strip("0123456789")
    if not letters.isalpha():
        return False
    if len({one.isupper() for one in letters}) == 1:
        return True
    # In random text every fourth pair of letters is two capitals; words have one, at their beginning.
    return not any(one.isupper() and other.isupper() for one, other in itertools.pairwise(letters))
