"""Alertmanager: POST /api/v2/alerts, as Prometheus does. Its labels make a repeat the same alert.

An alert that is not sent again counts as resolved once its `endsAt` has passed, so firing ones are sent again in time.
"""

from collections.abc import Sequence

import msgspec

from llmtrail.outgoing import AddressRule
from llmtrail_alerts.channels.port import Answer, Channel, Manners, Sending
from llmtrail_alerts.channels.post import ADDRESSES, Reply, judge, new_client, post
from llmtrail_alerts.incident import incident_key
from llmtrail_alerts.message import (
    MEANING_CHARS_MAX,
    NAME_CHARS_MAX,
    REQUESTS_MAX,
    Action,
    Message,
    act_command,
    how_bad,
    instant,
    look_command,
    request_link,
    title,
)
from llmtrail_alerts.model import Severity
from llmtrail_alerts.text import cut, one_line

KEEP_ALIVE_S = 60
# As Prometheus: three may be lost in a row before Alertmanager takes an alert for resolved.
LIVES_S = 4 * KEEP_ALIVE_S
BATCH_MAX = 100  # up to two alerts each; Prometheus sends up to 64 at once, and Alertmanager sets no limit
_COMMAND_CHARS_MAX = 2_000
_NS = 1_000_000_000


class AlertmanagerSender:
    """Sends to one Alertmanager; name each of a cluster as a channel of its own."""

    manners = Manners(batch_max=BATCH_MAX, knows_repeats=True, keep_alive_s=KEEP_ALIVE_S)

    def __init__(self, channel: Channel, page_url: str, addresses: AddressRule = ADDRESSES) -> None:
        self._channel = channel
        self._page_url = page_url
        self._client = new_client(channel, addresses)

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Send all alerts of the batch in one list."""
        body = msgspec.json.encode([alert for one in batch for alert in alerts(one, self._page_url, now_ns)])
        headers = {"content-type": "application/json"}
        if self._channel.secret:
            headers["authorization"] = f"Bearer {self._channel.secret.reveal()}"
        reply = post(self._client, f"{self._channel.address.rstrip('/')}/api/v2/alerts", body, headers, now_ns)
        return judge(reply) if isinstance(reply, Reply) else reply

    def close(self) -> None:
        """Close connections."""
        self._client.close()


def alerts(sending: Sending, page_url: str, now_ns: int) -> list[dict[str, object]]:
    """Return the message's alert, and the end of the one that the incident had at another severity.

    `severity` is a label, because that is what routes go by; so another severity is another alert to Alertmanager.
    """
    message = sending.message
    ends = {sending.former or message.severity}
    if message.action is Action.RESOLVE:
        return [_alert(message, severity, page_url, now_ns, now_ns) for severity in ends]
    ended = [_alert(message, severity, page_url, now_ns, now_ns) for severity in ends - {message.severity}]
    return [_alert(message, message.severity, page_url, now_ns, now_ns + LIVES_S * _NS), *ended]


def _alert(message: Message, severity: Severity, page_url: str, now_ns: int, ends_ns: int) -> dict[str, object]:
    found: dict[str, object] = {
        "labels": _labels(message, severity),
        "annotations": _annotations(message, page_url),
        "startsAt": instant(min(message.since_ns, now_ns)),
        "endsAt": instant(ends_ns),
    }
    if page_url:
        found["generatorURL"] = page_url
    return found


def _labels(message: Message, severity: Severity) -> dict[str, str]:
    """Return what makes the alert this one: only what does not change while it fires, besides the severity."""
    labels = {
        "alertname": one_line(message.rule, NAME_CHARS_MAX) or "llmtrail",
        "severity": severity.value,
        "incident": incident_key(message.incident, NAME_CHARS_MAX),
        "scope": one_line(message.scope_name, NAME_CHARS_MAX),
        "source": "llmtrail",
    }
    # An empty label is none.
    return {name: value for name, value in labels.items() if value}


def _annotations(message: Message, page_url: str) -> dict[str, str]:
    shown = message.request_ids[:REQUESTS_MAX]
    requests = [request_link(page_url, found) or one_line(found, NAME_CHARS_MAX) for found in shown]
    annotations = {
        "summary": title(message),
        "description": how_bad(message),
        "meaning": one_line(message.meaning, MEANING_CHARS_MAX),
        "advice": one_line(message.advice, MEANING_CHARS_MAX),
        "owner": one_line(message.owner, NAME_CHARS_MAX),
        "runbook_url": message.runbook,
        "requests": "\n".join(requests),
        "look": cut(look_command(message), _COMMAND_CHARS_MAX),
        "act": cut(act_command(message), _COMMAND_CHARS_MAX),
    }
    return {name: value for name, value in annotations.items() if value}
