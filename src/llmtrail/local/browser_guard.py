"""Stand before every HTTP app: turn hostile pages away, and mark each answer as no page's to use. Decides nothing."""

from collections.abc import Callable

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmtrail.core.addresses import client_of
from llmtrail.core.outcome import Refusal
from llmtrail.local.browser_rules import (
    ANSWER_HEADERS,
    PAGE_POLICY,
    READ,
    Asked,
    BrowserRules,
    Refused,
    is_preflight,
    refused,
    shared_with,
    sharing_headers,
)

_CONTENT_TYPE = b"content-type"
_POLICY = b"content-security-policy"


class BrowserGuard:
    """An app behind the rules of its port. `turned_away` is given each client that is turned away, and why."""

    def __init__(self, app: ASGIApp, rules: BrowserRules, turned_away: Callable[[str, Refusal], None]) -> None:
        self._app = app
        self._rules = rules
        self._turned_away = turned_away

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the app does, or turn the request away before the app sees it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            self._turned_away(_client(scope), Refusal.WEBSOCKET)
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = _asked(scope)
        preflight = bool(self._rules.origins) and is_preflight(asked)
        extra = self._extra(asked, preflight=preflight)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*_marked(message["headers"]), *extra]
            await send(message)

        found = refused(asked, self._rules)
        if found is not None:
            self._turned_away(_client(scope), found.reason)
            await _refuse(marked, found)
        elif preflight:
            await marked({"type": "http.response.start", "status": 204, "headers": []})
            await marked({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, marked)

    def _extra(self, asked: Asked, *, preflight: bool) -> list[tuple[bytes, bytes]]:
        if not self._rules.origins:
            return []
        return sharing_headers(shared_with(asked, self._rules), preflight=preflight)


def _asked(scope: Scope) -> Asked:
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in READ:
            found[name] = found[name] + b", " + value if name in found else value
    return Asked(scope["method"], scope["path"], found)


def _marked(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return an answer's headers with those of every answer, unless the app said otherwise."""
    wanted = dict(ANSWER_HEADERS)
    for name, value in headers:
        if name == _CONTENT_TYPE and value.startswith(b"text/html"):
            wanted[_POLICY] = PAGE_POLICY
    for name, _ in headers:
        wanted.pop(name, None)
    return [*headers, *wanted.items()]


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client_of(client[0] if client else "")


async def _refuse(send: Send, found: Refused) -> None:
    body = orjson.dumps({"error": found.detail, "reason": found.reason})
    # The body is not read: the sender need not send the rest of it.
    headers = [
        (_CONTENT_TYPE, b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": found.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
