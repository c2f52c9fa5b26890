"""The SDK's two daemon threads: one encodes, one sends. Composition and waiting only; decisions are in the parts.

Two, because a gateway that answers slowly must not keep calls from being encoded and spooled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread
from typing import Final
from urllib.parse import urlsplit

from llmtrail.clock import Clock
from llmtrail.emit.assemble import Assembler
from llmtrail.emit.config import EmitConfig, default_events
from llmtrail.emit.encoder import Encoder, FlushMark, Policy
from llmtrail.emit.handoff import Handoff
from llmtrail.emit.outbox import Outbox
from llmtrail.emit.sender import Places, Poster, Sender
from llmtrail.emit.spool import Spool, SpoolLimits
from llmtrail.emit.tally import Tally

# Callers do not wake the encoder (a wake-up costs them microseconds): it looks this often while calls come in, so that
# a process killed loses no more than this and what it encodes ...
_PACE_S: Final = 0.005
# ... and sleeps until woken after half a second without any.
_QUIET_ROUNDS: Final = 100
_SLEEP_S: Final = 60.0
# At exit: so long for sending, the rest of a second for spooling what could not be sent.
SEND_AT_EXIT_S: Final = 0.5
ENCODE_AT_EXIT_S: Final = 0.9
_POLL_S: Final = 0.005
# What children left is sent at exit too, unless reading it would take long.
_ADOPT_AT_EXIT_BYTES: Final = 16 * 1024 * 1024


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
        places = Places(config.kafka or without_credentials(config.url), config.spool)
        self._sender = Sender(
            self.outbox, edges.poster, tally, edges.clock, lambda: edges.random_bytes(1)[0] / 255, places
        )
        self._is_stopping = False
        self._threads: tuple[Thread, ...] = ()

    def start(self) -> None:
        """Start the threads that do not run. Raises RuntimeError where the interpreter allows no more threads."""
        encoder, sender = (*self._threads, None, None)[:2]
        if encoder is None or not encoder.is_alive():
            encoder = Thread(target=self._run_encoder, name="llmtrail-encoder", daemon=True)
            encoder.start()
            self._threads = (encoder, sender) if sender is not None else (encoder,)
        if sender is None or not sender.is_alive():
            sender = Thread(target=self._sender.run, name="llmtrail-sender", daemon=True)
            sender.start()
        self._threads = (encoder, sender)

    @property
    def is_running(self) -> bool:
        """Say whether both threads run."""
        return len(self._threads) == 2 and all(thread.is_alive() for thread in self._threads)

    @property
    def is_encoding(self) -> bool:
        """Say whether a thread encodes; else its caller may."""
        return bool(self._threads) and self._threads[0].is_alive()

    def flush(self, timeout_s: float, *, is_patient: bool = True) -> bool:
        """Wait until all that was handed over before has left, at most `timeout_s` seconds; say whether it has.

        Whoever is not patient waits no longer where the gateway is away and all is in the spool. What processes that
        are gone left goes along.
        """
        self._adopt()
        mark = FlushMark()
        self._handoff.items.append((None, mark, None, None, 0))
        self._handoff.wake.ring()

        def is_gone() -> bool:
            arrived = mark.arrived
            return arrived is not None and (self.outbox.departed >= arrived or (not is_patient and self._is_hopeless()))

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

    def drain(self, timeout_s: float) -> None:
        """Have all that was handed over written down, in about `timeout_s` seconds.

        Takes no lock that the thread which a signal interrupted may hold.
        """
        if not self.is_encoding:
            self._drain()
            return
        mark = FlushMark()
        self._handoff.items.append((None, mark, None, None, 0))
        self._handoff.wake.ring()
        pause = Event()
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while mark.arrived is None and self.is_encoding and self._clock.monotonic_ns() < deadline_ns:
            pause.wait(_DRAIN_POLL_S)

    def close(self) -> None:
        """Send for half a second, spool the rest durably, end the threads: under a second in all, nothing lost."""
        began_ns = self._clock.monotonic_ns()
        self._is_stopping = True
        self._handoff.wake.ring()
        if not self.is_encoding:
            self._drain()
        if self.is_running:
            self._adopt()
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
            self._drain()
        finally:
            # Whatever ended this thread: the next caller sees that nobody is awake, and has it started anew.
            handoff.is_idle = True

    def _encode_once(self) -> int:
        try:
            return self._encoder.run_once(self._clock)
        except Exception as error:  # noqa: BLE001  # A loop's edge: one bad batch must not end the recording.
            self._tally.fail("encoder_fault", f"llmtrail: a fault while encoding, recording goes on: {error!r}")
            return 0

    def _drain(self) -> None:
        while self._handoff.items:
            self._encode_once()
        self._encoder.release_all(self._clock)

    def _is_at_rest(self) -> bool:
        return not self.assembler.held and not self.outbox.is_dirty

    def _is_encoded(self) -> bool:
        return not self.is_encoding and not self._handoff.items and not self.assembler.held

    def _is_sent_or_hopeless(self) -> bool:
        outbox = self.outbox
        return (not outbox.in_memory and not outbox.spooled) or self._is_hopeless()

    def _is_hopeless(self) -> bool:
        return self._sender.is_backing_off and (not self.outbox.in_memory or self.outbox.has_spool)

    def _adopt(self) -> None:
        try:
            self.outbox.adopt(self._clock.monotonic_ns(), _ADOPT_AT_EXIT_BYTES)
        except OSError as error:
            self._tally.tell("cannot adopt a spool left behind", "spool_failed", error)

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


def without_credentials(url: str) -> str:
    """Return an address as it may stand in a log."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


# A batch this large means that callers are faster than the pace: go on at once.
_PACE_WORTH: Final = 100
_DRAIN_POLL_S: Final = 0.001
