"""Takes what callers handed over and puts encoded, redacted events into the outbox. Knows nothing of sockets or files.

Nothing leaves this room's hands before the content policy was applied.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from llmtrail.clock import Clock
from llmtrail.core.checks import EVENT_BYTES_MAX
from llmtrail.core.fit import MOVED
from llmtrail.core.outcome import BadEventError
from llmtrail.emit.assemble import Assembler
from llmtrail.emit.encode import encode
from llmtrail.emit.handoff import Handoff, Item
from llmtrail.emit.outbox import Outbox
from llmtrail.emit.stub import accounting_stub
from llmtrail.emit.tally import DropReason, StripReason, Tally

# Small enough that a batch is encoded in some 10 ms, so that the interpreter's lock is never held for long in one go.
ITEMS_MAX: Final = 200

Policy = Callable[[bytes], bytes]


class FlushMark:
    """Travels through the queue behind all that was handed over before it."""

    __slots__ = ("arrived",)

    def __init__(self) -> None:
        self.arrived: int | None = None  # how many calls had come to the outbox when the mark was reached


class Encoder:
    """The step from queue to outbox. Not for several threads at once."""

    def __init__(self, handoff: Handoff, assembler: Assembler, outbox: Outbox, policy: Policy, tally: Tally) -> None:
        self.assembler = assembler
        self._handoff = handoff
        self._outbox = outbox
        self._policy = policy
        self._tally = tally
        self._guessed_bytes = 0

    def run_once(self, clock: Clock) -> int:
        """Take a batch from the queue, encode what is ready, put it into the outbox; return how many items it was."""
        items = self._handoff.take(ITEMS_MAX)
        now_ns, monotonic_ns = clock.now_ns(), clock.monotonic_ns()
        guesses = [_weight(item) for item in items if item[0] is not None]
        if guesses:
            self._guessed_bytes = sum(guesses) // len(guesses)
        for item in items:
            self._take(item, now_ns, monotonic_ns)
        self.assembler.release_due(monotonic_ns)
        self._put_ready(monotonic_ns)
        self._write_held(monotonic_ns)
        self._outbox.sync_if_due(monotonic_ns)
        return len(items)

    def release_all(self, clock: Clock) -> None:
        """Encode all that is held."""
        self.assembler.release_all()
        self._put_ready(clock.monotonic_ns())

    def _take(self, item: Item, now_ns: int, monotonic_ns: int) -> None:
        build, parts, third, request, _ = item
        if isinstance(parts, FlushMark):
            self.assembler.release_all()
            self._put_ready(monotonic_ns)
            parts.arrived = self._outbox.arrived
        elif build is None:
            self.assembler.add_note(request, third, parts)
        else:
            self._take_call(item, (now_ns, monotonic_ns))

    def _take_call(self, item: Item, now: tuple[int, int]) -> None:
        build, parts, started_at_ns, request, _ = item
        try:
            fields = build(parts)
            if fields is not None:
                self._tell_moved(fields)
                if "request_id" not in fields and (request is None or "request_id" not in request.fields):
                    self._tally.without_request += 1
                self.assembler.add_call(fields, started_at_ns, request, now)
                return
        except BadEventError as error:
            self._tally.drop(DropReason.INVALID, error)
        except Exception as error:  # noqa: BLE001  # Builders read what applications made; one must not stop all.
            self._tally.drop(DropReason.BUILD_FAILED, repr(error))
        else:
            self._tally.drop(DropReason.NOT_A_CALL, "its builder found nothing to record")

    def _tell_moved(self, fields: Mapping[str, Any]) -> None:
        attributes = fields.get("attributes")
        if isinstance(attributes, Mapping) and MOVED in attributes:
            for name, why in attributes[MOVED].items():
                self._tally.move(name, why)

    def _put_ready(self, monotonic_ns: int) -> None:
        ready = self.assembler.take_ready()
        encoded = [value for event in ready if (value := self._encode(event)) is not None]
        held = [call_id for event in ready if self._outbox.is_held(call_id := str(event["call_id"]))]
        if encoded:
            # What a call weighs in the queue is guessed by its caller; what it is made of may turn out to be more.
            self._handoff.learn([max(len(value), self._guessed_bytes) for value in encoded])
        if encoded or held:
            self._outbox.put(encoded, monotonic_ns, held)

    def _write_held(self, monotonic_ns: int) -> None:
        """Write down what is still held, so that it outlives the process; where that grows too large, hold no more."""
        for event in self.assembler.take_unwritten() if self._outbox.has_spool else ():
            try:
                value = encode(event)
                has_room = len(value) > EVENT_BYTES_MAX or self._outbox.hold(str(event["call_id"]), self._policy(value))
            except Exception:  # noqa: BLE001, S112  # It is counted, and kept without its text, when it is released.
                continue
            if not has_room:
                self.assembler.release_all()
                self._put_ready(monotonic_ns)
                return

    def _encode(self, event: Mapping[str, Any]) -> bytes | None:
        try:
            value = encode(event)
        except Exception as error:  # noqa: BLE001  # The application's objects may raise anything while they are read.
            self._tally.drop(DropReason.NOT_ENCODED, repr(error))
            return None
        try:
            if len(value) > EVENT_BYTES_MAX:
                return self._stub(event, StripReason.TOO_LARGE, f"{len(value)} bytes")
            return self._policy(value)
        except Exception as error:  # noqa: BLE001  # Whatever failed there, raw text must not leave, nor the call be lost.
            return self._stub(event, StripReason.REDACTION_FAILED, repr(error))

    def _stub(self, event: Mapping[str, Any], reason: StripReason, detail: str) -> bytes | None:
        try:
            value = encode(accounting_stub(event, reason))
        except Exception as error:  # noqa: BLE001  # As above: count it and go on.
            self._tally.drop(DropReason.NOT_ENCODED, repr(error))
            return None
        self._tally.strip(reason, detail)
        return value


def _weight(item: Item) -> int:
    """Return what a call weighs in the queue, in bytes."""
    weight = item[4]
    if not callable(weight):
        return weight
    try:
        return weight(item[1])
    except Exception:  # noqa: BLE001  # Weighers read what HTTP clients made; the calls of a batch must not go with it.
        return 0
