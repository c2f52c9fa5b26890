"""Say quickly whether bytes may hold anything to hide, so that clean text costs little. May say yes in vain, never no.

Searches for literals run at memory speed, so most questions are asked of the text without its small letters and
blanks: some tenth of it. A room that has a faster engine passes its own probe to `redact.apply_policy`.
"""

import re
from typing import Final

from llmtrail.core.redact_keys import FORMS

_SMALL: Final = b"abcdefghijklmnopqrstuvwxyz "
# What may stand between the digits of one number; without it such a number is a run.
_BETWEEN_DIGITS: Final = b" -.()/\\\t"
_SHAPES: Final = bytes(ord("0") if 48 <= code <= 57 else ord("A") if 65 <= code <= 90 else code for code in range(256))

# Names of secrets, in the text made small; the weak ones are common words and are looked at closely.
_NAMES: Final = (b"passw", b"passp", b"secret", b"authorization", b"bearer")
_WEAK_NAMES: Final = (b"key", b"token", b"pwd")
_NAME: Final = re.compile(
    rb"(?:[a-z][_-]?key|pwd|(?:access|auth|refresh|bearer|session|bot)[_-]?token)[\\\"'tnr\s]*[=:]"
)
# Beginnings of keys: in the text as it is, in the text without small letters, and those with an underscore.
_STARTS: Final = [start.encode() for form in FORMS for start in form.starts] + [b"eyJ", b"-----"]
_UNDERSCORED: Final = tuple(start for start in _STARTS if b"_" in start)
_CAPITALS: Final = tuple(start for start in _STARTS if not _UNDERSCORED.count(start) and start.upper() == start)
_PREFIXES: Final = tuple(start for start in _STARTS if start not in {*_UNDERSCORED, *_CAPITALS})
# The shortest number that is hidden: nine digits of a telephone or a social security number.
_DIGITS_MIN: Final = b"0" * 9
_ACCOUNT: Final = b"AA00"
_NUMBER: Final = re.compile(
    rb"[0-9]{13}|[A-Z]{2}[0-9]{2}[A-Z0-9 ]{11}|\+[1-9]|[0-9]{4}[ -][0-9]{4,6}[ -][0-9]{4}|[0-9]{3}-[0-9]{2}-[0-9]{4}"
    rb"|[0-9]{3}(?:[.-]|\) ?)[0-9]{3}[ .-][0-9]{4}"
)


def suspicious(body: bytes) -> bool:
    """Say whether `body`, JSON of any shape, may hold something that the `redacted` policy would replace."""
    if b"@" in body or b"\\u00" in body or any(prefix in body for prefix in _PREFIXES):
        return True
    large = body.translate(None, _SMALL)
    if any(prefix in large for prefix in _CAPITALS):
        return True
    if b"_" in large and any(prefix in body for prefix in _UNDERSCORED):
        return True
    return _may_name_secret(body.lower()) or _may_hold_number(body, large)


def _may_name_secret(small: bytes) -> bool:
    if any(name in small for name in _NAMES):
        return True
    return any(name in small for name in _WEAK_NAMES) and _NAME.search(small) is not None


def _may_hold_number(body: bytes, large: bytes) -> bool:
    runs = large.translate(_SHAPES, _BETWEEN_DIGITS)
    return (_DIGITS_MIN in runs or _ACCOUNT in runs) and _NUMBER.search(body) is not None
