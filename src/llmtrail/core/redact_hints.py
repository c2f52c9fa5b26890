"""Say quickly whether bytes may hold anything to hide, so that clean text costs little. May say yes in vain, never no.

Searches for literals run at memory speed, so most questions are asked of the text without its small letters and
blanks: some tenth of it. A room that has a faster engine passes its own probe to `redact.apply_policy`.
"""

import re
from typing import Final

_SMALL: Final = b"abcdefghijklmnopqrstuvwxyz "
# What may stand between the digits of one number; without it such a number is a run.
_BETWEEN_DIGITS: Final = b" -.()/\\\t"
_SHAPES: Final = bytes(ord("0") if 48 <= code <= 57 else ord("A") if 65 <= code <= 90 else code for code in range(256))
_ALIKE: Final = bytes(ord("A") if 48 <= code <= 57 or 65 <= code <= 90 else code for code in range(256))

# In the text as it is. Names are written small, capitalized or in capitals.
_WORDS: Final = (
    b"sk-",
    b"assw",
    b"assp",
    b"ecret",
    b"uthorization",
    b"earer",
    b"eyJ",
    b"xox",
    b"xapp",
    b"glpat",
    b"pypi-",
)
_WEAK_WORDS: Final = (b"key", b"Key", b"oken", b"wd")
# In the text without small letters.
_CAPITALS: Final = (*(b"PASS", b"SECRET", b"AUTHORIZATION", b"BEARER", b"AKIA", b"ASIA", b"AROA", b"AIDA", b"-----"),)
_WEAK_CAPITALS: Final = (b"KEY", b"TOKEN", b"PWD")
# A prefix that ends in an underscore or point, and then characters of a key, small letters left out.
_PREFIXED: Final = (b"_AAAA", b"_0000", b".AAAAA")
_PREFIXES: Final = re.compile(
    rb"(?:gh[pousr]|github_pat|hf|gsk|npm|[srp]k_live|[srp]k_test|whsec)_[A-Za-z0-9]{10}|SG\.[A-Za-z0-9_-]{16}"
)
_NAME: Final = re.compile(rb"(?i)(?:[a-z][_-]?key|token|pwd)[\\\"']*[ \t\r\n]*[=:]")
_TOKENS_COUNT: Final = re.compile(rb"(?i)(?:access|auth|refresh|bearer|session|bot)[_-]?token|key|pwd")
# The shortest number that is hidden: nine digits of a telephone, an account or a social security number.
_DIGITS_MIN: Final = b"0" * 9
_NUMBER: Final = re.compile(
    rb"[0-9]{13}|[A-Z]{2}[0-9]{2}[A-Z0-9 ]{11}|\+[1-9]|[0-9]{4}[ -][0-9]{4,6}[ -][0-9]{4}|[0-9]{3}-[0-9]{2}-[0-9]{4}"
    rb"|[0-9]{3}(?:[.-]|\) ?)[0-9]{3}[ .-][0-9]{4}"
)


def suspicious(body: bytes) -> bool:
    """Say whether `body`, JSON of any shape, may hold something that the `redacted` policy would replace."""
    if b"@" in body or b"\\u00" in body:
        return True
    if any(word in body for word in _WORDS):
        return True
    large = body.translate(None, _SMALL)
    if any(literal in large for literal in _CAPITALS):
        return True
    if b"AI" in large and b"AIza" in body:
        return True
    return _may_name_secret(body, large) or _may_hold_prefixed(body, large) or _may_hold_number(body, large)


def _may_name_secret(body: bytes, large: bytes) -> bool:
    if any(word in body for word in _WEAK_WORDS) or any(literal in large for literal in _WEAK_CAPITALS):
        return any(_TOKENS_COUNT.search(body, max(0, m.start() - 8), m.end()) for m in _NAME.finditer(body))
    return False


def _may_hold_prefixed(body: bytes, large: bytes) -> bool:
    if b"_" not in large and b"." not in large:
        return False
    return _PREFIXES.search(body) is not None if _has_any(large.translate(_ALIKE), _PREFIXED) else False


def _may_hold_number(body: bytes, large: bytes) -> bool:
    runs = large.translate(_SHAPES, _BETWEEN_DIGITS)
    return _DIGITS_MIN in runs and _NUMBER.search(body) is not None


def _has_any(body: bytes, literals: tuple[bytes, ...]) -> bool:
    return any(literal in body for literal in literals)
