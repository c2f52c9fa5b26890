"""What tests of alerts stand on: a journal in memory, messages, channels, and a delivery between them."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from llmtrail.clock import SystemClock
from llmtrail.metrics import Metrics
from llmtrail_alerts.channels.port import Channel, ChannelKind, Secret, Sender
from llmtrail_alerts.channels.senders import new_sender
from llmtrail_alerts.delivery import Delivery, Edges
from llmtrail_alerts.message import Action, Message
from llmtrail_alerts.model import Reason, Severity, Unit
from llmtrail_alerts.outbox import Entry, Record, enqueue, record

NOW_NS = 1_795_269_720_000_000_000  # 2026-11-21 14:02:00 UTC
PAGE = "https://llmtrail.example"


class MemoryJournal:
    """A journal that outlives the couriers of one test, with every step that was written."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.steps: list[Sequence[Record]] = []
        self.broken: Exception | None = None
        self.refused = 0
        self._lock = threading.Lock()

    def put(self, records: Sequence[Record]) -> None:
        with self._lock:
            if self.broken is not None:
                self.refused += 1
                raise self.broken
            self.steps.append(records)
            for key, value in records:
                if value is None:
                    self.held.pop(key, None)
                else:
                    self.held[key] = value


def soft_limit(**changed: object) -> Message:
    """Return a message of a soft limit, with what is said otherwise."""
    message = Message(
        id="m-1",
        incident="budget/search-daily/2026-11-21/1",
        action=Action.TRIGGER,
        severity=Severity.WARNING,
        title="feature search has used 82 % of its $50.00 a day",
        rule="search-daily",
        scope='["","feature","search"]',
        scope_name="feature search",
        reason=Reason.FIRST,
        at_ns=NOW_NS,
        since_ns=NOW_NS - 60_000_000_000,
        value=41_200_000_000,
        limit=50_000_000_000,
        unit=Unit.NANOUSD,
        level="80 %",
        period="day 2026-11-21 (UTC)",
        period_end_ns=NOW_NS + 598 * 60_000_000_000,
        forecast_ns=NOW_NS + 480_000_000_000,
        request_ids=("r-1001", "r-1002", "r-1003", "r-1004", "r-1005"),
        owner="team-search",
        runbook="https://runbooks.example/search-spend",
    )
    return replace(message, **changed)  # type: ignore[arg-type]  # the fields' own names and types, as tests write them


def resolved(message: Message, **changed: object) -> Message:
    """Return the end of a message's incident."""
    values: dict[str, object] = {
        "id": f"{message.id}-end",
        "action": Action.RESOLVE,
        "reason": Reason.RESOLVED,
        "at_ns": message.at_ns + 1,
        **changed,
    }
    return replace(message, **values)  # type: ignore[arg-type]  # as above


def channel(kind: ChannelKind, url: str, name: str = "", **changed: object) -> Channel:
    """Return a channel of this kind to a recorder's address."""
    paths = {ChannelKind.PAGERDUTY: "/v2/enqueue", ChannelKind.SLACK_BOT: "/api/", ChannelKind.SLACK_WEBHOOK: "/T/B/x"}
    made = Channel(
        name=name or str(kind),
        kind=kind,
        url=Secret(url + paths.get(kind, "")),
        secret=Secret("a-key"),
        target="C1",
        timeout_s=1.0,
    )
    return replace(made, **changed)  # type: ignore[arg-type]  # as above


@contextmanager
def delivering(
    channels: Sequence[Channel], journal: MemoryJournal | None = None, make: Callable[[Channel], Sender] | None = None
) -> Iterator["House"]:
    """Run a delivery over real time; it is stopped at the end."""
    house = House({one.name: one for one in channels}, journal or MemoryJournal(), make)
    try:
        yield house
    finally:
        house.delivery.stop()


class House:
    """A delivery, its journal, its metrics, and what ended."""

    def __init__(
        self, channels: Mapping[str, Channel], journal: MemoryJournal, make: Callable[[Channel], Sender] | None
    ) -> None:
        self.channels = channels
        self.journal = journal
        self.metrics = Metrics()
        self.ended: list[Entry] = []
        edges = Edges(
            journal=journal,
            clock=SystemClock(),
            jitter=lambda: 0.0,
            metrics=self.metrics,
            new_sender=make or (lambda one: new_sender(one, PAGE)),
            on_done=self.ended.append,
        )
        self.delivery = Delivery(channels, edges)

    def tell(self, message: Message, name: str) -> Entry:
        """Decide a message: write its entry, then offer it, as the engine does."""
        entry = enqueue(message, self.channels[name], SystemClock().now_ns())
        self.journal.put([record(entry)])
        self.delivery.offer([entry])
        return entry
