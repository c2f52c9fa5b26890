"""What a gateway's answer means for the calls of a batch. Pure; knows nothing of sockets."""

from collections import Counter
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

# A gateway that asks for more rest than this has forgotten us.
RETRY_AFTER_MAX_S: Final = 300.0
_TOO_LARGE: Final = "too_large"
_UNLISTED: Final = "unlisted"  # rejected, and the answer did not say which or why


@dataclass(frozen=True, slots=True)
class Taken:
    """The gateway is done with every call of the batch: it keeps the accepted ones."""

    accepted: int
    rejected: dict[str, int] = field(default_factory=dict)
    detail: str = ""
    # Places in the batch of those that were rejected for their size: without their text they may still be taken.
    too_large: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Split:
    """Too much, or unreadable as a whole: try each half. `reason` is for a call that is refused even alone."""

    too_large: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing is known to be kept: send all of it again, after `wait_s` seconds where the gateway said so."""

    reason: str
    wait_s: float | None = None


Answer = Taken | Split | Later


def read_answer(status: int, body: bytes, retry_after: str | None, sent: int, now_s: float) -> Answer:
    """Say what an HTTP answer to a batch of `sent` calls means; `now_s` is epoch seconds, for dated Retry-After."""
    match status:
        case 200:
            return _read_200(body, sent)
        case 400:
            return _read_400(body, sent)
        case 413:
            return Split(too_large=True, reason="too_large")
        case 408 | 425 | 429 | 503:
            return Later(f"http_{status}", wait_s(retry_after, now_s))
        case _:
            # A wrong token, a wrong URL or a fault over there: none of it is the calls' fault, so they wait.
            return Later(f"http_{status}", wait_s(retry_after, now_s))


def _read_200(body: bytes, sent: int) -> Answer:
    """Believe an acknowledgement only when it counts our calls: a captive portal also answers 200."""
    document = _document(body)
    accepted = document.get("accepted")
    if not isinstance(accepted, int) or isinstance(accepted, bool):
        return Later("garbled_answer")
    rejected, detail = _rejections(document)
    listed = sum(rejected.values())
    if accepted < 0 or accepted + listed > sent:
        return Later("garbled_answer")
    if accepted + listed < sent:
        rejected[_UNLISTED] = sent - accepted - listed
    return Taken(accepted, rejected, detail, _too_large(document, sent))


def _read_400(body: bytes, sent: int) -> Answer:
    """Every call is bad, if each is listed; else one of them may have spoilt the batch."""
    document = _document(body)
    rejected, detail = _rejections(document)
    listed = sum(rejected.values())
    # A gateway lists the first so many and counts them all.
    if listed <= sent and document.get("rejected_count", listed) == sent:
        unlisted = {_UNLISTED: sent - listed} if listed < sent else {}
        return Taken(0, rejected | unlisted, detail, _too_large(document, sent))
    reason = document.get("reason")
    return Split(too_large=False, reason=reason if isinstance(reason, str) else "bad_request")


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


def _rejections(document: dict[str, Any]) -> tuple[dict[str, int], str]:
    """Return the rejected calls by reason, and the first one's detail."""
    listed = document.get("rejected")
    if not isinstance(listed, list):
        return {}, ""
    entries = [entry for entry in listed if isinstance(entry, dict)]
    reasons = Counter(str(entry.get("reason", _UNLISTED)) for entry in entries)
    detail = str(entries[0].get("detail", "")) if entries else ""
    return dict(reasons), detail


def _too_large(document: dict[str, Any], sent: int) -> tuple[int, ...]:
    """Return the places of the calls that were rejected for their size."""
    entries = [entry for entry in document.get("rejected") or () if isinstance(entry, dict)]
    places = [entry.get("index") for entry in entries if entry.get("reason") == _TOO_LARGE]
    return tuple(sorted({place for place in places if type(place) is int and 0 <= place < sent}))


def wait_s(retry_after: str | None, now_s: float) -> float | None:
    """Return the seconds that Retry-After asks for, in seconds or by a date; None where it asks for none."""
    if not retry_after:
        return None
    try:
        asked_s = float(retry_after)
    except ValueError:
        try:
            asked_s = parsedate_to_datetime(retry_after).timestamp() - now_s
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(asked_s, 0.0), RETRY_AFTER_MAX_S) if asked_s == asked_s else None  # noqa: PLR0124  # NaN asks nothing.
