"""Brings calls and what became known of them later together, as event fields. Takes time and ids as arguments; no I/O.

A call made inside a request block is held for a moment, so that its parser result is told in one event. What comes
later becomes a revision: same call id, next revision number, only the new fields.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, assert_never

from llmtrail.core.failure import FailureMode
from llmtrail.core.ids import uuid7
from llmtrail.emit.context import NoteKind, Request

# Long enough for parsing an answer, short enough that a crash in a long block loses little.
HOLD_NS: Final = 2_000_000_000
# Beyond this many held calls the oldest goes at once; its findings become revisions.
HELD_MAX: Final = 10_000
_GROUPS: Final = ("versions", "attributes", "retrieval", "parser", "served")
# What a revision repeats: the schema requires the start and a model, and the ids keep it in its call's log partition.
_REPEATED: Final[tuple[str, ...]] = (
    "call_id",
    "started_at",
    "request_model",
    "response_model",
    "trace_id",
    "request_id",
    "tenant",
)

Event = dict[str, Any]


class Held:
    """One call: its event while it is held, what revisions repeat after that."""

    __slots__ = ("due_ns", "event", "has_failed", "is_released", "revision")

    def __init__(self, event: Event, due_ns: int) -> None:
        self.event = event
        self.due_ns = due_ns
        self.is_released = False
        self.has_failed = event.get("failure_mode") is not None
        self.revision = 0


class _Findings:
    """What the background knows of one request."""

    __slots__ = ("is_closed", "last", "owner", "waiting")

    def __init__(self, owner: "Assembler") -> None:
        self.owner = owner
        self.last: Held | None = None
        self.waiting: Event = {}
        self.is_closed = False


class Assembler:
    """Turns calls and notes into events. Not for several threads; one lives in the encoder."""

    def __init__(self, defaults: Mapping[str, Any], random_bytes: Callable[[int], bytes]) -> None:
        self.revisions = 0
        self._defaults = defaults
        self._random_bytes = random_bytes
        self._holding: deque[Held] = deque()
        self._held = 0
        # Held calls that were not written down as they are now: those of this round, and of the one before.
        self._new: list[Held] = []
        self._unwritten: list[Held] = []
        self._ready: list[Event] = []

    @property
    def held(self) -> int:
        """Return how many calls are held."""
        return self._held

    def add_call(
        self, fields: Mapping[str, Any], started_at_ns: int, request: Request | None, now: tuple[int, int]
    ) -> None:
        """Take one call; it is ready at once outside a request block, else when its findings are in.

        `now` is wall time, for the id, and monotonic time, for holding; both in nanoseconds.
        """
        now_ns, monotonic_ns = now
        event: Event = {"started_at": started_at_ns, **self._defaults}
        if request is not None:
            overlay(event, request.fields)
        overlay(event, fields)
        event.setdefault("call_id", uuid7(now_ns, self._random_bytes(10)))
        if request is None:
            self._ready.append(event)
            return
        findings = self._findings(request)
        held = Held(event, monotonic_ns + HOLD_NS)
        waiting, findings.waiting = findings.waiting, {}
        self._apply(held, waiting)
        self._remember(request, held)
        self._holding.append(held)
        self._new.append(held)
        self._held += 1
        if not self._is_awaited(request):
            self._release(held)
        elif self._held > HELD_MAX:
            self._release(self._holding.popleft())

    def add_note(self, request: Request, kind: NoteKind, fields: Mapping[str, Any]) -> None:
        """Take what became known of a request's call, or that its block is over."""
        findings = self._findings(request)
        match kind:
            case NoteKind.AFTER_CALL if findings.last is not None:
                self._apply(findings.last, fields)
            case NoteKind.BEFORE_CALL if findings.is_closed and findings.last is not None:
                self._apply(findings.last, fields)
            case NoteKind.AFTER_CALL | NoteKind.BEFORE_CALL:
                overlay(findings.waiting, fields)
            case NoteKind.CLOSED:
                self._close(request, findings)
            case _:
                assert_never(kind)

    def release_due(self, monotonic_ns: int) -> None:
        """Make ready what was held long enough."""
        while self._holding and (self._holding[0].is_released or self._holding[0].due_ns <= monotonic_ns):
            self._release(self._holding.popleft())

    def release_all(self) -> None:
        """Make ready all that is held."""
        while self._holding:
            self._release(self._holding.popleft())

    def take_unwritten(self) -> list[Event]:
        """Return the calls held since the round before, as far as they are known: most are released sooner."""
        found = [held.event for held in self._unwritten if not held.is_released]
        self._unwritten, self._new = self._new, []
        return found

    def take_ready(self) -> list[Event]:
        """Return the events that are ready, in order."""
        ready, self._ready = self._ready, []
        return ready

    def _findings(self, request: Request) -> _Findings:
        findings = request.state
        # After a fork the block's calls are the parent's to send; this process can only revise them.
        if not isinstance(findings, _Findings) or findings.owner is not self:
            inherited = findings if isinstance(findings, _Findings) else None
            findings = request.state = _Findings(self)
            if inherited is not None and inherited.last is not None:
                findings.last = inherited.last
                inherited.last.is_released = True
        return findings

    def _remember(self, request: Request, held: Held) -> None:
        """Make `held` the last call of its request and of the blocks around it; the former last ones may go."""
        around: Request | None = request
        while around is not None:
            findings = self._findings(around)
            if findings.last is not None:
                self._release(findings.last)
            findings.last = held
            around = around.parent

    def _close(self, request: Request, findings: _Findings) -> None:
        findings.is_closed = True
        if findings.last is not None:
            # Without a call yet, findings go on waiting: a stream may be read to its end after the block.
            waiting, findings.waiting = findings.waiting, {}
            self._apply(findings.last, waiting)
            if not self._is_awaited(request):
                self._release(findings.last)

    def _is_awaited(self, request: Request) -> bool:
        """Say whether the block, or one around it, is still open, so that more may be found of its last call."""
        around: Request | None = request
        while around is not None:
            if not self._findings(around).is_closed:
                return True
            around = around.parent
        return False

    def _apply(self, held: Held, findings: Mapping[str, Any]) -> None:
        if not findings:
            return
        fields = dict(findings)
        mode = None if held.has_failed else _failure_mode(fields)
        if mode is not None:
            held.has_failed = True
            fields["failure_mode"] = mode
        if not held.is_released:
            overlay(held.event, fields)
            self._new.append(held)
            return
        held.revision += 1
        self.revisions += 1
        self._ready.append({**_repeated(held.event), "revision": held.revision, **fields})

    def _release(self, held: Held) -> None:
        if held.is_released:
            return
        held.is_released = True
        self._held -= 1
        event = held.event
        self._ready.append(event)
        # Only what revisions repeat is kept on: the text would otherwise live as long as the request object.
        held.event = _repeated(event)


def _repeated(event: Event) -> Event:
    return {name: event[name] for name in _REPEATED if name in event}


def _failure_mode(findings: Mapping[str, Any]) -> FailureMode | None:
    """Return what a failed parser or retrieval makes of a call that had no failure of its own."""
    for group, mode in (("parser", FailureMode.PARSER_FAILED), ("retrieval", FailureMode.RETRIEVAL_FAILED)):
        found = findings.get(group)
        if isinstance(found, Mapping) and found.get("status") == "failed":
            return mode
    return None


def overlay(event: Event, fields: Mapping[str, Any]) -> None:
    """Put `fields` over `event`; groups merge key by key."""
    for name, value in fields.items():
        if value is None:
            continue
        former = event.get(name)
        if name in _GROUPS and isinstance(former, Mapping) and isinstance(value, Mapping):
            event[name] = {**former, **value}
        else:
            event[name] = value
