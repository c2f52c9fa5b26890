"""A process that decides messages and delivers them, to be killed: alerting_process.py FOLDER LIVES COUNT URLS."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from alert_house import channel, resolved, soft_limit
from llmtrail.clock import SystemClock
from llmtrail.log.journal import FileJournal, Record
from llmtrail.metrics import Metrics
from llmtrail_alerts.channels.port import Answer, Channel, ChannelKind, Outcome, Sender, Sending
from llmtrail_alerts.channels.senders import new_sender
from llmtrail_alerts.channels.slack import SlackSender
from llmtrail_alerts.delivery import Delivery, Edges
from llmtrail_alerts.message import Message
from llmtrail_alerts.outbox import enqueue, record


class _SwiftSlack(SlackSender):
    """Slack without its pause, so that many messages are under way when the process dies."""

    manners = replace(SlackSender.manners, pause_s=0.0, batch_max=1)

    def __init__(self, one: Channel, unanswered: Path) -> None:
        super().__init__(one, "")
        self._unanswered = unanswered

    def send(self, batch: Sequence[Sending], now_ns: int) -> Answer:
        """Send, and note what may have arrived without an answer: a busy machine may take longer than a target may."""
        answer = super().send(batch, now_ns)
        if answer.outcome is Outcome.UNKNOWN:
            with self._unanswered.open("a") as noted:
                noted.writelines(f"{sending.message.id} {answer.detail}\n" for sending in batch)
        return answer


def _sender(one: Channel, unanswered: Path) -> Sender:
    return _SwiftSlack(one, unanswered) if one.kind is ChannelKind.SLACK_WEBHOOK else new_sender(one, "")


def messages(life: int, count: int) -> list[Message]:
    """Return what one life decides: `count` incidents, of which every second one ends."""
    found = []
    for number in range(count):
        name = f"{life}-{number}"
        begun = soft_limit(id=name, incident=name, at_ns=SystemClock().now_ns())
        found += [begun, resolved(begun)] if number % 2 else [begun]
    return found


def _decide(journal: FileJournal, channels: Sequence[Channel], message: Message, delivery: Delivery) -> None:
    entries = [enqueue(message, one, SystemClock().now_ns()) for one in channels]
    decided: Record = (f'["decided","{message.id}"]', b"1")
    journal.put([decided, *map(record, entries)])
    delivery.offer(entries)


def main(folder: Path, life: int, count: int, urls: dict[str, str]) -> None:
    """Deliver what waits, and decide more."""
    channels = [channel(ChannelKind(kind), url) for kind, url in urls.items()]
    journal = FileJournal(folder / "journal.db")
    new = partial(_sender, unanswered=folder / "unanswered.txt")
    edges = Edges(journal=journal, clock=SystemClock(), jitter=lambda: 0.0, metrics=Metrics(), new_sender=new)
    delivery = Delivery({one.name: one for one in channels}, edges)
    delivery.offer(delivery.recovered(list(journal.load())))
    sys.stdout.write("started\n")
    sys.stdout.flush()
    for message in messages(life, count):
        _decide(journal, channels, message, delivery)
    sys.stdin.read()  # until the parent closes it
    delivery.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))
