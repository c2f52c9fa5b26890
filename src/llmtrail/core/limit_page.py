"""What `GET /v1/limits` answers: what changed since a generation. Pure."""

from collections.abc import Iterable
from typing import Final

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.limit import BadLimitError, LimitState, decode_limit


class LimitPage(msgspec.Struct, omit_defaults=True, kw_only=True):
    """Some of what changed since the generation that was asked about; all of it together makes the table."""

    generation: str  # what to ask about next
    limits: list[msgspec.Raw]
    removed: list[str]  # keys
    tenant: str = ""  # whose limits these are: the token's tenant; "" for a token of every tenant
    full: bool = False  # what was learnt before is void: this begins anew
    more: bool = False  # there is more already: ask again at once


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


def changes_of(page: LimitPage) -> tuple[dict[str, LimitState | None], int]:
    """Return what a page changes, by key, and how many of its limits could not be read."""
    limits, unread = readable(bytes(value) for value in page.limits)
    changes: dict[str, LimitState | None] = dict.fromkeys(page.removed)
    return changes | limits, unread


def readable(values: Iterable[bytes]) -> tuple[dict[str, LimitState | None], int]:
    """Return the limits that can be read, by key, and how many cannot: one of a later version spoils no other."""
    found: dict[str, LimitState | None] = {}
    unread = 0
    for value in values:
        try:
            limit = decode_limit(value)
        except BadLimitError:
            unread += 1
        else:
            found[limit.key] = limit
    return found, unread
