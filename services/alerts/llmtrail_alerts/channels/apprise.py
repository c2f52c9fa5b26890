"""E-mail and a hundred other targets by apprise's addresses; needs `llmtrail[apprise]`. Plain text only."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from llmtrail.outgoing import AddressRefusedError, AddressRule, resolve
from llmtrail_alerts.channels.port import Answer, Channel, Manners, Mark, Outcome, Sending
from llmtrail_alerts.channels.post import ADDRESSES
from llmtrail_alerts.message import (
    NAME_CHARS_MAX,
    REQUESTS_MAX,
    Action,
    act_command,
    act_words,
    facts,
    look_command,
    request_link,
    title,
)
from llmtrail_alerts.model import Severity
from llmtrail_alerts.text import one_line

_JOINER = "\u2060"
_MISSING = "A channel of kind apprise needs apprise: pip install 'llmtrail[apprise]'."


class AppriseSender:
    """Sends to one of apprise's targets."""

    manners = Manners()

    def __init__(self, channel: Channel, page_url: str, addresses: AddressRule = ADDRESSES) -> None:
        try:
            import apprise  # noqa: PLC0415 - an extra, and slow to import
        except ImportError as cause:
            raise ImportError(_MISSING) from cause
        self._page_url = page_url
        self._address, self._addresses = channel.address, addresses
        self._apprise = apprise
        self._target = apprise.Apprise()
        self._known = bool(self._target.add(channel.address)) and len(self._target) == 1

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Send one message; apprise tells only whether all went well."""
        del now_ns  # nothing in the text depends on when it is sent
        if not self._known:
            return Answer(Outcome.REFUSED, "apprise does not know this address")
        if why := refused(self._address, self._addresses):
            return Answer(Outcome.REFUSED, f"nothing was sent: {why}")
        (sending,) = batch
        try:
            arrived = self._target.notify(
                title=headline(sending),
                body=body(sending, self._page_url),
                notify_type=_type(sending),
                body_format=self._apprise.NotifyFormat.TEXT,
                interpret_escapes=False,
            )
        except Exception as error:  # noqa: BLE001 - a hundred plugins: whatever one of them raises is an answer
            return Answer(Outcome.UNKNOWN, f"apprise failed ({type(error).__name__})")
        return Answer(Outcome.DELIVERED, "ok") if arrived else Answer(Outcome.UNKNOWN, "apprise could not send it")

    def close(self) -> None:
        """Close nothing: apprise keeps no connection."""


def refused(address: str, rule: AddressRule) -> str:
    """Return why nothing goes to an address of apprise's, "" where something may; apprise itself resolves it again.

    Where the part after :// is no host but a token or a name of the plugin's, it resolves to nothing and is let be.
    """
    try:
        resolve(urlsplit(address).hostname or "", 0, rule)
    except AddressRefusedError as error:
        return str(error)
    except (OSError, ValueError):
        return ""
    return ""


def headline(sending: Sending) -> str:
    """Return the title."""
    repeat = "(possible repeat) " if sending.mark is Mark.POSSIBLE_REPEAT else ""
    return defused(repeat + title(sending.message))


def body(sending: Sending, page_url: str) -> str:
    """Return the text, one fact a line."""
    message = sending.message
    lines = [f"{fact.name}: {defused(fact.text)}" for fact in facts(message)]
    lines += [_request(request_id, page_url) for request_id in message.request_ids[:REQUESTS_MAX]]
    lines += [f"Among the worst: {defused(one_line(top.name, NAME_CHARS_MAX))}" for top in message.top]
    lines += [
        f"Look: {defused(look_command(message))}",
        f"{defused(act_words(message))} {defused(act_command(message))}",
    ]
    if message.runbook:
        lines.append(f"Runbook: {message.runbook}")
    return "\n".join(lines)


def defused(text: str) -> str:
    """Return foreign text that is no mention, no link and no markup on any target that reads plain text as more."""
    for sign in ("@", "<", "[", "](", "://"):
        text = text.replace(sign, sign[0] + _JOINER + sign[1:])
    return text


def _request(request_id: str, page_url: str) -> str:
    link = request_link(page_url, request_id)
    return f"Request: {defused(one_line(request_id, NAME_CHARS_MAX))} {link}".rstrip()


def _type(sending: Sending) -> str:
    if sending.message.action is Action.RESOLVE:
        return "success"
    match sending.message.severity:
        case Severity.CRITICAL | Severity.ERROR:
            return "failure"
        case Severity.WARNING:
            return "warning"
        case Severity.INFO:
            return "info"
