"""Every id by which a user may ask for a call. Knows nothing of SQL."""

from collections.abc import Iterable

import msgspec

from llmtrail.core import json_decode
from llmtrail.core.call import Call

# How far from its ingest time the time in a UUIDv7 may be for the look-up to find the call by that time alone.
NEAR_MS = 24 * 3600 * 1000


class _Tickets(msgspec.Struct):
    ticket: str | int | None = None
    ticket_id: str | int | None = None


_TICKETS = json_decode.Decoder(_Tickets, strict=False)


def named_ids(call: Call) -> dict[str, str]:
    """Return each id of the call but its own, with its kind. Where two kinds share a text, the first names it."""
    named: dict[str, str] = {}
    for text, kind in (
        (call.request_id, "request"),
        (call.trace_id, "trace"),
        (call.session_id, "session"),
        (call.provider_request_id, "provider_request"),
    ):
        if text:
            named.setdefault(text, kind)
    for attempt in call.attempts or ():
        if attempt.provider_request_id:
            named.setdefault(attempt.provider_request_id, "provider_request")
    for ticket in _tickets(call.attributes):
        named.setdefault(ticket, "ticket")
    return named


def tells_its_day(call_key: int, first_ingested_at_ns: int) -> bool:
    """Say whether a call id is a UUIDv7 of about its ingest time, so that it needs no entry in `ids`."""
    return (call_key >> 76) & 0xF == 7 and abs((call_key >> 80) - first_ingested_at_ns // 1_000_000) <= NEAR_MS


def _tickets(attributes: msgspec.Raw) -> Iterable[str]:
    # Nearly no event has a ticket: looking for the word is a hundred times cheaper than decoding.
    if not attributes or b'"ticket' not in bytes(attributes):
        return ()
    try:
        found = _TICKETS.decode(attributes)
    except msgspec.ValidationError:  # A ticket that is neither text nor a number names nothing.
        return ()
    return [str(ticket) for ticket in (found.ticket, found.ticket_id) if ticket not in {None, ""}]
