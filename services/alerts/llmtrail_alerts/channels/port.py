"""What a channel is, what is given to it and what it answers. Knows no kind of channel and no network."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from llmtrail_alerts.message import Message
from llmtrail_alerts.model import Severity

# A channel that fails so long hands over to its fallback: at night nobody should wait longer for the second way.
DEADLINE_WITH_FALLBACK_S = 300
# Without one it goes on for a day: late is better than never, but older news is history.
DEADLINE_ALONE_S = 86_400
TIMEOUT_S = 10.0  # of one attempt; targets answer within a second


class Secret:
    """A text that is never shown: not in logs, not in errors, not in a representation."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the one place that needs it."""
        return self._text

    def __bool__(self) -> bool:
        """Say whether there is one."""
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret()"


class ChannelKind(StrEnum):
    """The kinds of channels that `owners.toml` may name."""

    SLACK_WEBHOOK = "slack_webhook"  # url: the incoming webhook's address
    SLACK_BOT = "slack_bot"  # secret: the bot's token (xoxb-); target: the Slack channel's id
    PAGERDUTY = "pagerduty"  # secret: the routing key of an Events API v2 integration
    ALERTMANAGER = "alertmanager"  # url: the server's, without /api/v2; secret: a bearer token, if it asks for one
    WEBHOOK = "webhook"  # url: yours; secret: the key that requests are signed with
    APPRISE = "apprise"  # url: apprise's own (mailto://, msteams:// ...)


# Where the kinds live that have one address for everybody. A channel's own url wins: a proxy, a regional host, a test.
DEFAULT_URLS = {
    ChannelKind.SLACK_BOT: "https://slack.com/api/",
    ChannelKind.PAGERDUTY: "https://events.pagerduty.com/v2/enqueue",  # in Europe: https://events.eu.pagerduty.com/...
}
# What each kind cannot do without.
NEEDS: dict[ChannelKind, tuple[str, ...]] = {
    ChannelKind.SLACK_WEBHOOK: ("url",),
    ChannelKind.SLACK_BOT: ("secret", "target"),
    ChannelKind.PAGERDUTY: ("secret",),
    ChannelKind.ALERTMANAGER: ("url",),
    ChannelKind.WEBHOOK: ("url", "secret"),
    ChannelKind.APPRISE: ("url",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One way to reach somebody, as `owners.toml` names it. Its address and keys are secrets."""

    name: str
    kind: ChannelKind
    url: Secret = field(default_factory=lambda: Secret(""))
    secret: Secret = field(default_factory=lambda: Secret(""))
    target: str = ""
    fallback: str = ""  # the channel that is told when this one cannot be reached
    deadline_s: int = 0  # 0: five minutes with a fallback, a day without
    timeout_s: float = TIMEOUT_S
    proxy: Secret = field(default_factory=lambda: Secret(""))  # the environment's is never taken
    ca_file: Path | None = None  # who signs the target's certificate, where that is not a public authority

    @property
    def address(self) -> str:
        """Return where requests go; "" where none is known."""
        return self.url.reveal() or DEFAULT_URLS.get(self.kind, "")

    @property
    def keeps_incidents(self) -> bool:
        """Say whether the target keeps what fires until it is told that it ended; the others only show text."""
        return self.kind in {ChannelKind.PAGERDUTY, ChannelKind.ALERTMANAGER}

    @property
    def gives_up_after_s(self) -> int:
        """Return for how long a message is tried."""
        return self.deadline_s or (DEADLINE_WITH_FALLBACK_S if self.fallback else DEADLINE_ALONE_S)


def missing(channel: Channel) -> list[str]:
    """Return what the channel lacks, by name: empty when it can be used."""
    return [name for name in NEEDS[channel.kind] if not getattr(channel, name)]


class Mark(StrEnum):
    """Whether this message may have arrived before."""

    FIRST = "first"
    POSSIBLE_REPEAT = "possible_repeat"  # an earlier attempt's outcome could not be known


class Outcome(StrEnum):
    """What became of an attempt."""

    DELIVERED = "delivered"
    REFUSED = "refused"  # trying again would be refused again
    NOT_DELIVERED = "not_delivered"  # surely not; try again
    UNKNOWN = "unknown"  # perhaps; try again, marked as a possible repeat where the target cannot tell


@dataclass(frozen=True, slots=True)
class Answer:
    """What a channel said to one attempt. `detail` is for people and holds no secret."""

    outcome: Outcome
    detail: str
    retry_after_s: float | None = None  # how long the target asked us to wait


@dataclass(frozen=True, slots=True)
class Sending:
    """One message of an attempt."""

    message: Message
    mark: Mark = Mark.FIRST
    former: Severity | None = None  # at which the target was told before that the incident fires; it keeps that alive


@dataclass(frozen=True, slots=True)
class Manners:
    """How a kind of channel wants to be treated."""

    batch_max: int = 1  # messages that one request may carry
    coalesce_from: int = 2  # so many must wait before they share one: a message of its own says more
    pause_s: float = 0.0  # between two requests
    # Whether the target knows a repeat by itself (by dedup_key or labels), so that it needs no mark.
    knows_repeats: bool = False
    # How often a firing alert is sent again so that the target does not take it for resolved; 0: never.
    keep_alive_s: float = 0


class Sender(Protocol):
    """Sends to one channel. One thread uses it; it raises nothing: whatever happens is an answer."""

    manners: Manners

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Send the batch in one request."""

    def close(self) -> None:
        """Close connections."""
