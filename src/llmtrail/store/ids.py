"""Every id by which a user may ask for a call. Knows nothing of SQL."""

from collections.abc import Iterable

import msgspec

from llmtrail.core.call import Call


class _Tickets(msgspec.Struct):
    ticket: str | int | None = None
    ticket_id: str | int | None = None


_TICKETS = msgspec.json.Decoder(_Tickets, strict=False)


def named_ids(call: Call) -> dict[str, str]:
    """Return each id of the call with its kind. Where two kinds hold the same text, the first one names it."""
    named: dict[str, str] = {}
    if call.call_id:
        named[call.call_id] = "call"
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


def _tickets(attributes: msgspec.Raw) -> Iterable[str]:
    # Nearly no event has a ticket: looking for the word is a hundred times cheaper than decoding.
    if not attributes or b'"ticket' not in bytes(attributes):
        return ()
    try:
        found = _TICKETS.decode(attributes)
    except msgspec.ValidationError:  # A ticket that is neither text nor a number names nothing.
        return ()
    return [str(ticket) for ticket in (found.ticket, found.ticket_id) if ticket not in {None, ""}]
