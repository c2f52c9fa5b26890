"""Send one marked test message to a channel, and its end where it would stay open. Knows no rules and no journal."""

import shlex
from collections.abc import Callable, Iterator

from llmtrail.clock import Clock
from llmtrail_alerts.channels.port import Answer, Channel, ChannelKind, Outcome, Sender, Sending
from llmtrail_alerts.message import Action, Message
from llmtrail_alerts.model import Reason, Severity, Unit

# These open something that somebody would have to close.
_OPENS = frozenset({ChannelKind.PAGERDUTY, ChannelKind.ALERTMANAGER})


def trial(channel: str, owner: str, action: Action, now_ns: int) -> Message:
    """Return a message that says that it is a test; two of the same moment and channel are one incident."""
    return Message(
        id=f"test/{channel}/{now_ns}/{action}",
        incident=f"test/{channel}/{now_ns}",
        action=action,
        severity=Severity.INFO,
        title=f"llmtrail reaches channel {channel}",
        rule="test-send",
        scope="",
        scope_name="nothing: this is a test, and nobody needs to do anything",
        reason=Reason.RESOLVED if action is Action.RESOLVE else Reason.FIRST,
        at_ns=now_ns,
        since_ns=now_ns,
        unit=Unit.COUNT,
        level="test",
        owner=owner,
        look="llmtrail doctor",
        act=f"llmtrail alert test-send --channel {shlex.quote(channel)}",
        test=True,
    )


def try_out(
    channel: Channel, owner: str, new_sender: Callable[[Channel], Sender], clock: Clock
) -> Iterator[tuple[Action, Answer]]:
    """Send the test, once; yield what the channel answered to it, and to its end where there is one."""
    try:
        sender = new_sender(channel)
    except (ImportError, OSError, ValueError) as error:
        yield Action.TRIGGER, Answer(Outcome.REFUSED, f"the channel cannot be used: {error}")
        return
    now_ns = clock.now_ns()
    try:
        for action in (Action.TRIGGER, Action.RESOLVE) if channel.kind in _OPENS else (Action.TRIGGER,):
            answer = sender.send([Sending(trial(channel.name, owner, action, now_ns))], clock.now_ns())
            yield action, answer
            if answer.outcome in {Outcome.REFUSED, Outcome.NOT_DELIVERED}:
                return  # nothing was opened
    finally:
        sender.close()
