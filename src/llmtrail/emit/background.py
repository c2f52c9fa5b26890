"""The SDK's two daemon threads: one encodes, one sends. Composition and waiting only; decisions are in the parts.

Two, because a gateway that answers slowly must not keep calls from being encoded and spooled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Thread
from typing import Final

from llmtrail.clock import Clock
from llmtrail.emit.assemble import Assembler
from llmtrail.emit.config import EmitConfig, default_events
from llmtrail.emit.encoder import Encoder, FlushMark, Policy
from llmtrail.emit.handoff import Handoff
from llmtrail.emit.outbox import Outbox
from llmtrail.emit.sender import Poster, Sender
from llmtrail.emit.spool import Spool, SpoolLimits
from llmtrail.emit.tally import Tally

# Callers do not wake the encoder (a wake-up costs them microseconds): it looks this often while calls come in ...
_PACE_S: Final = 0.05
# ... and sleeps until woken after this long without any.
_QUIET_ROUNDS: Final = 20
_SLEEP_S: Final = 60.0
# At exit: so long for sending, the rest of a second for spooling what could not be sent.
SEND_AT_EXIT_S: Final = 0.5
ENCODE_AT_EXIT_S: Final = 0.9
_POLL_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Edges:
    """What enters from outside: time, randomness, the network, the content policy."""

    clock: Clock
    random_bytes: Callable[[int], bytes]
    poster: Poster
    policy: Policy
    spool_limits: SpoolLimits | None = None


class Background:
    """Everything behind the hand-off queue of one process."""

    def __init__(self, config: EmitConfig, handoff: Handoff, tally: Tally, edges: Edges) -> None:
        self._handoff = handoff
        self._tally = tally
        self._clock = edges.clock
        spool = None
        if config.spool is not None:
            spool = Spool(config.spool, edges.random_bytes(4).hex(), tally, edges.spool_limits)
        self.outbox = Outbox(tally, spool, config.spool)
        self.assembler = Assembler(default_events(config), edges.random_bytes)
        self._encoder = Encoder(handoff, self.assembler, self.outbox, edges.policy, tally)
        self._sender = Sender(self.outbox, edges.poster, tally, edges.clock, lambda: edges.random_bytes(1)[0] / 255)
        self._is_stopping = False
        self._threads: tuple[Thread, ...] = ()

    def start(self) -> None:
        """Start the threads that do not run. Raises RuntimeError where the interpreter allows no more threads."""
        encoder, sender = self._threads or (None, None)
        if encoder is None or not encoder.is_alive():
            encoder = Thread(target=self._run_encoder, name="llmtrail-encoder", daemon=True)
            encoder.start()
        if sender is None or not sender.is_alive():
            sender = Thread(target=self._sender.run, name="llmtrail-sender", daemon=True)
            sender.start()
        self._threads = (encoder, sender)

    @property
    def is_running(self) -> bool:
        """Say whether both threads run."""
        return bool(self._threads) and all(thread.is_alive() for thread in self._threads)

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that was handed over before has left, at most `timeout_s` seconds; say whether it has."""
        mark = FlushMark()
        self._handoff.items.append((None, mark, None, None, 0))
        self._handoff.wake.set()

        def is_gone() -> bool:
            arrived = mark.arrived
            return arrived is not None and self.outbox.departed >= arrived

        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        hurried = False
        with self.outbox.changed:
            while not is_gone():
                if mark.arrived is not None and not hurried:
                    hurried = True
                    self._sender.hurry()
                if self._clock.monotonic_ns() >= deadline_ns:
                    return False
                self.outbox.changed.wait(_POLL_S)
        return True

    def close(self) -> None:
        """Send for half a second, spool the rest durably, end the threads: under a second in all, nothing lost."""
        began_ns = self._clock.monotonic_ns()
        self._is_stopping = True
        self._handoff.wake.set()
        is_encoding = bool(self._threads) and self._threads[0].is_alive()
        if not is_encoding:
            self._drain()
        self._sender.hurry()
        self._wait(lambda: self._is_encoded() and self._is_sent_or_hopeless(), began_ns, SEND_AT_EXIT_S)
        self._close_outbox()
        self._wait(self._is_encoded, began_ns, ENCODE_AT_EXIT_S)
        self._sender.stop()
        self._close_outbox()
        self._let_go()

    def drain_now(self) -> None:
        """Encode, on the caller's thread, what came in after the threads had ended."""
        self._drain()
        self._close_outbox()
        self._let_go()

    def abandon(self) -> None:
        """Let go of files without writing; for a forked child."""
        self.outbox.abandon()

    def _run_encoder(self) -> None:
        handoff = self._handoff
        quiet_rounds = 0
        try:
            handoff.is_idle = False
            while not self._is_stopping:
                taken = self._encode_once()
                quiet_rounds = 0 if taken or not self._is_at_rest() else quiet_rounds + 1
                if quiet_rounds >= _QUIET_ROUNDS:
                    # Callers look at is_idle after they append, so an item appended before this line is seen below.
                    handoff.is_idle = True
                    if not handoff.items:
                        handoff.wake.wait(_SLEEP_S)
                    handoff.is_idle = False
                    quiet_rounds = 0
                elif not handoff.items or taken < _PACE_WORTH:
                    handoff.wake.wait(_PACE_S)
                handoff.wake.clear()
            self._drain()
        finally:
            # Whatever ended this thread: the next caller sees that nobody is awake, and has it started anew.
            handoff.is_idle = True

    def _encode_once(self) -> int:
        try:
            return self._encoder.run_once(self._clock)
        except Exception as error:  # noqa: BLE001  # A loop's edge: one bad batch must not end the recording.
            self._tally.fail("encoder_fault", repr(error))
            return 0

    def _drain(self) -> None:
        while self._handoff.items:
            self._encode_once()
        self._encoder.release_all(self._clock)

    def _is_at_rest(self) -> bool:
        return not self.assembler.held and not self.outbox.is_dirty

    def _is_encoded(self) -> bool:
        encoder_ended = not self._threads or not self._threads[0].is_alive()
        return encoder_ended and not self._handoff.items and not self.assembler.held

    def _is_sent_or_hopeless(self) -> bool:
        outbox = self.outbox
        if self._sender.is_backing_off:
            return not outbox.in_memory or outbox.has_spool
        return not outbox.in_memory and not outbox.spooled

    def _close_outbox(self) -> None:
        try:
            self.outbox.close(self._clock.monotonic_ns())
        except OSError as error:
            self._tally.tell("could not spool everything at exit", "spool_failed", error)

    def _let_go(self) -> None:
        try:
            self.outbox.let_go()
        except OSError as error:
            self._tally.tell("could not close its spool", "spool_failed", error)

    def _wait(self, predicate: Callable[[], bool], began_ns: int, until_s: float) -> None:
        deadline_ns = began_ns + int(until_s * 1e9)
        with self.outbox.changed:
            while not predicate() and self._clock.monotonic_ns() < deadline_ns:
                self.outbox.changed.wait(_POLL_S)


# A batch this large means that callers are faster than the pace: go on at once.
_PACE_WORTH: Final = 100
