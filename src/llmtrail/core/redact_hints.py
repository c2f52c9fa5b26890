"""Say quickly whether bytes may hold anything to hide, so that clean text costs little. May say yes in vain, never no.

Searches for literals run at memory speed; names and shapes of digits become literals by one translation: letters are
made lower-case, digits become `0`, and all that may stand between the parts of a number or a name becomes `-`.
A room that has a faster engine passes its own probe to `redact.apply_policy`.
"""

from typing import Final

_SEPARATORS: Final = b" _./()\"',;:=[]{}<>\\\t\r\n"
_FOLD: Final = bytes(
    ord("0") if 48 <= code <= 57 else ord("-") if code in _SEPARATORS else code + 32 if 65 <= code <= 90 else code
    for code in range(256)
)
# Literals of the folded text; each rule of `redact_text` needs one of them, `@` or `+` to match.
_LITERALS: Final = (
    *(b"sk-", b"passw", b"passphrase", b"pwd", b"secret", b"-key", b"apikey", b"skey", b"tkey", b"nkey", b"ekey"),
    *(
        b"stoken",
        b"htoken",
        b"rtoken",
        b"ntoken",
        b"ttoken",
        b"s-token",
        b"h-token",
        b"r-token",
        b"n-token",
        b"t-token",
    ),
    *(
        b"authorization",
        b"bearer-",
        b"akia",
        b"asia",
        b"aroa",
        b"aida",
        b"eyj",
        b"aiza",
        b"xox",
        b"xapp-",
        b"-----begin",
    ),
    *(b"ghp-", b"gho-", b"ghu-", b"ghs-", b"ghr-", b"github-pat-", b"glpat-", b"k-live-", b"k-test-", b"whsec-"),
    *(b"hf-", b"npm-", b"pypi-", b"sg-"),
)
_DIGITS: Final = (
    *(b"000-000-0000", b"000--000-0000", b"0000-0000-0000-0000", b"0000-000000-0000", b"000-00-0000"),
    *(b"-0000000000000", b"00-0000-0000", b"0000000000000"),
)


def suspicious(body: bytes) -> bool:
    """Say whether `body`, JSON of any shape, may hold something that the `redacted` policy would replace."""
    if b"@" in body or b"\\u00" in body:
        return True
    folded = body.translate(_FOLD)
    if any(literal in folded for literal in _LITERALS):
        return True
    return b"+" in body or any(shape in folded for shape in _DIGITS)
