"""The gateway's routes: receive, admit, append, answer. Decisions live in `admit`, `body`, `tokens` and `otlp`."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.access.gate import AccessRefusedError, Gate, challenge, open_gate, status_of
from llmtrail.clock import Clock
from llmtrail.core.access.authenticate import Tokens
from llmtrail.core.access.rights import Act, Kind
from llmtrail.core.audit import AuditAction, Use
from llmtrail.core.ids import uuid7
from llmtrail.core.outcome import BadEventError, Refusal, RefuseReason
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import CALLS, Append, LogClosedError, LogFullError, RecordTooLargeError
from llmtrail_ingest.gateway.admit import Admission, Door, Moved, Rejected, admit
from llmtrail_ingest.gateway.arrival import Arrival, client_address
from llmtrail_ingest.gateway.body import BodyLimits, RefusedError, decompress, read_body
from llmtrail_ingest.gateway.letters import DETAIL_LENGTH_MAX, LetterQuota, letters_for
from llmtrail_ingest.gateway.replayed import Outcome, Replayed, read_replay, replayed
from llmtrail_ingest.gateway.work import SMALL_BYTES_MAX, GoneError, QueueFullError, Size, Workers
from llmtrail_ingest.otlp.natives import NativeCalls
from llmtrail_ingest.shares import Shares
from llmtrail_ingest.tally import Fate, Tally

# Rejected events are told one by one up to this many; the rest are counted in the answer and kept as dead letters.
REJECTED_TOLD_MAX = 1_000
RETRY_AFTER_S = 2
# Bytes of bodies in hand, read and not yet durable: sixteen of the largest, or 250 full batches of the SDK's.
BODIES_BYTES_MAX = 256 * 1024 * 1024
# Bytes of dead letters that one tenant may have kept a day: a quarter of a million bad events of 500 bytes.
LETTER_BYTES_MAX = 256 * 1024 * 1024

# An attempt's place in its list, which is no part of a field's name.
_PLACE = re.compile(r"\.[0-9]+(?=\.|$)")

Result = TypeVar("Result")


class Appender(Protocol):
    """The log as the gateway needs it: durable once awaited."""

    async def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append all or nothing; raises LogFullError, LogClosedError or RecordTooLargeError."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """How the gateway treats what arrives."""

    policy: ContentPolicy = ContentPolicy.REDACTED
    limits: BodyLimits = field(default_factory=BodyLimits)
    bodies_bytes_max: int = BODIES_BYTES_MAX
    letter_bytes_max: int = LETTER_BYTES_MAX


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the gateway works with. `backlog_full` says whether the writer is too far behind to take more."""

    appender: Appender
    tally: Tally
    clock: Clock
    random: Callable[[int], bytes]
    backlog_full: Callable[[], bool]
    natives: NativeCalls = field(default_factory=NativeCalls)
    # Counts and logs who was turned away: a token's name or an address, and why.
    turned_away: Callable[[str, Refusal], None] = lambda *_: None
    held: Callable[[str], None] = lambda _: None
    # Counts rejected events that were not kept as dead letters.
    count_unkept: Callable[[int], None] = lambda _: None
    # Counts fields of good events that went to their attributes, by the field's name in the schema.
    count_moved: Callable[[str, int], None] = lambda *_: None
    gate: Gate = field(default_factory=open_gate)


@dataclass(frozen=True, slots=True)
class _Unpacked:
    """A body that turned out to be large once it was unpacked."""

    body: bytes


@dataclass(frozen=True, slots=True)
class _Admitted:
    """What becomes of a body of native events: what to append, and what to answer."""

    admission: Admission
    appends: Sequence[Append]
    unkept: int
    error: str = ""
    gate: Gate = field(default_factory=open_gate)


class Gateway:
    """Takes requests in. One instance per process; its handlers run on one event loop."""

    def __init__(self, parts: GatewayParts, config: GatewayConfig) -> None:
        self.parts = parts
        self.config = config
        # Twice the largest body at least: a sender alone must be able to send it.
        self._bodies = Shares(max(config.bodies_bytes_max, 2 * config.limits.body_bytes_max))
        self._workers = Workers(parts.held)
        self.letters = LetterQuota(config.letter_bytes_max, parts.clock.now_ns)

    def routes(self) -> list[Route]:
        """Return the routes of the native way in."""
        return [
            Route("/v1/calls", self.post_calls, methods=["POST"]),
            Route("/v1/dead-letters/replay", self.post_replay, methods=["POST"]),
        ]

    async def post_calls(self, request: Request) -> Response:
        """Take native events; answer 200 once the good ones are durable."""
        return await self.guarded(request, self._take_calls, refusal)

    async def post_replay(self, request: Request) -> Response:
        """Take dead letters again, each for its own tenant; answer once calls and marks are durable."""
        return await self.guarded(request, self._take_letters, refusal, Kind.DEAD_LETTER, Act.REVISE)

    async def guarded(
        self,
        request: Request,
        take: Callable[[Arrival], Awaitable[Response]],
        refuse: Callable[[RefusedError], Response],
        kind: Kind = Kind.CALL,
        act: Act = Act.WRITE,
    ) -> Response:
        """Run `take` for a bearer who may do this, within the bounds of the gateway; count what is refused."""
        sender = client_address(request)
        arrival = None
        try:
            gate = self.parts.gate
            tokens = gate.moment()
            grant = gate.demand(request, kind, act)
            sender = grant.name or sender
            arrival = Arrival(request, grant, sender, partial(self._check_still, request, kind, act, tokens))
            self._check_backlog()
            return await take(arrival)
        except AccessRefusedError as stranger:
            # The gate has told of whom it was.
            refused = RefusedError(status_of(stranger.refusal), RefuseReason.UNAUTHORIZED, str(stranger))
            self.parts.tally.add(Fate.REFUSED, refused.reason, 1)
            response = refuse(refused)
            response.headers["www-authenticate"] = challenge(stranger.refusal)
            return response
        except RefusedError as refused:
            return self._refused(sender, refused, refuse)
        except (ClientDisconnect, GoneError):
            return Response(status_code=499)
        finally:
            if arrival is not None and arrival.held_bytes:
                self._bodies.give_back(sender, arrival.held_bytes)

    def _refused(self, sender: str, refused: RefusedError, refuse: Callable[[RefusedError], Response]) -> Response:
        self.parts.tally.add(Fate.REFUSED, refused.reason, 1)
        self.parts.turned_away(sender, refused.refusal)
        return refuse(refused)

    async def worked(self, arrival: Arrival, work: Callable[[bytes], Result]) -> Result:
        """Read the body and return what `work` makes of it, unpacked, in a thread; raises RefusedError.

        Raises GoneError where the client left before its body's turn came: it sends it again.
        """
        headers, limits = arrival.request.headers, self.config.limits
        length, encoding = headers.get("content-length"), headers.get("content-encoding", "")
        hold = partial(self._hold, arrival)
        packed = await read_body(arrival.request.stream(), length=length, limits=limits, hold=hold)
        arrival.check_still()
        size = Size.SMALL if len(packed) <= SMALL_BYTES_MAX else Size.LARGE

        def first() -> Result | _Unpacked:
            body = decompress(packed, encoding, limits)
            is_large = size is Size.SMALL and len(body) > SMALL_BYTES_MAX
            return _Unpacked(body) if is_large else work(body)

        done = await self._run(arrival, size, first)
        if isinstance(done, _Unpacked):
            hold(len(done.body))
            return await self._run(arrival, Size.LARGE, partial(work, done.body))
        return done

    def note_unkept(self, arrival: Arrival, letters: int) -> None:
        """Count rejected events that were not kept, because their tenant's dead letters of the day are full."""
        if letters:
            self.parts.count_unkept(letters)
            self.parts.turned_away(arrival.sender, Refusal.DEAD_LETTERS)

    async def _run(self, arrival: Arrival, size: Size, work: Callable[[], Result]) -> Result:
        try:
            return await self._workers.run(arrival.sender, size, work, arrival.is_gone)
        except QueueFullError as cause:
            detail = "too many bodies of this sender wait already; send fewer at once."
            raise RefusedError(429, RefuseReason.TOO_MANY, detail, retry_after_s=RETRY_AFTER_S) from cause

    def _hold(self, arrival: Arrival, size_bytes: int) -> None:
        """Count bytes that are in hand until the request is answered; raises RefusedError over the sender's share."""
        if not self._bodies.take(arrival.sender, size_bytes):
            detail = "bodies of this sender take its share of the gateway's memory; send fewer at once."
            raise RefusedError(429, RefuseReason.TOO_MANY, detail, retry_after_s=RETRY_AFTER_S)
        arrival.held_bytes += size_bytes

    async def append(self, appends: Sequence[Append], events: int) -> None:
        """Make `appends` durable; raises RefusedError, with `events` counted as refused, when that cannot be."""
        try:
            await self.parts.appender.append(appends, self.parts.clock.now_ns())
        except (LogFullError, LogClosedError) as cause:
            # The refusal itself is counted as one; the other events of the body are counted here.
            self.parts.tally.add(Fate.REFUSED, RefuseReason.UNAVAILABLE, max(0, events - 1))
            detail = f"nothing was acknowledged: {cause}"
            raise RefusedError(503, RefuseReason.UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S) from cause
        except RecordTooLargeError as cause:
            # What one record holds was checked event by event: the log's own bound is lower, or all of it is too much.
            self.parts.tally.add(Fate.REFUSED, RefuseReason.TOO_LARGE, max(0, events - 1))
            raise RefusedError(413, RefuseReason.TOO_LARGE, f"nothing was kept: {cause}") from cause

    def _check_still(self, request: Request, kind: Kind, act: Act, tokens: Tokens) -> None:
        """Raise AccessRefusedError where the token was revoked while its body came, which may take minutes."""
        gate = self.parts.gate
        if gate.moment() is not tokens:
            gate.still(request, gate.granted(request), kind, act)

    def _check_backlog(self) -> None:
        if self.parts.backlog_full():
            detail = "the store is too far behind the log; nothing was kept, send again later."
            raise RefusedError(429, RefuseReason.TOO_MANY, detail, retry_after_s=RETRY_AFTER_S, refusal=Refusal.BACKLOG)

    async def _take_calls(self, arrival: Arrival) -> Response:
        source = "sdk" if arrival.request.headers.get("user-agent", "").startswith("llmtrail") else "http"
        admitted = await self.worked(arrival, partial(self._admitted, tenant=arrival.grant.tenant, source=source))
        if admitted.appends:
            await self.append(admitted.appends, admitted.admission.events)
        self._count(admitted.admission)
        self._count_moved(admitted.admission.moved)
        self.note_unkept(arrival, admitted.unkept)
        return _answer(admitted)

    def _admitted(self, body: bytes, *, tenant: str | None, source: str) -> _Admitted:
        """Decide in a thread, which keeps health checks and other senders answered while a large body is read."""
        error = ""
        door = Door(self._make_id, partial(self._join, tenant or ""))
        try:
            admission = admit(body, self.config.policy, door)
        except BadEventError as bad:
            admission = Admission(rejected=[Rejected(0, None, bad.reason, bad.detail, body)])
            error = bad.detail[:DETAIL_LENGTH_MAX]
        headers = {"source": source, "schema": "call.v1"} | ({"tenant": tenant} if tenant else {})
        letters = letters_for(admission.rejected, tenant, headers, self.letters)
        appends = [Append(CALLS, admission.values, admission.keys, headers)] if admission.values else []
        return _Admitted(admission, [*appends, *letters.appends], letters.unkept, error)

    async def _take_letters(self, arrival: Arrival) -> Response:
        now_ns = self.parts.clock.now_ns()

        def again(body: bytes) -> Replayed:
            return replayed(read_replay(body).letters, self.config.policy, self._join, now_ns)

        try:
            result = await self.worked(arrival, again)
        except BadEventError as bad:
            raise RefusedError(400, RefuseReason.BAD_REQUEST, bad.detail) from bad
        await self._append_replayed(result)
        sent_again = Use(
            action=AuditAction.REPLAYED, kind=str(Kind.DEAD_LETTER), detail=f"{len(result.outcomes)} letters"
        )
        self.parts.gate.kept(arrival.request, arrival.grant, sent_again)
        return _json(200, {"letters": [_outcome(one) for one in result.outcomes]})

    async def _append_replayed(self, result: Replayed) -> None:
        """Append calls, then marks: over Kafka no append of two topics is both or neither."""
        tally = self.parts.tally
        if result.calls:
            await self.append(result.calls, result.received)
        tally.add(Fate.RECEIVED, "", result.accepted)
        tally.add(Fate.ACKNOWLEDGED, "", result.accepted)
        if result.marks:
            await self.append(result.marks, len(result.rejected))
        tally.add(Fate.RECEIVED, "", len(result.rejected))
        for reason in result.rejected:
            tally.add(Fate.REJECTED, reason, 1)

    def _count(self, admission: Admission) -> None:
        tally = self.parts.tally
        tally.add(Fate.RECEIVED, "", admission.events)
        tally.add(Fate.ACKNOWLEDGED, "", len(admission.values))
        for rejected in admission.rejected:
            tally.add(Fate.REJECTED, rejected.reason, 1)

    def _count_moved(self, moved: Sequence[Moved]) -> None:
        for name, fields in Counter(_PLACE.sub("", one.field) for one in moved).items():
            self.parts.count_moved(name, fields)

    def _join(self, owner: str, value: bytes, key: bytes) -> tuple[bytes, bytes]:
        return self.parts.natives.native(value, key, self.parts.clock.now_ns(), owner)

    def _make_id(self) -> str:
        return uuid7(self.parts.clock.now_ns(), self.parts.random(10))


def _answer(admitted: _Admitted) -> Response:
    admission = admitted.admission
    told = [
        _told(rejected.index, rejected.call_id, rejected.reason, rejected.detail[:DETAIL_LENGTH_MAX])
        for rejected in admission.rejected[:REJECTED_TOLD_MAX]
    ]
    answer: dict[str, object] = {"accepted": len(admission.values), "rejected": told}
    if len(admission.rejected) > len(told):
        answer["rejected_count"] = len(admission.rejected)
    if admission.moved:
        answer["moved"] = [_moved(one) for one in admission.moved[:REJECTED_TOLD_MAX]]
    if admitted.unkept:
        answer["rejected_unkept"] = admitted.unkept
    if admitted.error:
        answer["error"] = admitted.error
    return _json(200 if admission.values or not admission.rejected else 400, answer)


def _told(index: int, call_id: str | None, reason: str, detail: str) -> dict[str, object]:
    return {"index": index, "call_id": call_id, "reason": reason, "detail": detail}


def _moved(moved: Moved) -> dict[str, object]:
    return {"index": moved.index, "call_id": moved.call_id, "field": moved.field, "detail": moved.detail}


def _outcome(outcome: Outcome) -> dict[str, object]:
    why = {"reason": outcome.reason, "detail": outcome.detail} if outcome.reason else {}
    return {"outcome": outcome.word, "accepted": outcome.accepted, **why}


def refusal(refused: RefusedError) -> Response:
    """Return the answer to a refused request."""
    response = _json(refused.status, {"error": refused.detail, "reason": refused.reason})
    if refused.retry_after_s is not None:
        response.headers["retry-after"] = str(refused.retry_after_s)
    return response


def _json(status: int, answer: dict[str, object]) -> Response:
    return Response(orjson.dumps(answer), status_code=status, media_type="application/json")
