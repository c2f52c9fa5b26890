"""The door of the SDK: takes what a caller hands over, in microseconds, and never raises. Knows nothing of providers.

Everything that costs (building, ids, redaction, encoding, compression, sending) happens in background threads.
"""

from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any

from llmtrail.emit.background import Background, Edges
from llmtrail.emit.config import EmitConfig
from llmtrail.emit.context import NoteKind, Request
from llmtrail.emit.handoff import QUEUED_ITEMS_MAX, Builder, Handoff, Item, Weight
from llmtrail.emit.limit_source import limit_source
from llmtrail.emit.limits import Limits, LimitsMode, mode_of
from llmtrail.emit.tally import LOGGER, DropReason, Stats, Tally

# What is to be done when a recorder begins to work, on the thread that made its first call.
when_begun: list[Callable[["Recorder"], None]] = []
# What may still hold finished calls back (a stream that nobody reads any more) lets go of them first.
before_flush: list[Callable[[], None]] = []


class Recorder:
    """Queues calls and notes for the background, which it starts at the first of them."""

    def __init__(self, config: EmitConfig, edges: Edges) -> None:
        self.config = config
        self._edges = edges
        self._is_disabled = config.disabled
        mode = LimitsMode.OFF if config.disabled else mode_of(config.limits)
        # What other processes and this one may spend: asked before each call of a wrapped client.
        self.limits = Limits(mode, partial(limit_source, config), edges.clock, lambda: edges.random_bytes(1)[0] / 255)
        self._begin()

    def _begin(self) -> None:
        """Start from nothing: made anew, or forked (the parent keeps, and sends, what was queued)."""
        self._handoff = Handoff()
        if self._is_disabled:
            self._handoff.items_max = 0  # Nobody comes in, and callers need no question of their own for it.
        self._tally = Tally()
        self._lock = RLock()
        self._turned_away = 0
        self._background: Background | None = None
        self._is_closed = False

    def record_parts(
        self, build: Builder, parts: Any, started_at_ns: int, request: Request | None, size_bytes: Weight
    ) -> None:
        """Hand one finished call over: `build(parts)` makes its event fields in the background.

        `request` is `current_request()` as it was when the call began; `size_bytes` comes from
        `snapshot`, or tells them when the background asks.
        Never blocks and never raises; what cannot be taken is counted by reason.
        """
        handoff = self._handoff
        items = handoff.items
        if len(items) >= handoff.items_max:
            self._turn_away()
            return
        items.append((build, parts, started_at_ns, request, size_bytes))
        if handoff.is_idle:
            self._wake()

    def note(self, request: Request, kind: NoteKind, fields: dict[str, Any]) -> None:
        """Hand over what became known of a request's call after it was made. Never blocks, never raises."""
        handoff = self._handoff
        if self._is_disabled or len(handoff.items) >= QUEUED_ITEMS_MAX:
            return
        item: Item = (None, fields, kind, request, 0)
        handoff.items.append(item)
        if handoff.is_idle:
            self._wake()

    def flush(self, timeout_s: float, *, is_patient: bool = True) -> bool:
        """Wait until everything recorded before has left, at most `timeout_s` seconds; say whether it has.

        False means that calls are still in memory or in the spool; none of them is lost. Whoever is not patient waits
        no longer once the gateway is known to be away.
        """
        if self._is_disabled or self._is_closed:
            return True
        try:
            for settle in before_flush:
                settle()
            return self._running().flush(timeout_s, is_patient=is_patient)
        except Exception as error:  # noqa: BLE001  # The SDK never raises into the application.
            LOGGER.warning("llmtrail could not flush: %r", error)
            return False

    def stats(self) -> Stats:
        """Return what became of everything recorded so far."""
        with self._tally.lock:
            tally, background = self._tally, self._background
            queued, revisions, spooled = self._handoff.calls(), 0, 0
            recorded = self._handoff.taken_calls + queued + self._turned_away
            if background is not None:
                queued += background.assembler.held + background.outbox.in_memory
                revisions = background.assembler.revisions
                spooled = background.outbox.spooled
            return Stats(
                recorded=recorded + revisions,
                adopted=tally.adopted,
                sent_accepted=tally.accepted,
                rejected=dict(tally.rejected),
                dropped=dict(tally.dropped),
                stripped=dict(tally.stripped),
                moved=dict(tally.moved),
                without_request=tally.without_request,
                spooled_pending=spooled,
                queued=queued,
                send_failures=dict(tally.send_failures),
                limits=self.limits.counts(),
            )

    def drain(self, timeout_s: float) -> None:
        """Have all that was handed over written down before the process is gone, in about `timeout_s` seconds."""
        if self._is_disabled or (self._background is None and not self._handoff.items):
            return
        if self._background is None:
            self._background = Background(self.config, self._handoff, self._tally, self._edges)
        self._background.drain(timeout_s)

    def close(self) -> None:
        """Send or spool everything in under a second and end the threads. What comes later is spooled at once."""
        self.limits.stop()
        with self._lock:
            if self._is_closed or self._is_disabled:
                return
            self._is_closed = True
            background = self._background
        self._handoff.is_idle = True
        if background is not None:
            background.close()

    def after_fork(self) -> None:
        """Begin anew in a forked child: its own queue, threads and spool; the parent's calls are the parent's."""
        background = self._background
        self.limits = self.limits.after_fork()
        self._begin()
        if background is not None:
            background.abandon()

    def _turn_away(self) -> None:
        """Count a call that found no room."""
        if not self._is_disabled:
            with self._tally.lock:
                self._turned_away += 1
                self._tally.drop(DropReason.QUEUE_FULL, "calls come faster than they can be encoded")

    def _wake(self) -> None:
        """Start or wake the background; rare."""
        try:
            if self._is_closed:
                self._record_late()
            else:
                self._running()
                self._handoff.wake.ring()
        except RuntimeError as error:
            # A subinterpreter, or an interpreter that ends: slow, on the caller's thread, but written down.
            self._tally.tell("may start no threads here; calls are written to the spool at once", "threads", error)
            with self._lock:
                if self._background is not None:
                    self._background.drain(0.0)
        except Exception as error:  # noqa: BLE001  # The SDK never raises into the application; the call stays queued.
            self._tally.tell("could not start its threads; calls wait in memory", "threads", repr(error))

    def _running(self) -> Background:
        with self._lock:
            if self._background is None:
                self._background = Background(self.config, self._handoff, self._tally, self._edges)
            if not self._background.is_running:
                self._background.start()
                for act in when_begun:
                    act(self)
            return self._background

    def _record_late(self) -> None:
        """Spool a call that came after the exit handlers ran: slow, on the caller's thread, but not lost."""
        with self._lock:
            if self._background is None:
                self._background = Background(self.config, self._handoff, self._tally, self._edges)
            self._background.drain_now()
