"""Look for the requests that prove what is told, after it was decided and written, and hand it on. Decides nothing.

Callers hear of a limit at once; only the message to people waits for its proof, and not for long.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import msgspec

from llmtrail.clock import Clock
from llmtrail.core.scope import Scope
from llmtrail.store.alerts import AlertRow
from llmtrail.store.proof import Worst
from llmtrail_alerts.outbox import Entry
from llmtrail_alerts.proof import Question

_LOG = logging.getLogger(__name__)

# What is counted already may still be on its way into the store: it is looked for again, at most for so long since it
# was decided. Whatever waited for longer goes without: a store that is slow delays no message by look after look.
WAIT_S_MAX = 0.5
AGAIN_S = 0.15
_NS = 1_000_000_000
Ids = tuple[str, ...]


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
    questions: Mapping[str, Question]


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

    def hand_on(self, entries: Sequence[Entry], rows: Sequence[AlertRow], questions: Mapping[str, Question]) -> None:
        """Take what the journal holds already, and what to ask for, by the id of message and row. Returns at once."""
        if not entries and not rows:
            return
        with self._wake:
            self._waiting.append(_Handed(self._clock.monotonic_ns(), entries, rows, questions))
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
            ids = self._ids(handed, entry.message.id, known)
            self._steps.deliver([_with_ids(entry, ids) if ids else entry])
        rows = [replace(row, request_ids=known.get(row.alert_id) or row.request_ids) for row in handed.rows]
        self._steps.store(rows)

    def _ids(self, handed: _Handed, name: str, known: dict[str, Ids]) -> Ids:
        question = handed.questions.get(name)
        if name not in known and question is not None:
            known[name] = self._looked_for(question, handed.at_ns + int(WAIT_S_MAX * _NS))
        return known.get(name, ())

    def _looked_for(self, question: Question, until_ns: int) -> Ids:
        while self._clock.monotonic_ns() < until_ns:
            if ids := self._ask(question):
                return ids
            if self._pause.wait(AGAIN_S):
                break
        return ()

    def _ask(self, question: Question) -> Ids:
        try:
            return self._proof.requests(question.scope, question.since_ns, question.worst, question.modes)
        except Exception:  # noqa: BLE001 - the loop's edge: an alert is worth more than its proof.
            _LOG.exception("an alert goes without the requests that prove it")
            return ()


def _with_ids(entry: Entry, ids: Ids) -> Entry:
    return msgspec.structs.replace(entry, message=replace(entry.message, request_ids=ids))
