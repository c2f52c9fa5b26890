"""Sends what is in the outbox, in order, and waits longer after each failure. Knows nothing of events' fields."""

import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Final, Protocol, assert_never

from llmtrail.clock import Clock
from llmtrail.emit.answer import Answer, Later, Split, Taken, read_answer
from llmtrail.emit.endpoint import Reply
from llmtrail.emit.outbox import Outbox
from llmtrail.emit.stub import stub_bytes
from llmtrail.emit.tally import DropReason, StripReason, Tally

# A batch is sent when it is full, or its oldest call has waited this long.
LINGER_NS: Final = 200_000_000
# First wait short enough for a restart, last one long enough to leave a gateway in trouble alone.
BACKOFF_FIRST_S: Final = 0.25
BACKOFF_LAST_S: Final = 30.0
# Dead processes' spools are looked for this often: a worker that was killed has its calls sent by its siblings.
ADOPT_EVERY_NS: Final = 3_000_000_000
_IDLE_WAIT_S: Final = 1.0


class Poster(Protocol):
    """Where batches are posted to."""

    def post(self, events: Sequence[bytes]) -> Reply | Answer:
        """Send one batch; return HTTP's reply, or the answer where it is no HTTP.

        Raises OSError or http.client.HTTPException when no answer came.
        """

    def close(self) -> None:
        """Close the connection."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where calls go and where they wait meanwhile, for whoever reads a warning."""

    address: str = "the server"
    spool: Path | None = None

    def unreachable(self, reason: str) -> str:
        """Return what to say where a batch could not be sent."""
        kept = f"saved in {self.spool}" if self.spool is not None else "kept in memory"
        status = reason.removeprefix("http_")
        if status in {"401", "403"}:
            failed, then = f"{self.address} refused the token (HTTP {status}): check LLMTRAIL_TOKEN", "it is accepted"
        elif status != reason:
            failed, then = f"{self.address} answered HTTP {status}", "it takes them"
        elif reason == "garbled_answer":
            failed, then = f"{self.address} does not answer as llmtrail does: check LLMTRAIL_URL", "it does"
        else:
            failed, then = f"cannot reach {self.address} ({reason})", "it answers"
        return f"llmtrail: {failed}. Calls are {kept} and sent when {then}."


class Sender:
    """Moves calls from the outbox to the gateway."""

    def __init__(
        self,
        outbox: Outbox,
        poster: Poster,
        tally: Tally,
        clock: Clock,
        random_fraction: Callable[[], float],
        places: Places = Places(),
    ) -> None:
        self.is_backing_off = False
        self._places = places
        self._outbox = outbox
        self._poster = poster
        self._tally = tally
        self._clock = clock
        self._random_fraction = random_fraction
        self._failures = 0
        self._adopt_at_ns = 0
        self._hurry = Event()
        self._stop = False

    def run(self) -> None:
        """Send until stopped."""
        while not self._stop:
            try:
                self.run_once()
            except Exception as error:  # noqa: BLE001  # A loop's edge: whatever went wrong, later calls must still go.
                self._tally.fail("sender_fault", f"llmtrail: a fault while sending, calls are kept: {error!r}")
                self._outbox.put_back(self._clock.monotonic_ns())
                self._rest(BACKOFF_LAST_S)
        self._poster.close()

    def run_once(self) -> None:
        """Wait until a batch is due, send it, and rest when that failed."""
        if self._clock.monotonic_ns() >= self._adopt_at_ns:
            self._adopt_at_ns = self._clock.monotonic_ns() + ADOPT_EVERY_NS
            self._adopt()
        if not self._wait_until_due():
            return
        events = self._outbox.take(self._clock.monotonic_ns())
        if not events:
            return
        later = self._deliver(events)
        if later is None:
            self._failures = 0
            self.is_backing_off = False
            self._outbox.release()
            return
        self._outbox.put_back(self._clock.monotonic_ns())
        self._failures += 1
        self.is_backing_off = True
        self._rest(self._wait_s(later))

    def hurry(self) -> None:
        """Send what there is now, without waiting for more or for the end of a rest."""
        self._hurry.set()
        with self._outbox.changed:
            self._outbox.changed.notify_all()

    def stop(self) -> None:
        """Let `run` return after the batch in hand."""
        self._stop = True
        self.hurry()

    def _deliver(self, events: Sequence[bytes]) -> Later | None:
        """Post events, in halves where they are too much together; return Later where the rest must wait."""
        answer = self._post(events)
        match answer:
            case Taken():
                return self._end(events, answer)
            case Split() if len(events) > 1:
                middle = len(events) // 2
                return self._deliver(events[:middle]) or self._deliver(events[middle:])
            case Split(too_large, reason):
                return self._give_up(events[0], too_large, reason)
            case Later():
                self._tally.fail(answer.reason, self._places.unreachable(answer.reason))
                return answer
            case _:
                assert_never(answer)

    def _end(self, events: Sequence[bytes], answer: Taken) -> Later | None:
        """End a batch that the gateway is done with; what was too large for it may still be taken without its text."""
        stripped = 0
        for place in answer.too_large:
            stub = stub_bytes(events[place], StripReason.TOO_LARGE)
            again = None if stub is None else self._post([stub])
            if isinstance(again, Later):
                return again
            if isinstance(again, Taken) and again.accepted == 1:
                stripped += 1
        with self._tally.lock:
            if self._outbox.settle(len(events), answer.accepted + stripped):
                for reason, calls in answer.rejected.items():
                    left = calls - stripped if reason == StripReason.TOO_LARGE else calls
                    if left > 0:
                        self._tally.reject(reason, answer.detail, left)
                if stripped:
                    self._tally.strip(StripReason.TOO_LARGE, "the gateway keeps none so large", stripped)
        return None

    def _give_up(self, event: bytes, too_large: bool, reason: str) -> Later | None:
        """End a single call that the gateway refuses: without its text it may still be taken."""
        stub = stub_bytes(event, StripReason.TOO_LARGE) if too_large else None
        if stub is not None:
            answer = self._post([stub])
            match answer:
                case Later():
                    return answer
                case Taken(accepted=1):
                    self._outbox.settle(1, 1)
                    self._tally.strip(StripReason.TOO_LARGE, f"{len(event)} bytes")
                    return None
                case Taken() | Split():
                    pass
                case _:
                    assert_never(answer)
        with self._tally.lock:
            if not self._outbox.settle(1):
                return None
            if too_large:
                self._tally.drop(DropReason.TOO_LARGE, f"{len(event)} bytes")
            else:
                self._tally.reject(reason)
        return None

    def _post(self, events: Sequence[bytes]) -> Answer:
        try:
            reply = self._poster.post(events)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: http.client raises it for headers that are no headers.
            return Later(type(error).__name__)
        if not isinstance(reply, Reply):
            return reply
        now_s = self._clock.now_ns() / 1e9
        return read_answer(reply.status, reply.body, reply.retry_after, len(events), now_s)

    def _wait_until_due(self) -> bool:
        """Wait for a full or old enough batch; return False after a while without one, so that the loop goes round."""
        outbox = self._outbox
        with outbox.changed:
            if not self._is_due():
                since_ns = outbox.waiting_since_ns
                if since_ns is None:
                    outbox.changed.wait(_IDLE_WAIT_S)
                else:
                    left_ns = since_ns + LINGER_NS - self._clock.monotonic_ns()
                    outbox.changed.wait(max(left_ns, 1_000_000) / 1e9)
            due = self._is_due()
            if not outbox.in_memory and not outbox.spooled:
                self._hurry.clear()
            return due

    def _is_due(self) -> bool:
        since_ns = self._outbox.waiting_since_ns
        if self._stop or since_ns is None:
            return self._stop
        is_old = self._clock.monotonic_ns() - since_ns >= LINGER_NS
        return is_old or self._hurry.is_set() or self._outbox.is_batch

    def _rest(self, wait_s: float) -> None:
        """Wait, unless someone is in a hurry; a hurry ends one rest only, so that a dead gateway is not hammered."""
        self._hurry.clear()
        self._hurry.wait(wait_s)

    def _wait_s(self, later: Later) -> float:
        """Return how long to rest: grows by the failure, spread so that processes do not come back all at once."""
        backoff_s = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2.0 ** min(self._failures - 1, 16))
        backoff_s *= 0.5 + self._random_fraction() / 2
        return max(backoff_s, later.wait_s or 0.0)

    def _adopt(self) -> None:
        try:
            self._outbox.adopt(self._clock.monotonic_ns())
        except OSError as error:
            self._tally.tell("cannot adopt a spool left behind", "spool_failed", error)
