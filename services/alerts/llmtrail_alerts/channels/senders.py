"""Make the sender of a channel's kind. The one place that knows all kinds."""

from typing import assert_never

from llmtrail.outgoing import AddressRule
from llmtrail_alerts.channels.alertmanager import AlertmanagerSender
from llmtrail_alerts.channels.apprise import AppriseSender
from llmtrail_alerts.channels.pagerduty import PagerDutySender
from llmtrail_alerts.channels.port import Channel, ChannelKind, Sender
from llmtrail_alerts.channels.post import ADDRESSES
from llmtrail_alerts.channels.slack import SlackSender
from llmtrail_alerts.channels.webhook import WebhookSender


def new_sender(channel: Channel, page_url: str, addresses: AddressRule = ADDRESSES) -> Sender:
    """Return what sends to the channel; links in its messages go to `page_url`, where there is one.

    Raises OSError or ssl.SSLError where the channel's ca_file cannot be used, ImportError without llmtrail[apprise].
    """
    match channel.kind:
        case ChannelKind.SLACK_WEBHOOK | ChannelKind.SLACK_BOT:
            return SlackSender(channel, page_url, addresses)
        case ChannelKind.PAGERDUTY:
            return PagerDutySender(channel, page_url, addresses)
        case ChannelKind.ALERTMANAGER:
            return AlertmanagerSender(channel, page_url, addresses)
        case ChannelKind.WEBHOOK:
            return WebhookSender(channel, page_url, addresses)
        case ChannelKind.APPRISE:
            return AppriseSender(channel, page_url, addresses)
        case _:
            assert_never(channel.kind)
