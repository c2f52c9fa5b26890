"""Look for the requests that prove what is told, after it was decided and written, and hand it on. Decides nothing.

Callers hear of a limit at once; only the message to people waits for its proof, and not for long.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from llmtrail.clock import Clock
from llmtrail.core.scope import Scope
from llmtrail.store.alerts import AlertRow
from llmtrail.store.proof import Worst
from llmtrail_alerts.message import Message
from llmtrail_alerts.outbox import Entry
from llmtrail_alerts.proof import Question

_LOG = logging.getLogger(__name__)

# What is counted already may still be on its way into the store: it is looked for again, at most for so long since it
# was decided. Whatever waited for longer goes without: a store that is slow delays no message by look after look.
WAIT_S_MAX = 0.5
AGAIN_S = 0.15
_NS = 1_000_000_000
Ids = tuple[str, ...]
Asks = Callable[[Message], Question | None]


class Proof(Protocol):
    """What finds requests."""

    def requests(self, scope: Scope, since_ns: int, worst: Worst, modes: Sequence[str]) -> Ids:
        """Return their ids, the worst first, as far as they are there; none where they cannot be had soon."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Where to hand on to."""

    deliver: Callable[[Sequence[Entry]], None]
    store: Callable[[Sequence[AlertRow]], None]


@dataclass(frozen=True, slots=True)
class _Handed:
    at_ns: int
    entries: Sequence[Entry]
    rows: Sequence[AlertRow]
    asks: Asks


class Prover:
    """What was decided and written, on its way, in its order; and the thread that looks."""

    def __init__(self, proof: Proof, steps: Steps, clock: Clock) -> None:
        self._proof = proof
        self._steps = steps
        self._clock = clock
        self._wake = threading.Condition()
        self._waiting: deque[_Handed] = deque()
        self._stopped = False
        self._pause = threading.Event()
        self._thread = threading.Thread(target=self._run, name="llmtrail-alert-proof", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the look under way; what waits is in the journal."""
        with self._wake:
            self._stopped = True
            self._wake.notify()
        self._pause.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def hand_on(self, entries: Sequence[Entry], rows: Sequence[AlertRow], asks: Asks) -> None:
        """Take what the journal holds already, and what to ask for a message. Returns at once.

        A row that has a message's id is proven by the same requests.
        """
        if not entries and not rows:
            return
        with self._wake:
            self._waiting.append(_Handed(self._clock.monotonic_ns(), entries, rows, asks))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stopped or self._waiting)
                if self._stopped:
                    return
                handed = self._waiting.popleft()
            try:
                self._prove(handed)
            except Exception:  # noqa: BLE001 - as the comment says
                # The loop's edge: what was not handed on is in the journal, and is sent after the next start.
                _LOG.exception("messages wait in the journal")

    def _prove(self, handed: _Handed) -> None:
        known: dict[str, Ids] = {}
        for entry in handed.entries:
            message = entry.message
            if message.id not in known:
                known[message.id] = self._ids(handed, message)
            self._steps.deliver([_with_ids(entry, known[message.id]) if known[message.id] else entry])
        rows = [replace(row, request_ids=known.get(row.alert_id) or row.request_ids) for row in handed.rows]
        self._steps.store(rows)

    def _ids(self, handed: _Handed, message: Message) -> Ids:
        """Return the requests that prove a message, as far as they are found in time."""
        until_ns = handed.at_ns + int(WAIT_S_MAX * _NS)
        try:
            question = handed.asks(message)
            while question is not None and self._clock.monotonic_ns() < until_ns:
                found = self._proof.requests(question.scope, question.since_ns, question.worst, question.modes)
                if found or self._pause.wait(AGAIN_S):
                    return found
        except Exception:  # noqa: BLE001 - the loop's edge: an alert is worth more than its proof.
            _LOG.exception("an alert goes without the requests that prove it")
        return ()


def _with_ids(entry: Entry, ids: Ids) -> Entry:
    return msgspec.structs.replace(entry, message=replace(entry.message, request_ids=ids))
