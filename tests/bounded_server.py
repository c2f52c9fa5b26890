"""A server of ours with short bounds on loopback, and raw clients of it from any address of this machine."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from llmtrail.config import HttpConfig
from llmtrail.core.outcome import Refusal
from llmtrail.local.browser_rules import BrowserRules
from llmtrail.local.servers import Listener, Servers

# Answers that no socket buffer takes whole.
LARGE_BYTES = 64 * 1024 * 1024
_ANSWER_S_MAX = 20.0


@dataclass
class BoundedServer:
    """Where it listens, what it turned away, and which bodies it was given."""

    port: int
    turned_away: Counter[Refusal] = field(default_factory=Counter)
    senders: set[str] = field(default_factory=set)
    bodies: list[bytes] = field(default_factory=list)
    left: int = 0

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """Open a connection from an address of this machine."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_S_MAX, source_address=(source, 0))

    def ask(self, request: bytes, source: str = "127.0.0.1") -> bytes:
        """Send bytes on a connection of their own, and return all that comes until it ends or an answer is whole."""
        with self.connect(source) as connection:
            with suppress(ConnectionError):
                connection.sendall(request)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> bytes:
    """Return what the server sends until it is a whole answer, or the connection ends."""
    found = b""
    connection.settimeout(_ANSWER_S_MAX)
    with suppress(ConnectionError):
        while piece := connection.recv(65_536):
            found += piece
            head, end, body = found.partition(b"\r\n\r\n")
            length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
            if end and length and len(body) >= int(length[0].split(b":")[1]):
                break
    return found


def status_of(answer: bytes) -> int:
    """Return an answer's status, 0 where there is none."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@contextmanager
def bounded_server(bounds: HttpConfig) -> Iterator[BoundedServer]:
    """Serve `/` (echoes the length of a body), `/slow` (answers after a moment) and `/large`."""
    found = BoundedServer(0)

    async def echo(request: Request) -> Response:
        try:
            body = await request.body()
        except ClientDisconnect:
            found.left += 1
            return Response(status_code=499)
        found.bodies.append(body)
        return PlainTextResponse(str(len(body)))

    async def slow(_: Request) -> Response:
        await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=3)
        return PlainTextResponse("late")

    async def large(_: Request) -> Response:
        return Response(bytes(LARGE_BYTES))

    async def refused(_: Request) -> Response:
        return PlainTextResponse("no", status_code=401)

    def count(sender: str, refusal: Refusal) -> None:
        found.turned_away[refusal] += 1
        found.senders.add(sender)

    routes = [
        Route("/", echo, methods=["GET", "POST"]),
        Route("/slow", slow),
        Route("/large", large),
        Route("/refused", refused, methods=["POST"]),
    ]
    servers = Servers(
        [Listener(Starlette(routes=routes), "127.0.0.1", 0, BrowserRules(None, typed_bodies=False))], bounds, count
    )
    servers.start()
    found.port = servers.ports[0]
    try:
        yield found
    finally:
        servers.stop()


def is_closed(connection: socket.socket, within_s: float) -> bool:
    """Whether the server ends the connection within a time."""
    connection.settimeout(max(0.01, within_s))
    until_s = time.monotonic() + within_s
    try:
        while time.monotonic() < until_s:
            if not connection.recv(65_536):
                return True
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False
