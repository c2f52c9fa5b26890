"""PagerDuty: Events API v2 by one POST. Its dedup_key makes a repeat the same incident, so nothing is marked."""

from collections.abc import Sequence

import msgspec

from llmtrail.outgoing import AddressRule
from llmtrail_alerts.channels.port import Answer, Channel, Manners, Outcome, Sending
from llmtrail_alerts.channels.post import ADDRESSES, Reply, judge, new_client, post
from llmtrail_alerts.incident import incident_key
from llmtrail_alerts.message import (
    REQUESTS_MAX,
    Action,
    Message,
    act_command,
    act_words,
    facts,
    instant,
    look_command,
    request_link,
    title,
)
from llmtrail_alerts.text import one_line

SUMMARY_CHARS_MAX = 1_024
DEDUP_KEY_CHARS_MAX = 255
EVENT_BYTES_MAX = 512_000
SOURCE = "llmtrail"


class PagerDutySender:
    """Sends to one PagerDuty service."""

    manners = Manners(knows_repeats=True)

    def __init__(self, channel: Channel, page_url: str, addresses: AddressRule = ADDRESSES) -> None:
        self._channel = channel
        self._page_url = page_url
        self._client = new_client(channel, addresses)

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Send one event."""
        (sending,) = batch
        body = event_bytes(sending.message, self._channel.secret.reveal(), self._page_url)
        reply = post(self._client, self._channel.address, body, {"content-type": "application/json"}, now_ns)
        if not isinstance(reply, Reply):
            return reply
        answer = judge(reply)
        if answer.outcome is Outcome.DELIVERED and reply.code != 202:
            # Only 202 says that the event was taken; a page of some proxy says 200.
            return Answer(Outcome.UNKNOWN, reply.words)
        return answer

    def close(self) -> None:
        """Close connections."""
        self._client.close()


def event_bytes(message: Message, routing_key: str, page_url: str) -> bytes:
    """Return the event's JSON of at most 512,000 bytes; what is dropped first are the custom details."""
    found = event(message, routing_key, page_url)
    body = msgspec.json.encode(found)
    if len(body) <= EVENT_BYTES_MAX:
        return body
    payload = found["payload"]
    if isinstance(payload, dict):
        payload["custom_details"] = {"dropped": "The details were larger than PagerDuty takes."}
    body = msgspec.json.encode(found)
    if len(body) <= EVENT_BYTES_MAX:
        return body
    found.pop("links", None)
    return msgspec.json.encode(found)


def event(message: Message, routing_key: str, page_url: str) -> dict[str, object]:
    """Return the event that triggers, acknowledges or resolves the message's incident."""
    found: dict[str, object] = {
        "routing_key": routing_key,
        "event_action": message.action.value,
        "dedup_key": incident_key(message.incident, DEDUP_KEY_CHARS_MAX),
    }
    if message.action is not Action.TRIGGER:
        return found
    found["payload"] = {
        "summary": title(message, SUMMARY_CHARS_MAX),
        "severity": message.severity.value,
        "source": SOURCE,
        "timestamp": instant(message.since_ns),
        "component": one_line(message.scope_name, SUMMARY_CHARS_MAX),
        "class": one_line(message.rule, SUMMARY_CHARS_MAX),
        "custom_details": _details(message),
    }
    links = [
        {"href": request_link(page_url, request_id), "text": f"Request {one_line(request_id, 100)}"}
        for request_id in message.request_ids[:REQUESTS_MAX]
        if page_url
    ]
    if message.runbook.startswith(("https://", "http://")):
        links.append({"href": message.runbook, "text": "Runbook"})
    if links:
        found["links"] = links
    found["client"] = "llmtrail"
    if page_url:
        found["client_url"] = page_url
    return found


def _details(message: Message) -> dict[str, object]:
    """Return what the incident shows as a table."""
    found: dict[str, object] = {fact.name: fact.text for fact in facts(message)}
    if message.request_ids:
        found["Requests"] = list(message.request_ids[:REQUESTS_MAX])
    if message.top:
        found["The worst"] = [top.name for top in message.top]
    found["Look"] = look_command(message)
    found["Act"] = f"{act_words(message)} {act_command(message)}"
    if message.runbook:
        found["Runbook"] = message.runbook
    return found
