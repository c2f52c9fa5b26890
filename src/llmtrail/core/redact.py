"""Treat the content of an event as its content policy says. Pure; knows nothing of where events come from or go.

Secrets are replaced inside JSON strings, whatever escapes hide them; the result is valid JSON of the same structure.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Final, assert_never

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import Attempt, Call, CallError, Parser, Retrieval, Served, Usage, Versions
from llmtrail.core.estimate import text_bytes
from llmtrail.core.outcome import BadEventError, RejectReason
from llmtrail.core.redact_find import FINDER, Finder
from llmtrail.core.redact_text import is_card_number, is_secret_name, redact_text


class ContentPolicy(StrEnum):
    """What becomes of what was asked and answered."""

    FULL = "full"  # kept as it is
    REDACTED = "redacted"  # secrets and personal data replaced in place
    HASH = "hash"  # each content value replaced by its SHA-256 and length
    NONE = "none"  # dropped


_STRICTNESS: Final = {policy.value: rank for rank, policy in enumerate(ContentPolicy)}
_CONTENT: Final = ("input", "messages", "prompt", "output", "tool_calls")
# Field -> content of which it says the size, where that content is left out: tokens can be estimated by it.
_SIZES: Final = {"input_bytes": ("messages", "prompt"), "output_bytes": ("output", "tool_calls")}
_CONTENT_PARTS: Final = {"retrieval": ("query", "documents"), "parser": ("value",)}
# Fields that hold text next to the content: secrets are taken out of them by every policy but `full`.
_TEXTS: Final = ("parameters", "attributes", "finish_reasons", "handled_by")
_GROUPS: Final[Mapping[str, type[msgspec.Struct]]] = {
    "usage": Usage,
    "served": Served,
    "versions": Versions,
    "error": CallError,
    "parser": Parser,
    "retrieval": Retrieval,
}
_ATTEMPT_GROUPS: Final[Mapping[str, type[msgspec.Struct]]] = {"usage": Usage, "error": CallError}
# By these a request is found: they stay.
_IDS: Final = frozenset({"provider_request_id"})
# Nobody's secret is at the bottom of JSON in a string in JSON in a string in JSON in a string.
_NESTED_MAX: Final = 3

_Fields = dict[str, msgspec.Raw]
_TEXT: Final = json_decode.Decoder(str)
_FIELDS: Final = json_decode.Decoder(_Fields)
_ATTEMPTS: Final = json_decode.Decoder(list[_Fields])
_KNOWN: Final = frozenset(Call.__struct_fields__)
_HASHED: Final = re.compile(rb'"sha256:[0-9a-f]{64}:([0-9]{1,12})"')
# One token of JSON: a string with the colon behind it when it is a key, or a number.
_TOKEN: Final = re.compile(
    rb'"(?P<text>[^"\\]*+(?:\\.[^"\\]*+)*+)"(?P<colon>[ \t\r\n]*+:[ \t\r\n]*+)?|(?P<number>-?[0-9][0-9.eE+-]*+)',
    re.DOTALL,
)
_QUOTE, _BACKSLASH = ord('"'), ord("\\")
_BEHIND_STRING: Final = re.compile(rb"[ \t\r\n]*+(?:[:,\]}]|\Z)")
# Quotes within a string that are looked at one by one, from behind.
_LOOKS_BACK_MAX: Final = 32
# Strings from their first to their last quote, and what stands between them.
_WHOLE_STRINGS: Final = re.compile(rb'(?:[^"]*+"[^"\\]*+(?:\\.[^"\\]*+)*+")*', re.DOTALL)


def apply_policy(value: bytes, policy: ContentPolicy, finder: Finder = FINDER) -> bytes:
    """Return the event `value` (one JSON object) as `policy` wants it kept; ids are never changed.

    `content_policy` is set on an event that was changed, unless a stricter policy was applied to it before.
    Raises BadEventError when `value` is not a JSON object.
    """
    if policy is ContentPolicy.FULL:
        return value
    # Nine in ten real calls hold nothing to hide.
    if policy is ContentPolicy.REDACTED and value.lstrip()[:1] == b"{" and not finder.suspicious(value):
        return value
    try:
        fields = _FIELDS.decode(value)
    except msgspec.DecodeError as error:
        raise BadEventError(RejectReason.NOT_JSON, "an event must be one JSON object.") from error
    if policy is not ContentPolicy.REDACTED:
        _note_sizes(fields)
    changed = _treat_content(fields, policy, finder)
    changed |= _redact_texts(fields, policy, finder)
    if policy is ContentPolicy.REDACTED and not changed:
        return value
    if _STRICTNESS[policy] >= _STRICTNESS.get(_text_of(fields.get("content_policy")), 0):
        fields["content_policy"] = msgspec.Raw(b'"%s"' % policy.value.encode())
    return msgspec.json.encode(fields)


def redact_json(raw: bytes, policy: ContentPolicy, finder: Finder = FINDER) -> bytes:
    """Return one JSON value as `policy` wants it kept; `none` gives `null`, `hash` a string of hash and length."""
    match policy:
        case ContentPolicy.FULL:
            return raw
        case ContentPolicy.REDACTED:
            return _redact(raw, 0, finder) if finder.place is not None or finder.suspicious(raw) else raw
        case ContentPolicy.HASH:
            return _hash(raw)
        case ContentPolicy.NONE:
            return b"null"
        case _:
            assert_never(policy)


def _note_sizes(fields: _Fields) -> None:
    """Note the bytes of the text that is about to be left out, unless the event says them already."""
    for name, parts in _SIZES.items():
        if bytes(fields.get(name, b"null")) == b"null" and (size := sum(map(_size_of, map(fields.get, parts)))):
            fields[name] = msgspec.Raw(b"%d" % size)


def _size_of(raw: msgspec.Raw | None) -> int:
    text = b"null" if raw is None else bytes(raw)
    if text == b"null":
        return 0
    hashed = _HASHED.fullmatch(text)
    return int(hashed[1]) if hashed is not None else text_bytes(text)


def _treat_content(fields: _Fields, policy: ContentPolicy, finder: Finder) -> bool:
    changed = False
    for name in _CONTENT:
        changed |= _treat(fields, name, policy, finder)
    return changed


def _redact_texts(fields: _Fields, policy: ContentPolicy, finder: Finder) -> bool:
    """Redact texts beside the content; treat the content of groups, and what is unknown of them, by `policy`."""
    changed = False
    for name in tuple(fields):
        if name in _TEXTS or name not in _KNOWN:
            changed |= _treat(fields, name, ContentPolicy.REDACTED, finder)
    for name, kind in _GROUPS.items():
        if _is_worth_a_look(fields.get(name), policy, finder):
            changed |= _in_group(fields, name, kind, policy, finder)
    if _is_worth_a_look(fields.get("attempts"), policy, finder):
        changed |= _in_attempts(fields, policy, finder)
    return changed


def _is_worth_a_look(raw: msgspec.Raw | None, policy: ContentPolicy, finder: Finder) -> bool:
    """Say whether a group may have to change: most hold a few numbers and names."""
    if raw is None:
        return False
    return policy is not ContentPolicy.REDACTED or finder.suspicious(bytes(raw))


def _in_attempts(fields: _Fields, policy: ContentPolicy, finder: Finder) -> bool:
    try:
        attempts = _ATTEMPTS.decode(bytes(fields["attempts"]))
    except msgspec.DecodeError:
        return _treat(fields, "attempts", policy, finder)
    changed = False
    for attempt in attempts:
        changed |= _in_fields(attempt, Attempt, (), policy, finder)
        for name, kind in _ATTEMPT_GROUPS.items():
            # Text is an error as well; what is no object was redacted as a field.
            if bytes(attempt.get(name, b""))[:1] == b"{":
                changed |= _in_group(attempt, name, kind, policy, finder)
    if changed:
        fields["attempts"] = msgspec.Raw(msgspec.json.encode(attempts))
    return changed


def _in_group(fields: _Fields, group: str, kind: type[msgspec.Struct], policy: ContentPolicy, finder: Finder) -> bool:
    raw = bytes(fields[group])
    if raw == b"null":
        return False
    try:
        parts = _FIELDS.decode(raw)
    except msgspec.DecodeError:
        # Not the group that it should be: all of it is treated as content.
        return _treat(fields, group, policy, finder)
    changed = _in_fields(parts, kind, _CONTENT_PARTS.get(group, ()), policy, finder)
    if changed:
        fields[group] = msgspec.Raw(msgspec.json.encode(parts))
    return changed


def _in_fields(
    parts: _Fields, kind: type[msgspec.Struct], content: tuple[str, ...], policy: ContentPolicy, finder: Finder
) -> bool:
    """Treat a group's content, and what the schema does not know of it, as `policy` says; redact its other texts."""
    changed = False
    for name in tuple(parts):
        if name in content or name not in kind.__struct_fields__:
            changed |= _treat(parts, name, policy, finder)
        elif name not in _IDS and bytes(parts[name])[:1] == b'"':
            changed |= _treat(parts, name, ContentPolicy.REDACTED, finder)
    return changed


def _treat(fields: _Fields, name: str, policy: ContentPolicy, finder: Finder) -> bool:
    if name not in fields:
        return False
    raw = bytes(fields[name])
    if raw == b"null":
        return False
    if policy is ContentPolicy.NONE:
        del fields[name]
        return True
    treated = redact_json(raw, policy, finder)
    if treated == raw:
        return False
    fields[name] = msgspec.Raw(treated)
    return True


def _hash(raw: bytes) -> bytes:
    if _HASHED.fullmatch(raw):
        return raw
    return b'"sha256:%s:%d"' % (hashlib.sha256(raw).hexdigest().encode(), len(raw))


def _redact(raw: bytes, nested: int, finder: Finder) -> bytes:
    """Rewrite the strings and card-like numbers of a JSON text; keys and all between stay byte for byte."""
    pieces: list[bytes] = []
    done = 0
    for token, named_secret in _tokens(raw, finder):
        replaced = _redact_token(token, nested, finder, named_secret=named_secret)
        if replaced is not None:
            pieces += [raw[done : token.start()], replaced]
            done = token.end()
    return b"".join([*pieces, raw[done:]]) if pieces else raw


def _tokens(raw: bytes, finder: Finder) -> Iterator[tuple[re.Match[bytes], bool]]:
    """Yield the strings and numbers of a JSON text that may have to change, and whether their key names a secret."""
    if finder.place is None:
        yield from _suspicious_tokens(raw, finder)
        return
    at = 0  # where the last token ended: outside of every string
    while (place := finder.place(raw, at)) >= 0:
        opens = _opening_quote(raw, at, place)
        # In a string, or at a number that no string holds.
        token = _TOKEN.match(raw, opens) if opens >= 0 else _TOKEN.search(raw, place)
        if token is None:
            return
        named_secret = False
        if token["colon"] is not None:
            named_secret = _names_secret(token["text"])
            at = token.end()
            token = _TOKEN.match(raw, at)
            if token is None:
                continue  # what the key names is neither a string nor a number
        at = token.end()
        yield token, named_secret


def _opening_quote(raw: bytes, at: int, place: int) -> int:
    """Return where the string begins that holds `place`, or -1 where none does; `at` is outside of every string."""
    quote = place if raw[place] == _QUOTE else raw.rfind(b'"', at, place)
    for _ in range(_LOOKS_BACK_MAX):
        if quote < at:
            return -1
        before = quote - 1
        while before >= at and raw[before] == _BACKSLASH:
            before -= 1
        if (quote - before) % 2:  # not escaped: a string begins or ends here
            # Behind an end come these; where a string begins with one of them, a closer look tells.
            if _BEHIND_STRING.match(raw, quote + 1) is None:
                return quote
            break
        quote = raw.rfind(b'"', at, quote)
    skipped = _WHOLE_STRINGS.match(raw, at, place)
    return raw.find(b'"', skipped.end() if skipped is not None else at, place + 1)


def _suspicious_tokens(raw: bytes, finder: Finder) -> Iterator[tuple[re.Match[bytes], bool]]:
    """Yield as `_tokens` does, by a look at each token."""
    secret_ends_at = -1  # where a key that names a secret ended: a string that starts here is the secret
    for match in _TOKEN.finditer(raw):
        if match["colon"] is not None:
            secret_ends_at = match.end() if _names_secret(match["text"]) else -1
            continue
        named_secret = match.start() == secret_ends_at
        # Most strings of a text that holds a secret hold none: a look at each spares most of the work.
        if named_secret or match["number"] is not None or finder.suspicious(match[0]):
            yield match, named_secret


@lru_cache(maxsize=1_024)
def _names_secret(key: bytes) -> bool:
    return is_secret_name(_unescape(key))


def _redact_token(match: re.Match[bytes], nested: int, finder: Finder, *, named_secret: bool) -> bytes | None:
    """Return what stands for this string or number from now on, or None when it stays."""
    number = match["number"]
    if number is not None:
        is_card = 13 <= len(number) <= 19 and number.isdigit() and is_card_number(number.decode())
        return b'"[redacted:card]"' if is_card else None
    text = _unescape(match["text"])
    if named_secret and text and not text.startswith("[redacted"):
        return b'"[redacted:secret]"'
    redacted = _redact_string(text, nested, finder)
    return None if redacted == text else _quoted(redacted)


def _redact_string(text: str, nested: int, finder: Finder) -> str:
    if nested < _NESTED_MAX and text[:1] in {"{", "["}:
        inner = text.encode("utf-8", "surrogatepass")
        try:
            json.loads(inner)
        except (ValueError, RecursionError):
            pass
        else:
            text = _redact(inner, nested + 1, finder).decode("utf-8", "surrogatepass")
    return redact_text(text, finder.kinds_in)


def _unescape(raw: bytes) -> str:
    if b"\\" not in raw:
        return raw.decode("utf-8", "surrogatepass")
    quoted = b'"' + raw + b'"'
    try:
        return _TEXT.decode(quoted)
    except msgspec.DecodeError:
        return str(json.loads(quoted, strict=False))  # half of a surrogate pair, or a control character


def _quoted(text: str) -> bytes:
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        return json.dumps(text).encode()  # half of a surrogate pair can only be written as an escape


def _text_of(raw: msgspec.Raw | None) -> str:
    return bytes(raw).decode("utf-8", "replace").strip('"') if raw is not None else ""
