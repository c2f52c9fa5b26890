"""The gate that every route stands behind: authenticate, demand a scope, answer 401 or 403. Knows no route."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response

from llmtrail.core.access.authenticate import (
    AccessReason,
    AccessRefusal,
    Tokens,
    authenticate,
    bearer_of,
    fingerprint,
)
from llmtrail.core.access.grant import ANYONE, Grant
from llmtrail.core.access.rights import Act, Kind, permit, whose
from llmtrail.core.audit import AuditAction, Use

# Answers a request of a bearer who may make it.
Answer = Callable[[Request, Grant], Awaitable[Response]]
_ADDRESS_LENGTH_MAX = 64
_ROUTE_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class RefusedUse:
    """A request that was refused for whom it came from. `tenant`: whose thing it asked for, where it named one."""

    refusal: AccessRefusal
    address: str
    route: str
    asked: str = ""
    tenant: str = ""

    @property
    def use(self) -> Use:
        """What the audit says of it."""
        is_foreign = self.refusal.reason is AccessReason.TENANT
        return Use(
            action=AuditAction.FOREIGN if is_foreign else AuditAction.REFUSED,
            kind=self.asked,
            actor=self.refusal.name,
            secret_id=self.refusal.secret_id,
            tenant=self.tenant,
            address=self.address,
            route=self.route,
            reason=str(self.refusal.reason),
        )


class Watcher(Protocol):
    """Who keeps what is done behind a gate. Each returns at once and raises nothing."""

    def counted(self, use: Use) -> None:
        """Keep that a request was refused, or whatever else is one row where the same is done within a minute."""

    def read(self, use: Use) -> None:
        """Keep that something was read, or sent again."""

    def used(self, grant: Grant, address: str) -> None:
        """Keep that a token was used."""

    def later(self, question: Callable[[], Use | None]) -> None:
        """Ask a question when there is time, and count what its answer is."""


class _Nobody:
    def counted(self, use: Use) -> None:
        """Keep nothing."""

    def read(self, use: Use) -> None:
        """Keep nothing."""

    def used(self, grant: Grant, address: str) -> None:
        """Keep nothing."""

    def later(self, question: Callable[[], Use | None]) -> None:
        """Ask nothing."""


class AccessRefusedError(Exception):
    """A request whose bearer is unknown or may not make it."""

    def __init__(self, refusal: AccessRefusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def _ignore(_: RefusedUse) -> None:
    return


class Gate:
    """Lets requests in by the tokens of the moment. Safe from several threads; one instance a process."""

    def __init__(
        self,
        tokens: Callable[[], Tokens],
        now_ns: Callable[[], int],
        note: Callable[[RefusedUse], None] = _ignore,
        watcher: Watcher | None = None,
    ) -> None:
        """Take what returns the tokens as they are now, the time, and who counts and who keeps what is done here."""
        self._tokens = tokens
        self._now_ns = now_ns
        self._note = note
        self.watcher = watcher or _Nobody()

    @property
    def is_open(self) -> bool:
        """Whether requests need no token."""
        return self._tokens().anyone is not None

    def authenticate(self, presented: str | AccessRefusal | None) -> Grant | AccessRefusal:
        """Return what a presented token grants now, or why it is refused."""
        if isinstance(presented, AccessRefusal):
            anyone = self._tokens().anyone
            return presented if anyone is None else anyone
        granted = authenticate(presented, self._tokens(), self._now_ns())
        if presented and isinstance(granted, AccessRefusal) and granted.reason is AccessReason.UNKNOWN:
            return replace(granted, secret_id=fingerprint(presented))
        return granted

    def demand(self, request: Request, kind: Kind, act: Act) -> Grant:
        """Return the grant of a request whose bearer may do this; raises AccessRefusedError."""
        return self.admit(request, self.granted(request), kind, act)

    def moment(self) -> Tokens:
        """Return the tokens as they are now: as long as they are the same, nobody's were revoked."""
        return self._tokens()

    def granted(self, request: Request) -> Grant | AccessRefusal:
        """Return what the token in the Authorization header grants now."""
        return self.authenticate(bearer_of(request.headers.getlist("authorization")))

    def admit(self, request: Request, granted: Grant | AccessRefusal, kind: Kind, act: Act) -> Grant:
        """Return the grant where it allows this; else take note of the request and raise AccessRefusedError."""
        allowed = permit(granted, kind, act)
        if isinstance(allowed, AccessRefusal):
            self.refuse(request, allowed, kind)
        self.used(allowed, address_of(request))
        return allowed

    def used(self, grant: Grant, address: str) -> None:
        """Take note of a use that was allowed."""
        if grant.secret_id:
            self.watcher.used(grant, address)

    def still(self, request: Request, granted: Grant | AccessRefusal, kind: Kind, act: Act) -> None:
        """Raise AccessRefusedError where a request that was let in may not do this any more."""
        allowed = permit(granted, kind, act)
        if isinstance(allowed, AccessRefusal):
            self.refuse(request, allowed, kind)

    def whose(self, request: Request, grant: Grant, kind: Kind, wanted: str | None) -> str | None:
        """Return which tenant the bearer is told of (None: all); raises AccessRefusedError for another one."""
        found = whose(grant, kind, wanted)
        if isinstance(found, AccessRefusal):
            self.refuse(request, found, kind, wanted or "")
        return found

    def refuse(self, request: Request, refusal: AccessRefusal, kind: Kind, tenant: str = "") -> NoReturn:
        """Take note of a refused request and raise AccessRefusedError."""
        self.note(RefusedUse(refusal, address_of(request), route_of(request), str(kind), tenant))
        raise AccessRefusedError(refusal)

    def note(self, refused: RefusedUse) -> None:
        """Take note of a refused request, over HTTP or not."""
        self._note(refused)
        self.watcher.counted(refused.use)

    def kept(self, request: Request, grant: Grant, use: Use) -> None:
        """Keep what a bearer was shown, or did; of the use only what was asked for is said yet."""
        self.watcher.read(used_by(request, grant, use))

    def guard(self, kind: Kind, act: Act, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
        """Return a route's endpoint that calls `answer` for bearers who may do this, and refuses others."""
        return _Guarded(self, kind, act, answer).answer_or_refuse


@dataclass(frozen=True, slots=True)
class _Guarded:
    gate: Gate
    kind: Kind
    act: Act
    answer: Answer

    async def answer_or_refuse(self, request: Request) -> Response:
        try:
            response = await self.answer(request, self.gate.demand(request, self.kind, self.act))
            if self.act is Act.READ:
                # Who waited for news, or for a long answer, is given nothing once the token is revoked.
                self.gate.still(request, self.gate.granted(request), self.kind, self.act)
        except AccessRefusedError as refused:
            return refused_response(refused.refusal)
        return response


def used_by(request: Request, grant: Grant, use: Use) -> Use:
    """Return a use with who made it, and from where."""
    return replace(
        use, actor=grant.name, secret_id=grant.secret_id, address=address_of(request), route=route_of(request)
    )


def open_gate() -> Gate:
    """Return a gate that lets everybody in: a process on loopback without tokens."""
    tokens = Tokens(anyone=ANYONE)
    return Gate(lambda: tokens, lambda: 0)


def refused_response(refusal: AccessRefusal) -> Response:
    """Return the answer to a refused request: 403 where the bearer is known, else 401."""
    body: dict[str, Any] = {"error": refusal.detail, "reason": "unauthorized", "why": str(refusal.reason)}
    if refusal.scope is not None:
        body["scope"] = str(refusal.scope)
    status = status_of(refusal)
    headers = {"www-authenticate": challenge(refusal)}
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def status_of(refusal: AccessRefusal) -> int:
    """Return the HTTP status of a refusal."""
    return 403 if refusal.is_known else 401


def challenge(refusal: AccessRefusal) -> str:
    """Return the WWW-Authenticate header of a refusal (RFC 6750, 3): no error where no token came."""
    realm = 'Bearer realm="llmtrail"'
    if refusal.is_known:
        scope = f', scope="{refusal.scope}"' if refusal.scope else ""
        return f'{realm}, error="insufficient_scope"{scope}'
    return realm if refusal.reason == "missing" else f'{realm}, error="invalid_token"'


def address_of(request: Request) -> str:
    """Return the client's address, "" where it is unknown."""
    return request.client.host[:_ADDRESS_LENGTH_MAX] if request.client else ""


def route_of(request: Request) -> str:
    """Return the method and the route's path as it is declared: never an id or a query, which may hold secrets."""
    route = request.scope.get("route")
    return f"{request.method} {getattr(route, 'path', '?')}"[:_ROUTE_LENGTH_MAX]
