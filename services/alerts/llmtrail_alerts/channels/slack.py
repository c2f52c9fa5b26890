"""Slack: the same Block Kit message by an incoming webhook or by a bot's chat.postMessage. Decides only words."""

from collections.abc import Sequence
from typing import assert_never

import msgspec
from slack_sdk.models.blocks import Block, ContextBlock, HeaderBlock, MarkdownTextObject, PlainTextObject, SectionBlock

from llmtrail.core import json_decode
from llmtrail.outgoing import AddressRule
from llmtrail_alerts.amount import amount
from llmtrail_alerts.channels.port import Answer, Channel, ChannelKind, Manners, Mark, Outcome, Sending
from llmtrail_alerts.channels.post import ADDRESSES, Reply, judge, new_client, post
from llmtrail_alerts.channels.slack_text import block, code, link, words
from llmtrail_alerts.message import (
    NAME_CHARS_MAX,
    REQUESTS_MAX,
    TOP_MAX,
    Action,
    Fact,
    FactKind,
    Message,
    act_command,
    act_words,
    facts,
    look_command,
    proof_heading,
    request_link,
    title,
)
from llmtrail_alerts.model import Severity
from llmtrail_alerts.text import one_line

HEADER_CHARS_MAX = 150
FALLBACK_CHARS_MAX = 500  # what a notification on a locked telephone shows
COMMAND_CHARS_MAX = 2_400  # a section takes 3,000
ACT_CHARS_MAX = 500
# Of a digest: one block each, so 50 would fit, but nobody reads more.
BATCH_MAX = 20
# Up to three are worth a second each.
COALESCE_FROM = 4
# One message a second and channel is what Slack takes for long; a little more, because its clock is not ours.
PAUSE_S = 1.05
REPEAT = "(possible repeat)"

# Errors of chat.postMessage after which the same message may be taken; every other one is final.
_LATER = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
_PERHAPS = frozenset({"internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org"})
_SIGNS = {Severity.CRITICAL: "🔴", Severity.ERROR: "🟠", Severity.WARNING: "🟡", Severity.INFO: "🔵"}


class SlackSender:
    """Sends to one Slack channel."""

    manners = Manners(batch_max=BATCH_MAX, coalesce_from=COALESCE_FROM, pause_s=PAUSE_S)

    def __init__(self, channel: Channel, page_url: str, addresses: AddressRule = ADDRESSES) -> None:
        self._channel = channel
        self._page_url = page_url
        self._client = new_client(channel, addresses)

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Send the batch as one message; several become a digest."""
        body = payload(batch, self._page_url)
        headers = {"content-type": "application/json; charset=utf-8"}
        if self._channel.kind is ChannelKind.SLACK_WEBHOOK:
            reply = post(self._client, self._channel.address, msgspec.json.encode(body), headers, now_ns)
            return judge(reply) if isinstance(reply, Reply) else reply
        body["channel"] = self._channel.target
        headers["authorization"] = f"Bearer {self._channel.secret.reveal()}"
        url = f"{self._channel.address.rstrip('/')}/chat.postMessage"
        reply = post(self._client, url, msgspec.json.encode(body), headers, now_ns)
        return judge_bot(reply) if isinstance(reply, Reply) else reply

    def close(self) -> None:
        """Close connections."""
        self._client.close()


class _BotReply(msgspec.Struct):
    ok: bool
    error: str = ""


def judge_bot(reply: Reply) -> Answer:
    """Return what an answer of the Web API means: with 200 it tells in its body whether it was taken."""
    if reply.code != 200:
        return judge(reply)
    try:
        said = json_decode.decode(reply.body, type=_BotReply)
    except msgspec.DecodeError:
        return Answer(Outcome.UNKNOWN, reply.words)
    if said.ok:
        return Answer(Outcome.DELIVERED, "ok")
    detail = one_line(said.error, NAME_CHARS_MAX)
    if said.error in _LATER:
        return Answer(Outcome.NOT_DELIVERED, detail, reply.retry_after_s)
    return Answer(Outcome.UNKNOWN if said.error in _PERHAPS else Outcome.REFUSED, detail)


def payload(batch: Sequence[Sending], page_url: str) -> dict[str, object]:
    """Return the body of one request: blocks, and the text that notifications show."""
    if len(batch) == 1:
        first = batch[0]
        blocks = _blocks(first, page_url)
        text = f"{_headline(first)} - owner: {first.message.owner or 'nobody'}"
    else:
        blocks = _digest(batch, page_url)
        text = f"{len(batch)} alerts: " + "; ".join(_headline(sending) for sending in batch)
    return {
        "text": words(text, FALLBACK_CHARS_MAX),
        "blocks": [found.to_dict() for found in blocks],
        # Nothing in a message becomes a mention, and no address in it is fetched by Slack.
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _blocks(sending: Sending, page_url: str) -> list[Block]:
    message = sending.message
    found: list[Block] = [
        HeaderBlock(text=PlainTextObject(text=words(_headline(sending), HEADER_CHARS_MAX), emoji=False)),
        SectionBlock(fields=[_markdown(f"*{fact.name}*\n{_shown(fact)}") for fact in facts(message)]),
    ]
    if message.top:
        found.append(SectionBlock(text=_markdown(_top(message))))
    if message.request_ids:
        lines = [_request(page_url, request_id) for request_id in message.request_ids[:REQUESTS_MAX]]
        found.append(SectionBlock(text=_markdown(f"*{proof_heading(message)}*\n" + "\n".join(lines))))
    look, act = block(look_command(message), COMMAND_CHARS_MAX), block(act_command(message), COMMAND_CHARS_MAX)
    found.append(SectionBlock(text=_markdown(f"*Look*\n{look}")))
    found.append(SectionBlock(text=_markdown(f"*Act* {words(act_words(message), ACT_CHARS_MAX)}\n{act}")))
    found.append(ContextBlock(elements=[_markdown(part) for part in _context(sending, page_url)]))
    return found


def _digest(batch: Sequence[Sending], page_url: str) -> list[Block]:
    """Return the blocks of several messages that waited together: one section each, with the proof to begin with."""
    found: list[Block] = [
        HeaderBlock(text=PlainTextObject(text=f"{len(batch)} alerts since the last message", emoji=False))
    ]
    for sending in batch[:BATCH_MAX]:
        message = sending.message
        lines = [code(_headline(sending), HEADER_CHARS_MAX), f"Owner {code(message.owner, NAME_CHARS_MAX)}"]
        lines += [_request(page_url, request_id) for request_id in message.request_ids[:1]]
        found.append(SectionBlock(text=_markdown("\n".join(lines))))
    found.append(ContextBlock(elements=[_markdown("llmtrail")]))
    return found


def _headline(sending: Sending) -> str:
    message = sending.message
    sign = "✅" if message.action is Action.RESOLVE else _SIGNS[message.severity]
    repeat = f"{REPEAT} " if sending.mark is Mark.POSSIBLE_REPEAT else ""
    return f"{sign} {repeat}{title(message)}"


def _shown(fact: Fact) -> str:
    match fact.kind:
        case FactKind.FOREIGN:
            return code(fact.text, NAME_CHARS_MAX)
        case FactKind.OURS:
            return words(fact.text, NAME_CHARS_MAX)
        case FactKind.MOMENT:
            # Shown in each reader's own time zone; the text after the bar is for clients that cannot.
            return f"<!date^{fact.at_ns // 1_000_000_000}^{{date_short_pretty}} {{time_secs}}|{fact.text}>"
        case _:
            assert_never(fact.kind)


def _top(message: Message) -> str:
    lines = []
    for place, top in enumerate(message.top[:TOP_MAX], start=1):
        value = f" {amount(top.value, message.unit)}" if top.value is not None else ""
        limit = f" of {amount(top.limit, message.unit)}" if top.limit is not None else ""
        # Ten names of 150 characters with their amounts stay within a section.
        lines.append(f"{place}. {code(top.name, 150)}{value}{limit}")
    rest = message.coalesced - len(lines)
    return "*The worst*\n" + "\n".join(lines) + (f"\nand {rest:,} more" if rest > 0 else "")


def _request(page_url: str, request_id: str) -> str:
    url = request_link(page_url, request_id)
    shown = code(request_id, 150)
    return f"{shown}  {link(url, 'open')}" if url and len(url) < 400 else shown


def _context(sending: Sending, page_url: str) -> list[str]:
    message = sending.message
    parts = []
    if message.runbook.startswith(("https://", "http://")):
        parts.append(link(message.runbook, "Runbook"))
    elif message.runbook:
        parts.append(f"Runbook {code(message.runbook, NAME_CHARS_MAX)}")
    if page_url:
        parts.append(link(page_url, "llmtrail"))
    parts.append(f"Incident {code(message.incident, NAME_CHARS_MAX)}")
    if sending.mark is Mark.POSSIBLE_REPEAT:
        parts.append(f"{REPEAT}: an earlier attempt may have arrived, its answer was lost.")
    return parts


def _markdown(text: str) -> MarkdownTextObject:
    # Verbatim: Slack makes no links, channels or people of plain words.
    return MarkdownTextObject(text=text, verbatim=True)
