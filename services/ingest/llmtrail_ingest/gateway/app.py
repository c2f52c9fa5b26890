"""The gateway's routes: receive, admit, append, answer. Decisions live in `admit`, `body`, `tokens` and `otlp`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from llmtrail.clock import Clock
from llmtrail.core.ids import uuid7
from llmtrail.core.outcome import BadEventError, RefuseReason, RejectReason
from llmtrail.core.redact import ContentPolicy
from llmtrail.log.port import CALLS, Append, LogClosedError, LogFullError
from llmtrail.log.rows import RECORD_BYTES_MAX
from llmtrail_ingest.dead_letter import Letter, letter_of, letters_append
from llmtrail_ingest.gateway.admit import Admission, Door, admit
from llmtrail_ingest.gateway.body import BodyLimits, RefusedError, read_body
from llmtrail_ingest.gateway.replayed import Outcome, Replayed, read_replay, replayed
from llmtrail_ingest.gateway.tokens import Grant, Scope, Tokens, grant_for
from llmtrail_ingest.otlp.natives import NativeCalls
from llmtrail_ingest.tally import Fate, Tally

# Rejected events are told one by one up to this many; the rest are counted in the answer and kept as dead letters.
REJECTED_TOLD_MAX = 1_000
RETRY_AFTER_S = 2
# Each waiting body may hold 16 MB: this bounds what senders can make us hold.
BODIES_AT_ONCE_MAX = 16


class Appender(Protocol):
    """The log as the gateway needs it: durable once awaited."""

    async def append(self, appends: Sequence[Append], now_ns: int) -> list[int]:
        """Append all or nothing; raises LogFullError or LogClosedError."""


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    """How the gateway treats what arrives."""

    policy: ContentPolicy = ContentPolicy.REDACTED
    limits: BodyLimits = field(default_factory=BodyLimits)
    tokens: Tokens = field(default_factory=Tokens)
    bodies_at_once: int = BODIES_AT_ONCE_MAX


@dataclass(frozen=True, slots=True)
class GatewayParts:
    """What the gateway works with. `backlog_full` says whether the writer is too far behind to take more."""

    appender: Appender
    tally: Tally
    clock: Clock
    random: Callable[[int], bytes]
    backlog_full: Callable[[], bool]
    natives: NativeCalls = field(default_factory=NativeCalls)


class Gateway:
    """Takes requests in. One instance per process; its handlers run on one event loop."""

    def __init__(self, parts: GatewayParts, config: GatewayConfig) -> None:
        self.parts = parts
        self.config = config
        self._door = Door(self._make_id, self._join)
        self._bodies = 0

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
        return await self.guarded(request, self._take_letters, refusal)

    async def guarded(
        self,
        request: Request,
        take: Callable[[Request, Grant], Awaitable[Response]],
        refuse: Callable[[RefusedError], Response],
    ) -> Response:
        """Run `take` for a bearer who may send, within the bounds of the gateway; count what is refused."""
        try:
            grant = self._authorize(request)
            self._check_room()
            self._bodies += 1
            try:
                return await take(request, grant)
            finally:
                self._bodies -= 1
        except RefusedError as refused:
            self.parts.tally.add(Fate.REFUSED, refused.reason, 1)
            return refuse(refused)
        except ClientDisconnect:
            return Response(status_code=499)

    async def body_of(self, request: Request) -> bytes:
        """Return the request's body, decompressed; raises RefusedError."""
        headers = request.headers
        return await read_body(
            request.stream(),
            encoding=headers.get("content-encoding", ""),
            length=headers.get("content-length"),
            limits=self.config.limits,
        )

    async def append(self, appends: Sequence[Append], events: int) -> None:
        """Make `appends` durable; raises RefusedError, with `events` counted as refused, when that cannot be."""
        largest = max((len(value) for append in appends for value in append.values), default=0)
        if largest > RECORD_BYTES_MAX:
            # The refusal itself is counted as one. A sender that halves its batches finds the one that is too large.
            self.parts.tally.add(Fate.REFUSED, RefuseReason.TOO_LARGE, max(0, events - 1))
            detail = f"nothing was kept: one record would take {largest} bytes, and {RECORD_BYTES_MAX} is the most."
            raise RefusedError(413, RefuseReason.TOO_LARGE, detail)
        try:
            await self.parts.appender.append(appends, self.parts.clock.now_ns())
        except (LogFullError, LogClosedError) as cause:
            # The refusal itself is counted as one; the other events of the body are counted here.
            self.parts.tally.add(Fate.REFUSED, RefuseReason.UNAVAILABLE, max(0, events - 1))
            detail = f"nothing was kept: {cause}"
            raise RefusedError(503, RefuseReason.UNAVAILABLE, detail, retry_after_s=RETRY_AFTER_S) from cause

    def _check_room(self) -> None:
        if self._bodies >= self.config.bodies_at_once:
            detail = "too many requests are being read; send fewer at once."
            raise RefusedError(429, RefuseReason.TOO_MANY, detail, retry_after_s=1)
        if self.parts.backlog_full():
            detail = "the store is too far behind the log; nothing was kept, send again later."
            raise RefusedError(429, RefuseReason.TOO_MANY, detail, retry_after_s=RETRY_AFTER_S)

    def _authorize(self, request: Request) -> Grant:
        grant = grant_for(self.config.tokens, request.headers.get("authorization"))
        if grant is None:
            detail = "send a token known here as `Authorization: Bearer …`."
            raise RefusedError(401, RefuseReason.UNAUTHORIZED, detail)
        if Scope.INGEST not in grant.scopes:
            raise RefusedError(403, RefuseReason.UNAUTHORIZED, "this token may not send events.")
        return grant

    async def _take_calls(self, request: Request, grant: Grant) -> Response:
        body = await self.body_of(request)
        try:
            # A thread of its own keeps health checks and other senders answered while a large body is read.
            admission = await asyncio.to_thread(admit, body, self.config.policy, self._door)
        except BadEventError as bad:
            return await self._reject_body(body, bad, grant.tenant)
        source = "sdk" if request.headers.get("user-agent", "").startswith("llmtrail") else "http"
        await self.append(list(_appends(admission, grant.tenant, source)), admission.events)
        self._count(admission)
        return _answer(admission)

    async def _take_letters(self, request: Request, grant: Grant) -> Response:
        if grant.tenant is not None:
            detail = "letters are sent again for their own tenants: use a token that belongs to none."
            raise RefusedError(403, RefuseReason.UNAUTHORIZED, detail)
        body = await self.body_of(request)
        try:
            letters = read_replay(body).letters
        except BadEventError as bad:
            raise RefusedError(400, RefuseReason.BAD_REQUEST, bad.detail) from bad
        now_ns = self.parts.clock.now_ns()
        result = await asyncio.to_thread(replayed, letters, self.config.policy, self._join, now_ns)
        await self._append_replayed(result)
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

    async def _reject_body(self, body: bytes, bad: BadEventError, tenant: str | None) -> Response:
        letter = letter_of(body, reason=bad.reason, detail=bad.detail, source="http")
        headers = {"source": "http"} | ({"tenant": tenant} if tenant else {})
        await self.append([letters_append([letter], headers)], 1)
        self.parts.tally.add(Fate.RECEIVED, "", 1)
        self.parts.tally.add(Fate.REJECTED, bad.reason, 1)
        return _json(400, {"accepted": 0, "rejected": [_told(0, None, bad.reason, bad.detail)], "error": bad.detail})

    def _count(self, admission: Admission) -> None:
        tally = self.parts.tally
        tally.add(Fate.RECEIVED, "", admission.events)
        tally.add(Fate.ACKNOWLEDGED, "", len(admission.values))
        for rejected in admission.rejected:
            tally.add(Fate.REJECTED, rejected.reason, 1)

    def _join(self, value: bytes, key: bytes) -> tuple[bytes, bytes]:
        return self.parts.natives.native(value, key, self.parts.clock.now_ns())

    def _make_id(self) -> str:
        return uuid7(self.parts.clock.now_ns(), self.parts.random(10))


def _appends(admission: Admission, tenant: str | None, source: str) -> list[Append]:
    headers = {"source": source, "schema": "call.v1"}
    if tenant:
        headers["tenant"] = tenant
    appends = []
    if admission.values:
        appends.append(Append(CALLS, admission.values, admission.keys, headers))
    if admission.rejected:
        letters = [
            Letter(
                reason=rejected.reason,
                detail=rejected.detail,
                source=source,
                value_base64=letter_of(rejected.value, reason="", detail="", source="").value_base64,
                index=rejected.index,
                call_id=rejected.call_id,
                tenant=tenant,
            )
            for rejected in admission.rejected
        ]
        appends.append(letters_append(letters, headers))
    return appends


def _answer(admission: Admission) -> Response:
    told = [
        _told(rejected.index, rejected.call_id, rejected.reason, rejected.detail)
        for rejected in admission.rejected[:REJECTED_TOLD_MAX]
    ]
    answer: dict[str, object] = {"accepted": len(admission.values), "rejected": told}
    if len(admission.rejected) > len(told):
        answer["rejected_count"] = len(admission.rejected)
    return _json(200 if admission.values or not admission.rejected else 400, answer)


def _told(index: int, call_id: str | None, reason: RejectReason, detail: str) -> dict[str, object]:
    return {"index": index, "call_id": call_id, "reason": reason, "detail": detail}


def _outcome(outcome: Outcome) -> dict[str, object]:
    why = {"reason": outcome.reason, "detail": outcome.detail} if outcome.reason else {}
    return {"outcome": outcome.word, "accepted": outcome.accepted, **why}


def refusal(refused: RefusedError) -> Response:
    """Return the answer to a refused request."""
    response = _json(refused.status, {"error": refused.detail, "reason": refused.reason})
    if refused.retry_after_s is not None:
        response.headers["retry-after"] = str(refused.retry_after_s)
    if refused.status == 401:
        response.headers["www-authenticate"] = 'Bearer realm="llmtrail"'
    return response


def _json(status: int, answer: dict[str, object]) -> Response:
    return Response(orjson.dumps(answer), status_code=status, media_type="application/json")
