"""A generic signed webhook: one JSON document a message, for whatever has no channel of its own."""

from collections.abc import Sequence

import msgspec

from llmtrail.core import json_decode
from llmtrail.outgoing import AddressRule
from llmtrail_alerts.channels.port import Answer, Channel, Manners, Mark, Sending
from llmtrail_alerts.channels.post import ADDRESSES, Reply, judge, new_client, post
from llmtrail_alerts.channels.signature import SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from llmtrail_alerts.message import (
    REQUESTS_MAX,
    Message,
    act_command,
    act_words,
    how_bad,
    instant,
    look_command,
    request_link,
    title,
)

ID_HEADER = "x-llmtrail-id"
_NS = 1_000_000_000


class WebhookSender:
    """Sends to one address of yours."""

    manners = Manners()

    def __init__(self, channel: Channel, page_url: str, addresses: AddressRule = ADDRESSES) -> None:
        self._channel = channel
        self._page_url = page_url
        self._client = new_client(channel, addresses)

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Send one document, signed with the present time."""
        (sending,) = batch
        body = msgspec.json.encode(document(sending, self._page_url))
        timestamp_s = now_ns // _NS
        headers = {
            "content-type": "application/json",
            ID_HEADER: sending.message.id.encode("ascii", "backslashreplace").decode()[:255],
            TIMESTAMP_HEADER: str(timestamp_s),
            SIGNATURE_HEADER: sign(self._channel.secret.reveal(), timestamp_s, body),
        }
        reply = post(self._client, self._channel.address, body, headers, now_ns)
        return judge(reply) if isinstance(reply, Reply) else reply

    def close(self) -> None:
        """Close connections."""
        self._client.close()


def document(sending: Sending, page_url: str) -> dict[str, object]:
    """Return the document, version 1. Its names are as they are: whoever shows them must escape them."""
    message = sending.message
    return {
        "version": 1,
        "id": message.id,
        "possible_repeat": sending.mark is Mark.POSSIBLE_REPEAT,
        "test": message.test,
        "incident": message.incident,
        "action": message.action.value,
        "severity": message.severity.value,
        "reason": message.reason.value,
        "title": title(message),
        "rule": message.rule,
        "scope": json_decode.decode(message.scope) if message.scope else None,
        "scope_name": message.scope_name,
        "level": message.level,
        "hard": message.hard,
        "how_bad": how_bad(message),
        "value": message.value,
        "limit": message.limit,
        "unit": message.unit.value,
        "decided_at": instant(message.at_ns),
        "since": instant(message.since_ns),
        "period": message.period,
        "period_ends_at": instant(message.period_end_ns) if message.period_end_ns else None,
        "reaches_limit_at": instant(message.forecast_ns) if message.forecast_ns is not None else None,
        "owner": message.owner,
        "requests": _requests(message, page_url),
        "runbook": message.runbook,
        "look": look_command(message),
        "act": act_command(message),
        "act_words": act_words(message),
        "coalesced": message.coalesced,
        "top": [{"name": top.name, "value": top.value, "limit": top.limit} for top in message.top],
    }


def _requests(message: Message, page_url: str) -> list[dict[str, str]]:
    return [
        {"id": request_id, "url": request_link(page_url, request_id)}
        for request_id in message.request_ids[:REQUESTS_MAX]
    ]
