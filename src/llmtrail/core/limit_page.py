"""What `GET /v1/limits` answers: what changed since a generation. Pure."""

from typing import Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.limit import BadLimitError, LimitChange, UnreadLimit, read_change, read_named


class LimitPage(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Some of what changed since the generation that was asked about; all of it together makes the table."""

    generation: str  # what to ask about next
    limits: list[msgspec.Raw]
    removed: list[str]  # keys
    tenant: str = ""  # whose limits these are: the token's tenant; "" for a token of every tenant
    full: bool = False  # what was learnt before is void: this begins anew
    more: bool = False  # there is more already: ask again at once
    unread: list[str] = []  # keys of limits that the answering process cannot read: whoever fails closed stops there


class BadPageError(ValueError):
    """An answer that is no page of limits."""


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = json_decode.Decoder(LimitPage)


def encode_page(page: LimitPage) -> bytes:
    """Return a page as it goes over HTTP."""
    return _ENCODER.encode(page)


def decode_page(body: bytes) -> LimitPage:
    """Return the page of an answer. Raises BadPageError."""
    try:
        return _DECODER.decode(body)
    except msgspec.MsgspecError as cause:
        raise BadPageError(f"no page of limits: {cause}") from cause


def changes_of(page: LimitPage) -> tuple[dict[str, LimitChange], int]:
    """Return what a page changes, by key, and how many of its limits could not be read: one spoils no other."""
    changes: dict[str, LimitChange] = dict.fromkeys(page.removed)
    lost = 0
    for value in page.limits:
        try:
            limit = read_named(bytes(value))
        except BadLimitError:
            lost += 1
        else:
            changes[limit.key] = limit
    for key in page.unread:
        try:
            changes[key] = read_change(key.encode(), b"")
        except (BadLimitError, UnicodeEncodeError):
            lost += 1
    return changes, lost + sum(isinstance(one, UnreadLimit) for one in changes.values())
