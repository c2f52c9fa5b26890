"""Find secrets and personal data in plain text and put `[redacted:kind]` in their place. Knows nothing of JSON.

Every pattern is anchored by a look-behind at the start of its run and consumes possessively or within bounds, so that
the time is linear in the text whatever the text is.
"""

import re
from collections.abc import Callable, Collection
from enum import Enum, auto
from typing import Final

from llmtrail.core.redact_keys import FORMS, pattern

# Names whose value is a secret, as written in code, configuration and JSON, in small letters. A bare `token` is left
# out: models answer with lists of tokens.
_NAMES: Final = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|api[_-]?key"
    r"|(?:access|account|private|encryption)[_-]?key(?!word)"
    r"|(?:access|auth|refresh|bearer|session|bot)[_-]?token|authorization)"
)
_SECRET_NAME = re.compile(
    rf"(?i)(?:[A-Za-z0-9]{{1,32}}[_.-]){{0,3}}(?:client|app|signing|webhook|db|user|x)?[_-]?{_NAMES}"
)

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY[A-Z ]{0,10}-----"
    r"(?:(?:[^-]|-(?!----)){0,16384}+-----END [A-Z0-9 ]{0,60}-----|[A-Za-z0-9+/=\s\\]{0,16384}+)"
)
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}+(?:\.[A-Za-z0-9_-]*+){1,4}")
_PATTERNS: Final = tuple((form, pattern(form)) for form in FORMS)
# Beginnings by a sign that they have, if any: what has no such sign is not looked at further.
_KEYS: Final = {
    sign: [(start, form.is_shown, key) for form, key in _PATTERNS for start in form.starts if form.sign == sign]
    for sign in ("_", "-", ".", "")
}
_BEARER = re.compile(r"(?i)(?<![A-Za-z0-9])((authorization\W{1,6})?bearer[ \t]{1,4})([A-Za-z0-9._~+/=-]{12,}+)")
_BASIC = re.compile(r"(?i)(?<![A-Za-z0-9])(authorization\W{1,6}basic[ \t]{1,4})([A-Za-z0-9+/=]{8,}+)")
# A password may hold an @: the last one before the path ends it.
_URL_CREDENTIALS = re.compile(r"(?<=://)[^\s/?#@:\"'<>\\]{0,256}+:[^\s/?#\"'<>\\]{1,256}(?=@)")
_ASSIGNMENT = re.compile(
    rf"({_NAMES})(\\{{0,3}}[\"']?[ \t]{{0,4}}(?:=>|:=|=|:)[ \t]{{0,4}})"
    r"(?:(\\{0,3}[\"'])([^\"'\\\n]{4,512}+)(?=\\{0,3}[\"'])|(\\{0,3}[\"'])?([^\s\"'\\,;&]{4,512}+))"
)
_MAIL_HOST = re.compile(r"@(?:[\w-]{1,63}+\.){1,8}(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{2,59})(?![\w])")
_MAIL_NAME_MAX: Final = 256  # longer than any mail server takes
# The look-behinds stand behind the first character, so that the engine can skip to characters that may be the first.
_IBAN = re.compile(r"[A-Z](?<![A-Za-z0-9].)[A-Z][0-9]{2}(?: ?[A-Z0-9]){11,30}+", re.DOTALL)
_CARD = re.compile(
    r"[2-6](?<![\w.-].)(?:[0-9]{12,18}|[0-9]{3}([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|[0-9]{3}([ -])[0-9]{6}\2[0-9]{4,5})"
    r"(?![\w]|[.-][\w])",
    re.DOTALL,
)
_SSN = re.compile(r"[0-8](?<![\w-].)[0-9]{2}(?<!000)(?<!666)-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w]|-\w)", re.DOTALL)
_PHONE_END = re.compile(r"[0-9]{3}[ .-][0-9]{4}")
_US_PHONE = re.compile(
    r"(?<![\w./+-])(?:1[ .-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[ .-][0-9]{4}(?![\w]|[.-][\w])"
)
_WORLD_PHONE = re.compile(r"\+(?<![\w+].)[1-9][0-9]{0,3}(?:[ .()/-]{0,2}[0-9]{1,5}){2,6}+(?![\w])", re.DOTALL)

# Digits of an international number by ITU E.164; shorter ones are counts and offsets more often than telephones.
_PHONE_DIGITS_MIN, _PHONE_DIGITS_MAX = 9, 15
# What was hidden may have stood so close to the next secret that its beginning was not seen: look again, if anything
# changed, but do not let a text of nothing but secrets take for ever.
_PASSES_MAX: Final = 8
_NAME_PARTS: Final = ("pass", "pwd", "secret", "key", "token", "authorization")
_SMALL_ASCII: Final = {code: code + 32 for code in range(65, 91)}
_MAIL_SIGNS: Final = "_.%+'-"
_SECRET_LENGTH_MIN: Final = 4  # what is shorter is a placeholder or no secret for long
_PASSWD_LINE = re.compile(r"[x*!]:[0-9]+:")
_ROW_DIGITS_MAX: Final = 6
_PLACEHOLDER_CHARACTERS = frozenset("()[]{}<>$*`")
_PLACEHOLDER_WORDS = frozenset(
    ("none", "null", "true", "false", "string", "required", "optional", "undefined", "changeme", "your", "self", "str")
)
# Countries by the length of their account numbers (the SWIFT registry).
_COUNTRIES_BY_IBAN_LENGTH: Final = {
    15: "NO",
    16: "BE",
    18: "DK FI FO GL NL",
    19: "MK SI",
    20: "AT BA EE KZ LT LU XK",
    21: "CH CR HR LI LV",
    22: "BG BH DE GB GE IE ME RS VA",
    23: "AE GI IL IQ TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT",
    26: "IS TR",
    27: "FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB PL",
    29: "BR EG PS QA UA",
    30: "JO KW MU",
    31: "MT SC",
    32: "LC",
}
_IBAN_LENGTHS: Final = {
    country: size for size, countries in _COUNTRIES_BY_IBAN_LENGTH.items() for country in countries.split()
}


class Kind(Enum):
    """What is looked for together: one rule or several."""

    KEY = auto()
    ASSIGNMENT = auto()
    MAIL = auto()
    NUMBER = auto()


def redact_text(text: str, kinds_in: Callable[[str], Collection[Kind]] = lambda _: tuple(Kind)) -> str:
    """Return `text` with every secret and every personal datum replaced by `[redacted:kind]`.

    `kinds_in` spares looking for what is not there: it may name kinds in vain, and leaves none out.
    """
    kinds = kinds_in(text)
    for _ in range(_PASSES_MAX):
        former = text
        for kind, redact in _REDACT:
            if kind in kinds and (redacted := redact(text)) != text:
                text = redacted
                kinds = kinds_in(text)
        if text == former:
            break
    return text


def is_secret_name(name: str) -> bool:
    """Say whether a field of this name holds a secret, such as `password` or `api_key`."""
    return len(name) <= 128 and _SECRET_NAME.fullmatch(name) is not None


def is_card_number(digits: str) -> bool:
    """Say whether plain digits are a payment card's: known issuer, right length, right Luhn checksum."""
    size = len(digits)
    first_two, first_four = int(digits[:2]), int(digits[:4])
    known = (
        (digits[0] == "4" and size in {13, 16, 19})
        or (size == 16 and (51 <= first_two <= 55 or 2221 <= first_four <= 2720 or first_two in {35, 65}))
        or (size == 16 and (first_four == 6011 or 6440 <= first_four <= 6499 or first_two in {60, 62}))
        or (size == 15 and first_two in {34, 37})
        or (size == 14 and first_two in {30, 36, 38})
    )
    return known and _luhn(digits) and len(set(digits)) > 1


def _luhn(digits: str) -> bool:
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit)
        if index % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def _redact_keys(text: str) -> str:
    """Replace keys and tokens of a known form. What holds others comes first: a block, credentials with their @."""
    small = text.lower()
    if "-----begin" in small:
        text = _PRIVATE_KEY.sub("[redacted:private_key]", text)
    if "eyj" in small:
        text = _JWT.sub("[redacted:jwt]", text)
    for sign, keys in _KEYS.items():
        if sign in text:
            for start, is_shown, key in keys:
                if start in text:
                    text = key.sub(_replace_address if is_shown else _replace_api_key, text)
    if "bearer" in small:
        text = _BEARER.sub(_replace_bearer, text)
    if "basic" in small:
        text = _BASIC.sub(lambda match: f"{match[1]}[redacted:token]", text)
    return _URL_CREDENTIALS.sub("[redacted:credentials]", text) if "://" in text and "@" in text else text


def _redact_assignments(text: str) -> str:
    small = text.lower()
    if not any(part in small for part in _NAME_PARTS) or ("=" not in small and ":" not in small):
        return text
    # One letter in some scripts becomes two when made small: then only capitals of ASCII are, to keep every place.
    if len(small) != len(text):
        small = text.translate(_SMALL_ASCII)
    pieces: list[str] = []
    done = 0
    for match in _ASSIGNMENT.finditer(small):
        is_quoted = match[4] is not None
        start, end = match.span(4 if is_quoted else 6)
        value = text[start:end] if is_quoted else text[start:end].rstrip(")]}>")
        if _is_secret_value(match[1], match[2], (match[3] if is_quoted else match[5]) or "", value):
            pieces += [text[done:start], "[redacted:secret]"]
            done = start + len(value)
    return "".join([*pieces, text[done:]]) if pieces else text


def _redact_mail(text: str) -> str:
    if "@" not in text:
        return text
    pieces: list[str] = []
    done = 0
    for match in _MAIL_HOST.finditer(text):
        at = start = match.start()
        while start > max(done, at - _MAIL_NAME_MAX) and (text[start - 1].isalnum() or text[start - 1] in _MAIL_SIGNS):
            start -= 1
        if start < at and text[start:at] != "git":
            pieces += [text[done:start], "[redacted:email]"]
            done = match.end()
    return "".join([*pieces, text[done:]]) if pieces else text


def _redact_numbers(text: str) -> str:
    text = _IBAN.sub(_replace_iban, text)
    text = _CARD.sub(_replace_card, text)
    if "-" in text:
        text = _SSN.sub("[redacted:ssn]", text)
    if _PHONE_END.search(text):
        text = _US_PHONE.sub("[redacted:phone]", text)
    return _WORLD_PHONE.sub(_replace_world_phone, text) if "+" in text else text


def _replace_address(match: re.Match[str]) -> str:
    return f"{match[1]}/[redacted:webhook]"


def _replace_api_key(match: re.Match[str]) -> str:
    found = match[0]
    # `sk-` also starts slugs of ordinary words; keys have digits, and long runs without a hyphen.
    if found.startswith("sk-") and not _looks_random(found[3:]):
        return found
    return "[redacted:api_key]"


def _looks_random(value: str) -> bool:
    longest = max(map(len, re.split("[-_]", value)))
    return any(character.isdigit() for character in value) and longest >= 12


def _replace_bearer(match: re.Match[str]) -> str:
    # Without the header's name it may be a sentence of bearers; a token has digits.
    if match[2] is None and not any(character.isdigit() for character in match[3]):
        return match[0]
    return f"{match[1]}[redacted:token]"


def _is_secret_value(name: str, between: str, quote: str, value: str) -> bool:
    if len(value) < _SECRET_LENGTH_MIN or value.startswith("[redacted"):
        return False
    bare = value.lower().rstrip(".)!?")
    if bare in _PLACEHOLDER_WORDS or bare.startswith(("os.", "env.", "process.env", "your_", "your-", "settings.")):
        return False
    if _is_something_else(name, value):
        return False
    if quote:
        return not value.startswith(("{", "<", "$", "*"))
    if name.replace("-", "_") in bare.replace("-", "_") or _PLACEHOLDER_CHARACTERS & set(value):
        return False
    # Unquoted after a colon or after blanks it may be a sentence: "password: must be long"; a secret has digits.
    return between == "=" or any(character.isdigit() for character in value)


def _is_something_else(name: str, value: str) -> bool:
    """Say whether a value is what the name means elsewhere: a shell's folder, a line of passwd, a number of a row."""
    if name == "pwd":
        return value.startswith(("/", "~", "\\\\")) or value[1:3] in {":\\", ":/"}
    if name == "passwd":
        return _PASSWD_LINE.match(value) is not None
    return name.endswith("key") and value.isdigit() and len(value) <= _ROW_DIGITS_MAX


def _replace_iban(match: re.Match[str]) -> str:
    found = match[0]
    size = _IBAN_LENGTHS.get(found[:2], 0)
    end = _end_of(found, size)
    if not end or (end < len(found) and found[end] != " "):
        return found
    iban = found[:end].replace(" ", "")
    number = int("".join(str(int(character, 36)) for character in iban[4:] + iban[:4]))
    return "[redacted:iban]" + found[end:] if number % 97 == 1 else found


def _end_of(found: str, size: int) -> int:
    """Return where the first `size` characters that are no blanks end; 0 when there are fewer or size is 0."""
    count = 0
    for index, character in enumerate(found):
        count += character != " "
        if count == size:
            return index + 1
    return 0


def _replace_card(match: re.Match[str]) -> str:
    digits = match[0].replace(" ", "").replace("-", "")
    return "[redacted:card]" if is_card_number(digits) else match[0]


def _replace_world_phone(match: re.Match[str]) -> str:
    digits = sum(character.isdigit() for character in match[0])
    return "[redacted:phone]" if _PHONE_DIGITS_MIN <= digits <= _PHONE_DIGITS_MAX else match[0]


_REDACT: Final = (
    (Kind.KEY, _redact_keys),
    (Kind.ASSIGNMENT, _redact_assignments),
    (Kind.MAIL, _redact_mail),
    (Kind.NUMBER, _redact_numbers),
)
