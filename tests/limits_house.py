"""A house of one route for tests: `GET /v1/limits` on loopback, with a board that the test fills. Can be away."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import uvicorn
from starlette import types
from starlette.applications import Starlette
from starlette.datastructures import Headers

from eventually import eventually
from llmtrail.access.gate import Gate
from llmtrail.core.access.authenticate import Tokens
from llmtrail.core.access.grant import Grant, TokenScope
from llmtrail.core.limit import LimitLevel, LimitState
from llmtrail.core.scope import Scope, ScopeKind
from llmtrail_web.limit_board import LimitBoard
from llmtrail_web.limits import limit_routes

FAR_NS = 4_000_000_000_000_000_000


def hard_limit(value: str = "u-1", kind: ScopeKind = ScopeKind.USER, tenant: str = "", **changes: Any) -> LimitState:
    """Return a hard limit that lasts for long."""
    fields: dict[str, Any] = {
        "rule": "daily",
        "scope": Scope(tenant, kind, (value,)).text(),
        "state": LimitLevel.HARD,
        "spent": 2,
        "limit": 1,
        "unit": "calls",
        "period": "day",
        "resets_at_ns": FAR_NS,
    }
    return LimitState(**(fields | changes))


class LimitsHouse:
    """What answers, and what it knows."""

    def __init__(self, port: int, board: LimitBoard) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self.board = board
        self.authorizations: list[str | None] = []

    def put(self, *limits: LimitState) -> None:
        """Publish limits."""
        self.board.change({limit.key: limit for limit in limits})

    def remove(self, limit: LimitState) -> None:
        """Take a limit back."""
        self.board.change({limit.key: None})


@contextmanager
def limits_house(port: int = 0, tenant: str = "") -> Iterator[LimitsHouse]:
    """Run a house until the block ends; `port` takes the place of one that ended."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    house = LimitsHouse(listener.getsockname()[1], LimitBoard(f"b{id(listener):x}"))
    anyone = Grant("", tenant or None, frozenset(TokenScope))

    app = Starlette(routes=limit_routes(house.board, Gate(lambda: Tokens(anyone=anyone), lambda: 0)))

    async def heard(scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        if scope["path"] == "/v1/limits":
            house.authorizations.append(Headers(scope=scope).get("authorization"))
        await app(scope, receive, send)

    server = uvicorn.Server(uvicorn.Config(heard, log_level="critical", lifespan="off", ws="none"))
    thread = Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield house
    finally:
        server.should_exit = True
        house.board.close()
        thread.join(10)
        listener.close()
